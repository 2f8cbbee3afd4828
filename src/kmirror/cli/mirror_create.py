"""`kmirror mirror create`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kmirror.cli.options import ConfigOpt, LinkOpt, OutputOpt
from kmirror.cli.output import Format, Narrow, note, print_document, print_rows, say
from kmirror.errors import KmirrorError, UsageError

if TYPE_CHECKING:  # ops stay unimported until a verb runs; Typer sees none of these
    from kmirror.ops.mirror_create import MirrorOutcome, MirrorsCreated

_EPILOG = (
    "Examples:\n\n"
    "  kmirror mirror create orders --link east-west\n\n"
    "  kmirror mirror create orders-copy --source-topic orders --link east-west --replication-factor 3\n\n"
    "  kmirror mirror create --all-matching 'orders\\..*' --link east-west --dry-run"
)
_MAX_REPLICATION = 32767  # a 16-bit number in Kafka's protocol
_COLUMNS: Final = (
    "mirror_topic_name",
    "source_topic_name",
    "num_partition",
    "mirror_status",
    "error_message",
    "error_code",
)
_NARROW: Final = Narrow(spared=("source_topic_name", "error_code"))
_HINTS: Final = 5  # of many failures: most say the same


_AllMatchingOpt = Annotated[
    str | None,
    typer.Option(
        "--all-matching",
        metavar="REGEX",
        help='All source topics whose whole name matches this regular expression ("orders.*", ".*"), but for '
        "internal ones and those that the link mirrors already.",
    ),
]
_SourceTopicOpt = Annotated[
    str | None,
    typer.Option(
        "--source-topic",
        metavar="NAME",
        help="Source topic, where the mirror of a link without prefix has another name.",
    ),
]
_ReplicationOpt = Annotated[
    int | None,
    typer.Option(
        "--replication-factor",
        min=1,
        max=_MAX_REPLICATION,
        metavar="N",
        help="Replicas of the mirror topic; the destination's own default if not given.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command("create", epilog=_EPILOG)(create)


def create(
    topics: Annotated[
        list[str],
        typer.Argument(
            metavar="[TOPIC...]", help="Names of the mirrors: those of their source topics, behind the link's prefix."
        ),
    ] = [],  # noqa: B006 - Typer copies it
    *,
    link: LinkOpt,
    all_matching: _AllMatchingOpt = None,
    source_topic: _SourceTopicOpt = None,
    replication_factor: _ReplicationOpt = None,
    config: ConfigOpt = [],  # noqa: B006 - Typer copies it
    no_start: Annotated[bool, typer.Option("--no-start", help="Do not start a runner if none runs.")] = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Run the link here, with a live view, until Ctrl-C.")
    ] = False,
    guard: Annotated[
        bool,
        typer.Option(
            "--guard",
            help="Deny it to all others that an ACL lets write to the mirrors now, until they are topics of their own.",
        ),
    ] = False,
    guard_except: Annotated[
        list[str],
        typer.Option(
            "--guard-except",
            metavar="PRINCIPAL",
            help="Not denied: kmirror's own name at the destination, where it logs in by a certificate or a token.",
        ),
    ] = [],  # noqa: B006 - Typer copies it
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask both clusters whether it can be done, but change nothing.")
    ] = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Create mirror topics at the destination, and start to copy.

    They get the partitions and configs of the source topics. A topic that exists cannot become a mirror. Of several,
    one that fails never stops the others.

    With --guard others can't write to them: promote and failover take away exactly the ACLs that it adds.
    """
    from kmirror.ops.config_text import parse_config
    from kmirror.ops.mirror_create import create_mirrors
    from kmirror.state.paths import home

    if foreground and dry_run:
        raise UsageError("`--foreground` runs the link, `--dry-run` changes nothing", hint="Leave one of them out.")
    _check_spared(guard_except, guard=guard)
    chosen = _chosen(topics, link, all_matching, source_topic)
    if not chosen:
        if output is not Format.HUMAN:
            print_document([], output)
        return
    made = create_mirrors(
        home(),
        link,
        chosen,
        replication_factor=replication_factor,
        configs=parse_config(config),
        start=not no_start,
        foreground=foreground,
        dry_run=dry_run,
        guard=guard,
        spared=guard_except,
    )
    one = len(topics) == 1
    if not one:
        print_rows([_row(link, made, outcome) for outcome in made.outcomes], _COLUMNS, output, _NARROW)
    elif made.outcomes[0].error is None:
        _show_one(link, made, output, dry_run=dry_run)
    good = [outcome for outcome in made.outcomes if outcome.error is None]
    if dry_run and not one:
        note(f"Dry run: nothing was changed; {len(good)} of {len(made.outcomes)} mirrors can be created.")
    if output is Format.HUMAN:
        _tell_guards(good)
    if foreground and good:
        _end(made.outcomes, loud=False)
        raise typer.Exit(_run_here(link, next(iter(chosen)) if one else None))
    _end(made.outcomes, loud=True)
    if made.fault:
        raise made.fault


