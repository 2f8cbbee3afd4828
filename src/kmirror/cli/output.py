"""How results are printed: tables for people, JSON and YAML for scripts. One row has the same keys in all three."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from rich.box import ASCII, Box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from kmirror.cli.live_text import duration

PIPED_WIDTH: Final = 10_000
"""Of a stdout that is no terminal: what a script reads is never cut or wrapped."""

_BOX: Final = Box("    \n  | \n -+ \n  | \n -+ \n -+ \n  | \n    ")
_RECORD_BOX: Final = ASCII
_STYLES: Final = MappingProxyType(
    {
        "ACTIVE": "green",
        "PAUSED": "yellow",
        "PENDING_STOPPED": "yellow",
        "PENDING_SYNCHRONIZE": "yellow",
        "PENDING_MIRROR": "yellow",
        "PENDING_SETUP_FOR_RESTORE": "yellow",
        "PENDING_RESTORE": "yellow",
        "STOPPED": "cyan",
        "SOURCE_UNAVAILABLE": "yellow",
        "UNAVAILABLE": "yellow",
        "LINK_FAILED": "red",
        "FAILED": "red",
        "IN_ERROR": "red",
        "LINK_UNAVAILABLE": "yellow",
        "LINK_PAUSED": "yellow",
    }
)
_TITLES: Final = MappingProxyType(
    {
        "link_id": "ID",
        "status_time_ms": "Status Time (ms)",
        "partition_mirror_lag_ms": "Lag Time",
        "max_per_partition_mirror_lag_ms": "Max Lag Time",
        "records_per_s": "Records/s",
        "runner_pid": "Runner PID",
        "created_ms": "Created (ms)",
        "gap_fill": "Gap Fill",
    }
)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Narrow:
    """What a table does on a terminal that is too narrow for it.

    Of the columns `once`, those that say the same in every row are said once, above; `spared` ones are left out where
    even that is not enough.
    """

    once: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()


_PLAIN: Final = Narrow()
_SENTENCES: Final = frozenset({"error_message", "errors"})
_SENTENCE_WIDTH: Final = 24


class Format(StrEnum):
    HUMAN = "human"
    JSON = "json"
    YAML = "yaml"


def out() -> Console:
    """stdout: in colour on a terminal (unless NO_COLOR), endlessly wide and plain elsewhere."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(file=sys.stdout, width=PIPED_WIDTH, color_system=None, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """A line of the answer."""
    out().print(Text(text), soft_wrap=True)


def note(text: str) -> None:
    """A line beside the answer: warnings, progress."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def rows_of(items: Sequence[Any]) -> list[dict[str, Any]]:
    return [asdict(item) if is_dataclass(item) and not isinstance(item, type) else dict(item) for item in items]


def without_empty(row: Row, keys: Sequence[str]) -> dict[str, Any]:
    """`row` without those of `keys` that hold nothing."""
    return {k: v for k, v in row.items() if k not in keys or v not in {"", None}}


def print_document(data: object, form: Format) -> None:
    """The one document that a script gets."""
    if form is Format.JSON:
        print(json.dumps(data, indent=2, ensure_ascii=False))  # noqa: T201
        return
    import yaml

    plain = json.loads(json.dumps(data))  # enums are strings to JSON alone
    print(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), end="")  # noqa: T201


def print_rows(rows: Sequence[Row], columns: Sequence[str], form: Format, narrow: Narrow = _PLAIN) -> None:
    """Many: for people the `columns` of the rows, for scripts the rows with all they hold."""
    if form is not Format.HUMAN:
        print_document([dict(row) for row in rows], form)
    elif rows:
        _print_table(rows, columns, narrow)
    else:
        say("None found.")


def print_record(row: Row, columns: Sequence[str], form: Format) -> None:
    """One: for people a box of names and values, without those that hold nothing."""
    if form is not Format.HUMAN:
        print_document(dict(row), form)
        return
    table = Table(box=_RECORD_BOX, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key in columns:
        if row.get(key) not in {"", None}:
            table.add_row(title(key), cell(key, row[key]))
    out().print(table)


def title(key: str) -> str:
    return _TITLES.get(key) or key.replace("_", " ").title()


def cell(key: str, value: Any) -> Text:
    """As people read it. Ours are times in words; Cluster Linking's stay the numbers that they are there."""
    if value is None:
        return Text("")
    if key.endswith("lag_ms"):
        return Text(duration(None if value < 0 else value))
    if isinstance(value, float):
        return Text(f"{value:,.0f}")
    text = str(value)
    return Text(text, style=_STYLES.get(text, ""))


def _print_table(rows: Sequence[Row], columns: Sequence[str], narrow: Narrow) -> None:
    console = out()
    table = _table(rows, columns)
    if _width(console, table) > console.width:
        same = [key for key in narrow.once if len({str(row[key]) for row in rows}) == 1]
        for key in same:
            text = cell(key, rows[0][key])
            if text.plain:
                console.print(Text.assemble((f"{title(key)}: ", "bold"), text), soft_wrap=True)
        kept = [k for k in columns if k not in same and any(cell(k, row[k]).plain for row in rows)]
        table = _table(rows, kept, tight=True)
        if _width(console, table, least=True) > console.width:
            table = _table(rows, [key for key in kept if key not in narrow.spared], tight=True)
    console.print(table)


def _width(console: Console, table: Table, *, least: bool = False) -> int:
    found = Measurement.get(console, console.options.update(max_width=PIPED_WIDTH), table)
    return found.minimum if least else found.maximum


def _table(rows: Sequence[Row], columns: Sequence[str], *, tight: bool = False) -> Table:
    """`tight`: headers break between words. A number is never broken, and sentences break first."""
    table = Table(box=_BOX, show_edge=False, header_style="bold")
    for key in columns:
        number = all(isinstance(row[key], int | float) or row[key] is None for row in rows)
        sentence = key in _SENTENCES
        least = max(len(word) for word in title(key).split()) if tight or sentence else len(title(key))
        if not sentence:
            least = max(least, *(len(cell(key, row[key])) for row in rows))
        table.add_column(
            title(key),
            justify="right" if number else "left",
            overflow="fold",
            width=None if sentence else least,  # a width that is given spares Rich measuring each cell, twice
            min_width=_SENTENCE_WIDTH if tight else least,
        )
    for row in rows:
        table.add_row(*(cell(key, row[key]) for key in columns))
    return table
