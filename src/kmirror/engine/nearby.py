"""Which replica of a source partition is fetched from: the leader, or one that it named as nearer (KIP-392)."""

import time
from typing import Final

_TRUSTED_S: Final = 300.0  # metadata.max.age.ms of Kafka's consumers, after which they ask the leader again
_AVOIDED_S: Final = 10.0


class Nearby:
    """Of one partition. A follower is left at the first trouble, and for a while after it the leader serves."""

    def __init__(self) -> None:
        self._replica: int | None = None
        self._until = 0.0
        self._avoided_until = 0.0
        self._leader: int | None = None

    def choose(self, leader: int | None) -> int | None:
        """The broker to fetch from. Another leader is asked anew."""
        if self._replica is None:
            return leader
        if leader != self._leader or time.monotonic() > self._until:
            self._replica = None
            return leader
        return self._replica

    def take(self, replica: int, leader: int | None) -> None:
        """The leader says that `replica` is nearer."""
        self._replica, self._leader, self._until = replica, leader, time.monotonic() + _TRUSTED_S

    def leave(self) -> bool:
        """Back to the leader; False where it was the leader already."""
        if self._replica is None:
            return False
        self._replica = None
        self._avoided_until = time.monotonic() + _AVOIDED_S
        return True

    @property
    def is_avoided(self) -> bool:
        return time.monotonic() < self._avoided_until
