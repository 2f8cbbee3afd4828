"""`kmirror mirror truncate-and-restore`: the fail-back after a failover."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kmirror.cli.confirm import confirmed
from kmirror.cli.live_text import byte_count, duration
from kmirror.cli.mirror_reverse import ReverseLinkOpt
from kmirror.cli.options import DryRunOpt, LinkOpt, OutputOpt, TopicsArg
from kmirror.cli.output import Format, note, print_rows, say
from kmirror.errors import KmirrorError

if TYPE_CHECKING:  # ops stay unimported until a verb runs
    from kmirror.ops.restore_topic import Planned, Restored
    from kmirror.ops.reverse_link import ReverseLink

_COLUMNS: Final = ("mirror_topic_name", "error_message", "error_code", "messages_truncated")
_BY_PARTITION: Final = (
    "mirror_topic_name",
    "partition",
    "error_message",
    "error_code",
    "messages_truncated",
    "offset_truncated_to",
)
_UNKNOWN: Final = -1


def register(app: typer.Typer) -> None:
    app.command("truncate-and-restore")(truncate_and_restore)


def truncate_and_restore(
    topics: TopicsArg,
    link: LinkOpt,
    *,
    reverse_link: ReverseLinkOpt = None,
    include_partitions: Annotated[
        bool, typer.Option("--include-partitions", help="Tell it for each partition.")
    ] = False,
    save_to: Annotated[
        Path | None, typer.Option("--save-to", metavar="DIR", help="Where the records are saved.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Do not ask before a topic is deleted.")] = False,
    no_start: Annotated[bool, typer.Option("--no-start", help="Do not start a runner for the reverse link.")] = False,
    dry_run: DryRunOpt = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Make the old source of mirror topics that were failed over a mirror of them.

    What it alone has is saved to a file first (see `kmirror records`). Then its topic is deleted, made anew and copied
    with the exact offsets by the reverse link. Where it has nothing of its own, it goes on as it is.
    """
    from kmirror.ops.mirror_restore import Restoration
    from kmirror.ops.mirror_stop import ensure_runner
    from kmirror.state.paths import home

    restoration = Restoration(home(), link, reverse_link)
    planned = restoration.plan(topics)
    if output is Format.HUMAN:
        _show(planned, {}, include_partitions, output)
        for item in planned:
            _say_plan(item)
    going = [item for item in planned if item.error is None]
    anew = [item for item in going if not (item.plan and item.plan.adopt)]
    done: dict[str, Restored] = {}
    if not dry_run and going:
        names = " and ".join(f'"{item.source_topic}"' for item in anew)
        question = f"Delete topic {names} at the source cluster of link {link}, and copy it anew?"
        if anew and not force and not confirmed(question, "deleting a topic"):
            return
        directory = save_to or home().records_directory
        done = {restored.topic: restored for restored in restoration.carry_out(planned, directory)}
        _tell_link(restoration.reverse, output)
        if not no_start and any(restored.error is None for restored in done.values()):
            ensure_runner(home(), restoration.reverse.name)
    if output is not Format.HUMAN:
        _show(planned, done, include_partitions, output)
    for item in going:
        for warning in done[item.topic].warnings if item.topic in done else ():
            note(f"Warning: {warning}")
        if output is Format.HUMAN and item.topic in done:
            _say_done(item, done[item.topic], restoration.reverse.name)
    _end([done[p.topic].error if p.topic in done else p.error for p in planned], dry_run=dry_run)


def _show(planned: Sequence["Planned"], done: dict[str, "Restored"], by_partition: bool, output: Format) -> None:
    rows = [row for item in planned for row in _rows(item, done.get(item.topic), by_partition)]
    print_rows(rows, _BY_PARTITION if by_partition else _COLUMNS, output)


def _rows(item: "Planned", restored: "Restored | None", by_partition: bool) -> list[dict[str, Any]]:
    from kmirror.ops.verb_rows import error_code

    error = restored.error if restored else item.error
    row: dict[str, Any] = {"mirror_topic_name": item.topic}
    if by_partition:
        row["partition"] = _UNKNOWN
    row |= {"error_message": error.message if error else "", "error_code": error_code(error) if error else ""}
    plan = item.plan
    if by_partition and plan and not error:
        return [
            row
            | {
                "partition": cut.partition,
                "messages_truncated": later,
                "offset_truncated_to": str(cut.cut_at) if later else "",
                "messages_below_log_start": older,
            }
            for cut, later, older in zip(plan.cuts, plan.later, plan.older, strict=True)
        ]
    row["messages_truncated"] = sum(plan.later) if plan else 0
    if by_partition:
        row["offset_truncated_to"] = ""
    return [
        row
        | {
            "messages_below_log_start": sum(plan.older) if plan else 0,
            "copied_anew": not plan.adopt if plan else True,
            "copy_bytes": plan.recopy_bytes if plan else _UNKNOWN,
            "copy_ms": round(plan.recopy_s * 1000) if plan and plan.recopy_s >= 0 else _UNKNOWN,
            "saved_file": (restored.saved if restored else item.saved) or "",
        }
    ]


def _say_plan(item: "Planned") -> None:
    if item.error:
        return
    plan = item.plan
    if plan is None:
        say(f'Topic "{item.source_topic}": its records are saved in "{item.saved}"; the copy is still to be made.')
        return
    if plan.adopt:
        say(f'Source topic "{item.source_topic}" has nothing that its mirror does not have: it goes on as it is.')
    else:
        older = f", and {sum(plan.older):,} older than what it has" if any(plan.older) else ""
        say(
            f'Source topic "{item.source_topic}" has {sum(plan.later):,} records that its mirror does not have{older}: '
            "they are saved to a file, then it is deleted and copied anew."
        )
    if plan.recopy_bytes < 0:
        say("How long the copy takes is not known: nothing could be compared.")
    elif plan.recopy_bytes:
        rate = byte_count(plan.recopy_bytes / plan.recopy_s) if plan.recopy_s > 0 else "-"
        say(
            f"To be copied: about {byte_count(plan.recopy_bytes)}, {duration(round(plan.recopy_s * 1000))} at the "
            f"{rate}/s at which both logs were just read."
        )


def _tell_link(reverse: "ReverseLink", output: Format) -> None:
    for warning in reverse.warnings:
        note(f"Warning: {warning}.")
    if reverse.made and output is Format.HUMAN:
        say(f'Created cluster link "{reverse.name}".')


def _say_done(item: "Planned", restored: "Restored", reverse: str) -> None:
    if restored.error:
        return
    if restored.saved:
        say(f'Saved its records in "{restored.saved}" (see `kmirror records show`).')
    say(f'Topic "{item.source_topic}" is a mirror on link "{reverse}" now.')
    say(f"See how far it is with `kmirror mirror describe {item.source_topic} --link {reverse}`.")


def _end(errors: Sequence[KmirrorError | None], *, dry_run: bool) -> None:
    found = [error for error in errors if error]
    if dry_run and not found:
        note("Dry run: nothing was changed.")
    if len(found) == 1:
        raise found[0]
    if found:
        hints = dict.fromkeys(e.hint for e in found if e.hint)
        raise KmirrorError(f"failed to restore {len(found)} of {len(errors)} topics", hint="\n".join(hints) or None)
