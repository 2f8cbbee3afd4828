"""`kmirror mirror create`."""

import sys
from typing import Annotated

import typer

from kmirror.cli.options import ConfigOpt, LinkOpt, OutputOpt
from kmirror.cli.output import Format, note, print_document, say

_EPILOG = (
    "Examples:\n\n"
    "  kmirror mirror create orders --link east-west\n\n"
    "  kmirror mirror create orders-copy --source-topic orders --link east-west --replication-factor 3"
)
_MAX_REPLICATION = 32767  # a 16-bit number in Kafka's protocol


def register(app: typer.Typer) -> None:
    app.command("create", epilog=_EPILOG)(create)


def create(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the source topic, and of its mirror.")],
    link: LinkOpt,
    *,
    source_topic: Annotated[
        str | None,
        typer.Option("--source-topic", metavar="NAME", help="Source topic, where the mirror is named otherwise."),
    ] = None,
    replication_factor: Annotated[
        int | None,
        typer.Option(
            "--replication-factor",
            min=1,
            max=_MAX_REPLICATION,
            metavar="N",
            help="Replicas of the mirror topic; the destination's own default if not given.",
        ),
    ] = None,
    config: ConfigOpt = [],  # noqa: B006 - Typer copies it
    no_start: Annotated[bool, typer.Option("--no-start", help="Do not start a runner if none runs.")] = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Run the link here, with a live view, until Ctrl-C.")
    ] = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Create a mirror topic at the destination, and start to copy.

    It gets the partitions and configs of the source topic. A topic that exists cannot become a mirror.
    """
    from kmirror.ops.mirror_create import create_mirror
    from kmirror.state.paths import home

    made = create_mirror(
        home(),
        topic,
        link,
        source_topic=source_topic,
        replication_factor=replication_factor,
        config=config,
        start=not no_start,
        foreground=foreground,
    )
    if output is Format.HUMAN:
        say(f'Created mirror topic "{topic}".')
        if made.runner and sys.stderr.isatty():
            note(f"Watch it with `kmirror mirror describe {topic} --link {link} --watch`.")
    else:
        document = {
            "link_name": link,
            "mirror_topic_name": topic,
            "source_topic_name": made.mirror.source_topic,
            "num_partition": made.mirror.partitions,
            "mirror_status": str(made.mirror.state),
            "runner_pid": made.runner.pid if made.runner else None,
        }
        print_document(document, output)
    if made.fault:
        raise made.fault
    if foreground:
        raise typer.Exit(_run_here(link, topic))


def _run_here(link: str, topic: str) -> int:
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
            if found and topic in found.mirrors:  # else it was deleted meanwhile: the runner ends by itself
                view.update(found, status)

        return run_link(home(), link, RunOptions(log_file=RunFiles(home(), link).log, on_status=show))
