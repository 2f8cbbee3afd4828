"""`kmirror mirror verify`: is the mirror what its source is? How far it is goes to stderr, what it found to stdout."""

import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kmirror.cli.live_text import duration
from kmirror.cli.options import LinkOpt, OutputOpt, TopicsArg, seconds
from kmirror.cli.output import Format, note, print_document, say
from kmirror.errors import KmirrorError, NotReached

if TYPE_CHECKING:  # ops stay unimported until a verb runs; Typer sees none of these
    from kmirror.model.verification import Difference, Side
    from kmirror.ops.mirror_verify import Progress, TopicFindings

DIFFERENT: Final = 3
_FIRST: Final = 10
_SHOWN_BYTES: Final = 60
_PLAIN_EVERY_S: Final = 5.0


def register(app: typer.Typer) -> None:
    app.command("verify")(verify)


def verify(
    topics: TopicsArg,
    link: LinkOpt,
    *,
    from_offset: Annotated[
        int | None, typer.Option("--from-offset", metavar="N", min=0, help="Begin at this offset of each partition.")
    ] = None,
    sample: Annotated[
        float | None,
        typer.Option("--sample", metavar="PERCENT", min=0.0, max=100.0, help="Compare random runs of so many offsets."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="The runs that --sample took with this seed before.")
    ] = None,
    since: Annotated[
        float | None,
        typer.Option("--since", metavar="TIME", help="Only what came in this time: 30m, 1h.", parser=seconds),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what is copied meanwhile, until Ctrl-C.")
    ] = False,
    independent: Annotated[
        bool, typer.Option("--independent", help="Read by plain consumers, no byte by kmirror's own code: slower.")
    ] = False,
    ignore_log_start: Annotated[
        bool,
        typer.Option("--ignore-log-start", help="Only tell where log starts differ: retention runs on each side."),
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="TIME", help="How long it may take: 30s, 2m.", parser=seconds)
    ] = None,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Compare mirror topics with their sources, offset by offset, at both isolation levels.

    Active mirrors up to where they are, promoted ones up to where they ended. Exits with 3 if anything differs.
    """
    from kmirror.ops.mirror_verify import Options, verify_mirrors
    from kmirror.ops.verify_plan import Selection
    from kmirror.state.paths import home

    chosen = random.randrange(2**32) if seed is None else seed
    since_ms = None if since is None else int((time.time() - since) * 1000)
    selection = Selection(from_offset, since_ms, sample, chosen, ignore_log_start)
    options = Options(selection, independent=independent, follow=follow, timeout_s=timeout)
    if sample is not None:
        note(f"Comparing a sample of {sample:g} % (repeat it with `--seed {chosen}`).")
    shown = _ProgressLine()
    with _ended_by_ctrl_c(wanted=follow) as pressed:
        findings = verify_mirrors(home(), link, topics, options, tell=shown.show, interrupted=lambda: bool(pressed))
    shown.clear()
    if output is Format.HUMAN:
        for found in findings:
            _say(found, link)
    else:
        print_document([_document(found, link, chosen if sample is not None else None) for found in findings], output)
    _end(findings)


@contextmanager
def _ended_by_ctrl_c(*, wanted: bool) -> Iterator[list[int]]:
    """With `wanted`, Ctrl-C and SIGTERM only fill the list: what was found until then is still to be told."""
    pressed: list[int] = []
    if not wanted:
        yield pressed
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda n, _: pressed.append(n)) for number in numbers}
    try:
        yield pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _ProgressLine:
    """One line that changes on a terminal; elsewhere a line every few seconds."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._next = time.monotonic() + (0.5 if self._live else _PLAIN_EVERY_S)

    def show(self, progress: "Progress") -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (0.5 if self._live else _PLAIN_EVERY_S)
        if self._live:
            sys.stderr.write(f"\r\x1b[K{_progress(progress)}")
            sys.stderr.flush()
        else:
            note(_progress(progress))

    def clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _progress(progress: "Progress") -> str:
    share = progress.offsets / progress.total if progress.total else 1.0
    took = max(progress.seconds, 0.001)
    left = (
        duration(int((progress.total - progress.offsets) / progress.offsets * took * 1000)) if progress.offsets else "-"
    )
    found = f"{progress.differences:,} differences" if progress.differences else "no difference"
    speed = f"{progress.size / took / 1e6:,.0f} MB/s, {progress.records / took:,.0f} records/s"
    return f"{share:.0%} compared, {progress.records:,} records, {speed}, {found}, {left} left"


