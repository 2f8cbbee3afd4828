"""Files of saved records: written whole or not at all (atomic, on disk before that is said, 0600), and read again."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kmirror.errors import StateError
from kmirror.model.saved_records import (
    Damaged,
    SavedHeader,
    SavedRecord,
    end_line,
    header_line,
    read_header,
    read_records,
    record_line,
)
from kmirror.state.atomic import atomic_file
from kmirror.state.paths import private_directory


def write_records_file(path: Path, header: SavedHeader, records: Iterable[SavedRecord]) -> int:
    """How many were written; raises StateError, then there is no such file."""
    private_directory(path.parent)
    count = 0
    try:
        with atomic_file(path) as file:
            file.write(header_line(header))
            for record in records:
                file.write(record_line(record))
                count += 1
            file.write(end_line(count))
    except OSError as e:
        raise StateError(
            f'cannot write "{path}": {e.strerror}', hint="Free some disk space, or choose another directory."
        ) from e
    return count


class RecordsFile:
    """One file of saved records. Every method reads it from its beginning, and raises StateError that names a line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def header(self) -> SavedHeader:
        with self._lines() as lines:
            return read_header(next(lines, b""))

    def records(self) -> Iterator[SavedRecord]:
        """All of them. Only once the last is read is it known that the file is whole: see `check`."""
        with self._lines() as lines:
            read_header(next(lines, b""))
            yield from read_records(lines)

    def check(self, watch: Callable[[SavedRecord], None] | None = None) -> int:
        """Reads it to its end; how many records there are."""
        count = 0
        for record in self.records():
            count += 1
            if watch:
                watch(record)
        return count

    @contextmanager
    def _lines(self) -> Iterator[Iterator[bytes]]:
        try:
            with self.path.open("rb") as file:
                yield iter(file)
        except Damaged as e:
            raise StateError(
                f'"{self.path}" is damaged: {e}', hint="Nothing was done with it. Take another copy of the file."
            ) from e
        except OSError as e:
            raise StateError(f'cannot read "{self.path}": {e.strerror}', hint="Check its name and mode.") from e
