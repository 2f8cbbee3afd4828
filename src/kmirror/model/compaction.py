"""Records that only one side of a compacted topic shows, because each side's cleaner runs when it likes.

Compaction removes a record once a later one has its key, and a tombstone after its time. So a record that one side
lacks is no difference if either side shows a later one of its key, or if it is a tombstone.
"""

from collections.abc import Callable
from typing import Final

from kmirror.model.verification import Difference, Level, Shown, What

MOST_WAITING: Final = 1_000_000
"""Records in doubt that are remembered, by a partition; later ones count as differences at once."""

_ONE_SIDED: Final = frozenset({(What.MISSING,), (What.EXTRA,)})


class Compaction:
    """The doubtful ones of one partition: `add` and `seen` are called in the order of offsets."""

    def __init__(self, found: Callable[[Difference], None]) -> None:
        self.removed = 0
        """Records that one side has removed, as it may."""
        self._found = found
        self._waiting: dict[bytes, list[Difference]] = {}
        self._count = 0

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def add(self, difference: Difference) -> None:
        side = difference.source if isinstance(difference.source, Shown) else difference.destination
        doubtful = difference.what in _ONE_SIDED and difference.level is Level.BOTH and self._count < MOST_WAITING
        if not doubtful or not isinstance(side, Shown) or side.key is None:
            self._found(difference)
        elif side.value is None:
            self.removed += 1
        else:
            self._waiting.setdefault(side.key, []).append(difference)
            self._count += 1

    def seen(self, key: bytes | None) -> None:
        """Either side shows a later record of this key."""
        if key is None:
            return
        explained = len(self._waiting.pop(key, ()))
        self.removed += explained
        self._count -= explained

    def finish(self, *, whole: bool) -> None:
        """The end: what waits is different. Unless only a part was read (not `whole`), where nobody can tell."""
        rest = [difference for differences in self._waiting.values() for difference in differences]
        if whole:
            for difference in sorted(rest, key=lambda d: d.offset or 0):
                self._found(difference)
        else:
            self.removed += len(rest)
        self._waiting.clear()
        self._count = 0
