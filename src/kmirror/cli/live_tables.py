"""The rows of the live view as Rich renderables, for any width: numbers are never cut, text folds."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from kmirror.cli.live_rows import (
    History,
    MirrorRow,
    Note,
    PartitionRow,
    link_notes,
    mirror_rows,
    notes,
    partition_rows,
    shown_state,
    worst,
    worst_mirrors,
)
from kmirror.cli.live_tasks import task_line, task_notes
from kmirror.cli.live_text import UNKNOWN, count, duration, rate, sparkline, throughput
from kmirror.model.link import Link
from kmirror.model.states import MirrorState
from kmirror.model.status import LinkStatus, PartitionState

_SPARK_WIDTH: Final = 8
_WIDE: Final = 140  # columns from which there is room for longer ones
_WIDE_SPARK_WIDTH: Final = 24
_TEXT_WIDTH: Final = 11  # of a topic or state that must wrap: "DESTINATION", the longest word of the states
_CHROME_LINES: Final = 6  # title, empty line, header, rule, "more partitions", the line of the cursor
_STYLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        MirrorState.ACTIVE: "green",
        MirrorState.PAUSED: "yellow",
        MirrorState.PENDING_STOPPED: "yellow",
        MirrorState.STOPPED: "cyan",
        MirrorState.SOURCE_UNAVAILABLE: "yellow",
        MirrorState.FAILED: "red",
        MirrorState.LINK_FAILED: "red",
        PartitionState.COPYING: "green",
        PartitionState.DESTINATION_UNAVAILABLE: "yellow",
    }
)


class Fit(Enum):
    """How much room a table has: the loosest that fits is taken."""

    ROOMY = auto()
    TIGHT = auto()
    """Less space between columns, no thousands separators."""
    FOLDED = auto()
    """Too narrow even so: a number goes on in the next line rather than losing its end."""


def topic_view(
    console: Console, link: Link, status: LinkStatus | None, *, topic: str, history: History, now_ms: int
) -> RenderableType:
    """One row a partition; as many as the screen has lines for."""
    mirror = link.mirrors[topic]
    seen = status.mirrors.get(topic) if status else None
    said = notes(mirror, status) + link_notes(link, status, now_ms)
    rows = partition_rows(mirror, status, history)
    shown = worst(rows, console.height - _CHROME_LINES - len(said))
    spark = _spark(console, tuple(history.rates.get(topic, ())))
    title = Text.assemble(
        (topic, "bold"),
        "  ",
        _state(shown_state(mirror, seen)),
        f"  {rate(seen.records_per_s)}  {throughput(seen.bytes_per_s)}  {spark.strip()}" if seen else "",
        (f"  link {link.name}, source topic {mirror.source_topic}", "dim"),
    )
    parts: list[RenderableType] = [title, Text(), _fitting(console, lambda fit: _partition_table(shown, fit))]
    if len(shown) < len(rows):
        hidden = [row for row in rows if row not in shown]
        most = max((row.lag for row in hidden if row.lag is not None), default=None)
        parts.append(Text(f"{len(hidden)} more partitions, lag at most {count(most)}", style="dim"))
    return Group(*parts, *_said(said, now_ms))


def link_view(
    console: Console,
    link: Link,
    status: LinkStatus | None,
    *,
    history: History,
    now_ms: int,
    height: int | None = None,
) -> RenderableType:
    """One row a mirror, with how lag and rate went of late; as many as `height` (else the screen) has lines for."""
    said = link_notes(link, status, now_ms) + task_notes(status)
    said += [note for _, mirror in sorted(link.mirrors.items()) for note in notes(mirror, status)]
    rows = mirror_rows(link, status, history)
    room = (height or console.height) - _CHROME_LINES
    told = said[: max(1, room // 3)]
    shown = worst_mirrors(rows, room - len(told) - 1)
    total = sum(row.bytes_per_s or 0 for row in rows)
    title = Text.assemble(
        (link.name, "bold"),
        "  ",
        _state(status.state) if status else UNKNOWN,
        f"  {throughput(total)}" if status else "",
        (f"  {link.source_cluster_id} to {link.destination_cluster_id}", "dim"),
    )
    table = _fitting(console, lambda fit: _mirror_table(shown, fit, lambda values: _spark(console, values)))
    parts: list[RenderableType] = [title, Text(), table]
    if len(shown) < len(rows):
        hidden = [row for row in rows if row not in shown]
        most = max((row.lag for row in hidden if row.lag is not None), default=None)
        parts.append(Text(f"{len(hidden)} more mirror topics, lag at most {count(most)}", style="dim"))
    tasks = task_line(status, now_ms)
    if tasks:
        parts.append(Text(f"Tasks: {tasks}", style="dim", overflow="fold"))
    parts += _said(told, now_ms)
    if len(told) < len(said):
        parts.append(Text(f"! and {len(said) - len(told)} more: `kmirror status`", style="yellow"))
    return Group(*parts)


def _partition_table(rows: Sequence[PartitionRow], fit: Fit) -> Table:
    grouped = fit is Fit.ROOMY
    return _table(
        fit,
        ("Part.", [str(row.partition) for row in rows]),
        ("State", [_state(row.state) for row in rows]),
        ("Source end", [count(row.source_end, grouped=grouped) for row in rows]),
        ("Mirror end", [count(row.log_end, grouped=grouped) for row in rows]),
        ("Lag", [count(row.lag, grouped=grouped) for row in rows]),
        ("Lag time", [duration(row.lag_ms) for row in rows]),
        ("Rate", [rate(row.records_per_s) for row in rows]),
    )


def _mirror_table(rows: Sequence[MirrorRow], fit: Fit, spark: Callable[[Sequence[float]], str]) -> Table:
    grouped = fit is Fit.ROOMY
    return _table(
        fit,
        ("Mirror topic", [Text(row.topic, overflow="fold") for row in rows]),
        ("State", [_state(row.state) for row in rows]),
        ("Part.", [str(row.partitions) for row in rows]),
        ("Lag", [count(row.lag, grouped=grouped) for row in rows]),
        ("Lag time", [duration(row.lag_ms) for row in rows]),
        ("Rate", [rate(row.records_per_s) for row in rows]),
        ("Rates", [spark(row.rates) for row in rows]),
        ("Lags", [spark(row.lags) for row in rows]),
    )


def _spark(console: Console, values: Sequence[float]) -> str:
    width = _WIDE_SPARK_WIDTH if console.width >= _WIDE else _SPARK_WIDTH
    return sparkline(values, width, ascii_only=console.options.ascii_only)


def _table(fit: Fit, *columns: tuple[str, Sequence[str] | Sequence[Text]]) -> Table:
    """A column of `str` is numbers: to the right, and as wide as they are. One of `Text` may wrap."""
    space = 2 if fit is Fit.ROOMY else 1
    table = Table(box=None, padding=(0, space, 0, 0), header_style="bold", pad_edge=False)
    for name, cells in columns:
        if all(isinstance(cell, str) for cell in cells):
            width = max(len(text) for text in (name, *map(str, cells)))
            rigid = None if fit is Fit.FOLDED else width
            table.add_column(name, justify="right", overflow="fold", width=rigid)
        else:
            table.add_column(name, overflow="fold", min_width=None if fit is Fit.FOLDED else _TEXT_WIDTH)
    for row in zip(*(cells for _, cells in columns), strict=True):
        table.add_row(*row)
    return table


def _fitting(console: Console, build: Callable[[Fit], Table]) -> Table:
    for fit in (Fit.ROOMY, Fit.TIGHT):
        table = build(fit)
        if _least_width(table) <= console.width:
            return table
    return build(Fit.FOLDED)


def _least_width(table: Table) -> int:
    """Its columns and the space between them (Rich's own measure is bounded by the console's width)."""
    space = table.padding[1] * (len(table.columns) - 1)
    return space + sum(column.width or column.min_width or 0 for column in table.columns)


def _state(state: str | None) -> Text:
    words = UNKNOWN if state is None else state.replace("_", " ")  # two words may go on two lines
    return Text(words, style=_STYLES.get(state, "") if state else "")


def _said(said: Sequence[Note], now_ms: int) -> list[Text]:
    return [Text(f"! {note.text(now_ms)}", style="yellow", overflow="fold") for note in said]
