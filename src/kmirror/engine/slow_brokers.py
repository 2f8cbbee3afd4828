"""Which of the destination's brokers take so little that what waits for them would hold up all the others."""

from collections.abc import Mapping
from typing import Final

_PATIENCE_S: Final = 0.3


class SlowBrokers:
    """A broker is slow once more than half of the room waits for it for 0.3 s, and until less than a quarter does.

    Where there is but one, it holds up nobody, and is never slow.
    """

    def __init__(self) -> None:
        self.nodes: frozenset[int] = frozenset()
        self._over_since: dict[int, float] = {}

    @property
    def is_none(self) -> bool:
        """None is slow, nor about to be."""
        return not self.nodes and not self._over_since

    def look(self, waiting: Mapping[int, int], room_bytes: int, *, brokers: int, now_s: float) -> frozenset[int]:
        """`waiting`: bytes by node. Returns which nodes have become slow, and which are so no more."""
        most = room_bytes // 2
        self._over_since = {
            node: self._over_since.get(node, now_s)
            for node, size in waiting.items()
            if size > (most // 2 if node in self.nodes else most)
        }
        before, self.nodes = self.nodes, frozenset()
        if brokers > 1:
            self.nodes = frozenset(
                node for node, since in self._over_since.items() if node in before or now_s - since >= _PATIENCE_S
            )
        return before ^ self.nodes
