"""The live view without a terminal: a line when something changes, and one every few seconds while data flows."""

import time
from typing import Final

from kmirror.cli.live_rows import History, MirrorRow, Note, link_notes, mirror_rows, notes
from kmirror.cli.live_text import count, duration, rate, throughput
from kmirror.model.link import Link
from kmirror.model.status import LinkStatus

EVERY_MS: Final = 5000


class PlainLines:
    """What is worth a line, given what was said before."""

    def __init__(self, topic: str | None = None) -> None:
        self._topic = topic
        self._rows: dict[str, tuple[MirrorRow, int]] = {}
        self._notes: set[tuple[str, str]] = set()

    def lines(self, link: Link, status: LinkStatus | None, now_ms: int) -> list[str]:
        rows = [row for row in mirror_rows(link, status, History()) if self._topic in {None, row.topic}]
        said = [note for row in rows for note in notes(link.mirrors[row.topic], status)]
        found = [_row_line(row) for row in rows if self._worth_a_line(row, now_ms)]
        found += self._new(said + link_notes(link, status, now_ms), now_ms)
        clock = time.strftime("%H:%M:%S", time.localtime(now_ms / 1000))
        return [f"{clock} {line}" for line in found]

    def _worth_a_line(self, row: MirrorRow, now_ms: int) -> bool:
        before = self._rows.get(row.topic)
        if before is not None:
            last, at_ms = before
            if row.state is last.state and (now_ms - at_ms < EVERY_MS or row == last):
                return False
        self._rows[row.topic] = (row, now_ms)
        return True

    def _new(self, said: list[Note], now_ms: int) -> list[str]:
        """What was not wrong the last time, and what no longer is."""
        now = {(note.subject, note.message) for note in said}
        over = [f"over: {subject}: {message}" for subject, message in sorted(self._notes - now)]
        new = [note.text(now_ms) for note in said if (note.subject, note.message) not in self._notes]
        self._notes = now
        return over + new


def _row_line(row: MirrorRow) -> str:
    parts = [f"{row.topic}: {row.state}"]
    if row.lag is not None:
        parts.append(f"lag {count(row.lag)} records ({duration(row.lag_ms)})")
    if row.records_per_s is not None and row.bytes_per_s is not None:
        parts.append(f"{rate(row.records_per_s)}, {throughput(row.bytes_per_s)}")
    return ", ".join(parts)