def _say(found: "TopicFindings", link: str) -> None:
    records = f"{found.records:,} records compared"
    if found.error is not None:
        say(f"{found.topic}: could not be compared: {found.error.message} ({records})")
    elif found.differing:
        say(f"{found.topic}: DIFFERENT at {found.differing:,} places ({records})")
    else:
        behind = f"; {found.not_copied:,} later offsets are not copied yet" if found.not_copied else ""
        say(f"{found.topic}: same ({records}{behind})")
    for difference in found.differences[:_FIRST]:
        say(f"  {found.topic} {describe(difference)}")
    if len(found.differences) > _FIRST:
        say(f"  ... and more: `kmirror mirror verify {found.topic} --link {link} -o json` tells all of them.")
    for text in found.notes:
        say(f"  {text}")
    for gap in found.lost:
        offsets = f"offsets {gap.offset} to {gap.offset + gap.count - 1}"
        say(f"  partition {gap.partition} {offsets} were lost at the source before they were copied: `kmirror gaps`")


def describe(difference: "Difference") -> str:
    """Where and what, on one line."""
    place = [] if difference.partition is None else [f"partition {difference.partition}"]
    if difference.offset is not None:
        last = difference.offset + difference.count - 1
        place.append(
            f"offset {difference.offset}" if difference.count == 1 else f"offsets {difference.offset} to {last}"
        )
    if difference.level != "both":
        place.append(f"({difference.level})")
    what = " and ".join(difference.what)
    if difference.count > 1:
        return f"{' '.join(place)}: {what}"
    if what == "missing":
        return f"{' '.join(place)}: missing at the mirror: {_text(difference.source)}"
    if what == "extra":
        return f"{' '.join(place)}: extra at the mirror: {_text(difference.destination)}"
    theirs, ours = _part(difference, difference.source), _part(difference, difference.destination)
    return f"{' '.join(place)}: {what}: source {theirs}, mirror {ours}"


def _part(difference: "Difference", side: "Side") -> str:
    """Of a record only the parts that differ."""
    if side is None or isinstance(side, int):
        return _text(side)
    return ", ".join(_value(getattr(side, name)) for name in difference.what)


def _text(side: "Side") -> str:
    if side is None or isinstance(side, int):
        return "nothing" if side is None else f"{side}"
    return f"key {_value(side.key)}, value {_value(side.value)}, timestamp {side.timestamp}"


def _value(value: object) -> str:
    if isinstance(value, bytes) and len(value) > _SHOWN_BYTES:
        return f"{value[:_SHOWN_BYTES]!r}... ({len(value)} bytes)"
    return "null" if value is None else repr(value)


def _document(found: "TopicFindings", link: str, seed: int | None) -> dict[str, Any]:
    return {
        "link_name": link,
        "mirror_topic_name": found.topic,
        "source_topic_name": found.source_topic,
        "mirror_status": found.status,
        "result": str(found.result),
        "records": found.records,
        "bytes": found.size,
        "offsets": found.offsets,
        "planned_offsets": found.planned,
        "end_offsets": list(found.ends or ()),
        "not_copied": found.not_copied,
        "differing": found.differing,
        "differences": [_difference(difference) for difference in found.differences],
        "lost_offsets": [{"partition": gap.partition, "offset": gap.offset, "count": gap.count} for gap in found.lost],
        "notes": list(found.notes),
        "sample_seed": seed,
        "error_message": found.error.message if found.error else "",
    }


def _difference(difference: "Difference") -> dict[str, Any]:
    return {
        "partition": difference.partition,
        "offset": difference.offset,
        "count": difference.count,
        "what": [str(what) for what in difference.what],
        "isolation_level": str(difference.level),
        "source": _json(difference.source),
        "destination": _json(difference.destination),
    }


def _json(side: "Side") -> Any:
    """Bytes as text: as UTF-8 where they are that, other bytes as escapes."""
    if side is None or isinstance(side, int):
        return side
    return {
        "key": _json_bytes(side.key),
        "value": _json_bytes(side.value),
        "headers": [[name, _json_bytes(value)] for name, value in side.headers],
        "timestamp": side.timestamp,
    }


def _json_bytes(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _end(findings: Sequence["TopicFindings"]) -> None:
    """What failed weighs more than what differs: then not all is known."""
    errors = [found.error for found in findings if found.error]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        kind = NotReached if all(isinstance(e, NotReached) for e in errors) else KmirrorError
        hints = dict.fromkeys(e.hint for e in errors if e.hint)
        raise kind(f"failed to compare {len(errors)} of {len(findings)} topics", hint="\n".join(hints) or None)
    if any(found.differing for found in findings):
        raise typer.Exit(DIFFERENT)