def _check_spared(principals: Sequence[str], *, guard: bool) -> None:
    if principals and not guard:
        raise UsageError("`--guard-except` is for `--guard`", hint="Give both, or none.")
    for principal in principals:
        kind, colon, name = principal.partition(":")
        if not (kind and colon and name and principal.isprintable()):
            raise UsageError(
                f'principal "{principal}" is not TYPE:NAME',
                hint="Write it as ACLs have it: `--guard-except User:NAME`.",
            )


def _tell_guards(outcomes: Sequence["MirrorOutcome"]) -> None:
    """Who is denied it, and who can write all the same: once for all topics of which it is the same."""
    told: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        if outcome.guard:
            denied = ", ".join(outcome.guard.denied) or "nobody, as no ACL lets others write"
            told.setdefault((denied, "; ".join(outcome.guard.open_to)), []).append(outcome.topic)
    for (denied, open_to), topics in told.items():
        where = f'"{topics[0]}"' if len(topics) == 1 else f"{len(topics)} topics"
        note(f"Guard of {where}: DENY WRITE for {denied}.")
        if open_to:
            note(f"Warning: who can write there all the same: {open_to}.")


def _chosen(topics: Sequence[str], link: str, pattern: str | None, source_topic: str | None) -> dict[str, str | None]:
    """The mirrors to be, and their source topics where those are given; none where all that match are mirrors."""
    from kmirror.ops.selection import matching_sources
    from kmirror.state.paths import home

    if bool(topics) == (pattern is not None):
        raise UsageError(
            "topics and `--all-matching` exclude each other" if topics else "no topic is given",
            hint="Name source topics, or give `--all-matching REGEX`.",
        )
    if source_topic is not None and len(topics) != 1:
        raise UsageError("`--source-topic` is for one mirror", hint="Create the mirrors one by one, or leave it out.")
    if pattern is None:
        return dict.fromkeys(topics, source_topic)
    new, already = matching_sources(home(), link, pattern)
    if already:
        are = "1 topic that matches is a mirror" if len(already) == 1 else f"{len(already)} that match are mirrors"
        note(f'{are} of link "{link}" already.')
    return dict.fromkeys(new)


def _row(link: str, made: "MirrorsCreated", outcome: "MirrorOutcome") -> dict[str, Any]:
    from kmirror.ops.verb_rows import UNKNOWN, error_code

    mirror, error = outcome.mirror, outcome.error
    return {
        "link_name": link,
        "mirror_topic_name": outcome.topic,
        "source_topic_name": outcome.source_topic,
        "num_partition": mirror.partitions if mirror else UNKNOWN,
        "mirror_status": str(mirror.state) if mirror and mirror.destination_topic_id else "",
        "runner_pid": made.runner.pid if made.runner else None,
        "guard_denied": list(outcome.guard.denied) if outcome.guard else [],
        "guard_open_to": list(outcome.guard.open_to) if outcome.guard else [],
        "error_message": error.message if error else "",
        "error_code": error_code(error) if error else "",
    }


def _show_one(link: str, made: "MirrorsCreated", output: Format, *, dry_run: bool) -> None:
    outcome = made.outcomes[0]
    if output is not Format.HUMAN:
        row = _row(link, made, outcome)
        print_document({k: v for k, v in row.items() if not k.startswith("error")} | {"dry_run": dry_run}, output)
        return
    say(f'{"[DRY RUN] " if dry_run else ""}Created mirror topic "{outcome.topic}".')
    if made.runner and sys.stderr.isatty():
        note(f"Watch it with `kmirror mirror describe {outcome.topic} --link {link} --watch`.")


def _end(outcomes: Sequence["MirrorOutcome"], *, loud: bool) -> None:
    """Raises what went wrong, once for all topics; where the link runs here it is only told."""
    errors = [outcome.error for outcome in outcomes if outcome.error]
    if not errors:
        return
    text = f"failed to create {len(errors)} of {len(outcomes)} mirror topics"
    if not loud:
        note(f"Warning: {text}.")
    elif len(outcomes) == 1:
        raise errors[0]
    else:
        hints = dict.fromkeys(error.hint for error in errors if error.hint)
        raise KmirrorError(text, hint="\n".join(list(hints)[:_HINTS]) or None)


def _run_here(link: str, topic: str | None) -> int:
    """The live view owns the terminal, so the log goes to the link's file."""
    from kmirror.cli.live import LiveView
    from kmirror.model.status import LinkStatus
    from kmirror.process.runner import RunOptions, run_link
    from kmirror.state.links import LinkStore
    from kmirror.state.paths import home
    from kmirror.state.runtime import RunFiles

    store = LinkStore(home())
    with LiveView(topic=topic) as view:

        def show(status: LinkStatus) -> None:
            found = store.all().get(link)
            if found and (topic is None or topic in found.mirrors):  # else it was deleted: the runner ends by itself
                view.update(found, status)

        return run_link(home(), link, RunOptions(log_file=RunFiles(home(), link).log, on_status=show))
