"""`kmirror records show` and `replay`: files of saved records."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kmirror.cli.options import DryRunOpt, OutputOpt
from kmirror.cli.output import Format, note, print_document, print_rows, say
from kmirror.errors import KmirrorError

if TYPE_CHECKING:  # ops stay unimported until a verb runs
    from kmirror.admin.replay import Replayed
    from kmirror.model.saved_records import SavedRecord
    from kmirror.ops.saved_records import Contents

_COLUMNS: Final = ("partition", "records", "first_offset", "last_offset")
_REPLAYED: Final = ("topic", "partition", "records", "first_offset", "last_offset")
_SHOWN_BYTES: Final = 60
_TELL_EVERY: Final = 10_000

FileArg = Annotated[Path, typer.Argument(metavar="FILE", help="A file of saved records.")]

records_app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, rich_markup_mode=None
)


@records_app.callback()
def records() -> None:
    """Look at records that `mirror truncate-and-restore` has saved, and produce them again."""


@records_app.command("show")
def show(
    file: FileArg,
    *,
    partition: Annotated[
        int | None, typer.Option("--partition", metavar="N", min=0, help="Only records of this partition.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=0, help="Only the first N.")] = None,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Show what a file of saved records holds: whose they are, how many, and each of them.

    The whole file is read and checked first. In JSON and YAML keys, values and headers are in base64.
    """
    from kmirror.model.saved_records import document
    from kmirror.ops.saved_records import read_contents

    kept: list[SavedRecord] = []

    def keep(record: "SavedRecord") -> None:
        if partition in {None, record.partition} and (limit is None or len(kept) < limit):
            kept.append(record)

    contents = read_contents(file, keep)
    if output is not Format.HUMAN:
        print_document({**_header(contents), "records": [document(record) for record in kept]}, output)
        return
    head = contents.header
    say(f'{contents.records:,} records of topic "{head.topic}", cluster {head.cluster_id} ({head.bootstrap_servers})')
    say(f'Saved at {_time(head.saved_ms)} by a restore on link "{head.link}"')
    print_rows(_partitions(contents), _COLUMNS, output)
    for record in kept:
        say(_line(record))


@records_app.command("replay")
def replay(
    file: FileArg,
    *,
    bootstrap: Annotated[
        str,
        typer.Option(
            "--bootstrap-server", "--bootstrap-servers", metavar="HOST:PORT,..", help="Brokers to produce to."
        ),
    ],
    topic: Annotated[
        str | None, typer.Option("--topic", metavar="TOPIC", help="Topic to produce to [default: whose they were].")
    ] = None,
    config: Annotated[
        list[str],
        typer.Option("--config", metavar="K=V,..|FILE", help="Security of the cluster, as that of a link's source."),
    ] = [],  # noqa: B006 - Typer copies it
    dry_run: DryRunOpt = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Produce saved records again, to the same partitions, with their keys, headers and timestamps, in their order.

    They get new offsets, behind what is there. Whoever does it twice has them twice. A damaged file, a topic that does
    not exist, and one that is a mirror are refused before anything is produced.
    """
    from kmirror.ops import saved_records as ops
    from kmirror.state.paths import home

    access = ops.client_access(bootstrap, config)
    contents, name = ops.check_replay(home(), file, access, topic)
    if dry_run:
        _print_replayed(name, _partitions(contents), output)
        note("Dry run: nothing was produced.")
        return
    live = sys.stderr.isatty()

    def tell(count: int) -> None:
        if live and count % _TELL_EVERY == 0:
            sys.stderr.write(f"\r\x1b[K{count:,} of {contents.records:,} records")
            sys.stderr.flush()

    done = ops.replay(file, access, name, tell)
    if live:
        sys.stderr.write("\r\x1b[K")
    _print_replayed(name, _produced(done), output)
    _end(done, contents, name, output)


def _end(done: "Replayed", contents: "Contents", topic: str, output: Format) -> None:
    if done.untimed:
        note(f"Warning: {done.untimed:,} records without a timestamp got that of now: a client can't produce none.")
    if done.error or done.records != contents.records:
        raise KmirrorError(
            f'{done.records:,} of {contents.records:,} records were produced to topic "{topic}", '
            f"then it was refused: {done.error or 'not all were confirmed'}",
            hint="The table says which are there. Produced again, these would be there twice.",
        )
    if output is Format.HUMAN:
        say(f'Produced {done.records:,} records to topic "{topic}".')


def _print_replayed(topic: str, rows: list[dict[str, Any]], output: Format) -> None:
    print_rows([{"topic": topic, **row} for row in rows], _REPLAYED, output)


def _header(contents: "Contents") -> dict[str, Any]:
    head = contents.header
    return {
        "topic_name": head.topic,
        "cluster_id": head.cluster_id,
        "bootstrap_servers": head.bootstrap_servers,
        "link_name": head.link,
        "saved_ms": head.saved_ms,
        "num_records": contents.records,
        "partitions": _partitions(contents),
    }


def _partitions(contents: "Contents") -> list[dict[str, Any]]:
    return [
        {"partition": number, "records": contents.counts[number], "first_offset": first, "last_offset": last}
        for number, (first, last) in sorted(contents.spans.items())
    ]


def _produced(done: "Replayed") -> list[dict[str, Any]]:
    return [
        {"partition": n, "records": count, "first_offset": done.first[n], "last_offset": done.last[n]}
        for n, count in sorted(done.produced.items())
    ]


def _line(record: "SavedRecord") -> str:
    when = "no time" if record.timestamp < 0 else _time(record.timestamp)
    headers = "".join(f" {name}={_value(value)}" for name, value in record.headers)
    place = f"{record.partition}@{record.offset}"
    return f"{place} {when} key {_value(record.key)} value {_value(record.value)}" + (headers and f" headers{headers}")


def _value(value: bytes | None) -> str:
    if value is None:
        return "null"
    text = json.dumps(value[:_SHOWN_BYTES].decode(errors="backslashreplace"), ensure_ascii=False)
    return text if len(value) <= _SHOWN_BYTES else f"{text}... ({len(value)} bytes)"


def _time(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"  # beyond the years that a calendar has
