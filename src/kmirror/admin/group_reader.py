"""A plain consumer group, as any application has one: what the demo lets move from one cluster to the other."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from kmirror.admin.background import InBackground
from kmirror.errors import ClusterError, NotReached

_WAIT_S: Final = 0.1
_BATCH: Final = 1000
_SILENCE_S: Final = 30.0


@dataclass(slots=True)
class Stretch:
    """What a group has read: by partition the first offset, and the one behind the last. `jumps`: places left out or
    read twice in between (partition, expected, found).
    """

    begins: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    jumps: list[tuple[int, int, int]] = field(default_factory=list)
    records: int = 0

    def add(self, partition: int, offset: int) -> None:
        expected = self.ends.get(partition)
        if expected is None:
            self.begins[partition] = offset
        elif offset != expected:
            self.jumps.append((partition, expected, offset))
        self.ends[partition] = offset + 1
        self.records += 1

    def goes_on_from(self, earlier: "Stretch") -> bool:
        """It begins in each partition where the earlier one ended, and nothing is left out or doubled in either."""
        places = {partition: earlier.ends.get(partition, 0) for partition in self.begins}
        return not self.jumps and not earlier.jumps and self.begins == places


class GroupReader(InBackground):
    """Reads a topic as the only member of a group, from `with` to `stop`."""

    def __init__(self, bootstrap: str, topic: str, group: str) -> None:
        super().__init__(group)
        self._group = group
        self._stretch = Stretch()
        self._error: str | None = None
        self._consumer = _consumer(bootstrap, group)
        self._consumer.subscribe([topic])

    def stop(self) -> Stretch:
        """Commits and leaves; returns what was read. Raises ClusterError."""
        self.end()
        return self._stretch

    def _check(self) -> None:
        if self._error is not None:
            raise ClusterError(f'group "{self._group}" could not go on: {self._error}')

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                _note(self._stretch, self._consumer.consume(_BATCH, timeout=_WAIT_S))
            if self._stretch.records:
                self._consumer.commit(asynchronous=False)
        except (KafkaException, ClusterError) as e:
            self._error = str(e)
        finally:
            self._consumer.close()


def read_on(bootstrap: str, topic: str, group: str, ends: Sequence[int]) -> Stretch:
    """The same group, from where it is up to these log ends. Raises ClusterError, NotReached."""
    stretch = Stretch()
    consumer = _consumer(bootstrap, group)
    try:
        consumer.subscribe([topic])
        deadline = time.monotonic() + _SILENCE_S
        while any(stretch.ends.get(partition, 0) < end for partition, end in enumerate(ends)):
            messages = consumer.consume(_BATCH, timeout=_WAIT_S)
            if messages:
                deadline = time.monotonic() + _SILENCE_S
            elif time.monotonic() > deadline:
                raise NotReached(f'group "{group}" got no record of topic "{topic}" for {_SILENCE_S:.0f} s')
            _note(stretch, messages)
        consumer.commit(asynchronous=False)
    except KafkaException as e:
        raise ClusterError(f'group "{group}" could not go on at {bootstrap}: {e.args[0].str()}') from e
    finally:
        consumer.close()
    return stretch


def _note(stretch: Stretch, messages: Iterable[Message]) -> None:
    for message in messages:
        error, partition, offset = message.error(), message.partition(), message.offset()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
            raise ClusterError(error.str())
        if error is None and partition is not None and offset is not None:
            stretch.add(partition, offset)


def _consumer(bootstrap: str, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
