"""Reads the batch headers of a partition out of its log files, while the broker writes them.

So progress is measured exactly, and at no cost for the broker that is being measured. The layout is that of
Kafka's record batch v2: base offset at 0, length at 8, attributes at 21, last offset delta at 23, number of records
at 57.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from kmirror.sandbox import KafkaCluster

_HEADER = struct.Struct(">qi9xhi30xi")
_LENGTH_END = 12  # the length counts what follows it
_CONTROL = 0x20


@dataclass(slots=True)
class LogTail:
    """What a partition holds, as far as `read` has come; `directory` may be missing until its topic is created.

    `records` and `batches` are those of data: no transaction markers.
    """

    directory: Path
    end: int = 0
    records: int = 0
    batches: int = 0
    bytes: int = 0
    _segment: int = 0
    _position: int = 0

    def read(self) -> None:
        """Goes on to the end of the log."""
        while self._read_segment():
            pass

    def _read_segment(self) -> bool:
        """Whether another segment follows the one that was read."""
        later = [base for path in self.directory.glob("*.log") if (base := int(path.stem)) > self._segment]
        try:  # what has a successor already is whole
            with self._path(self._segment).open("rb") as file:
                self._read_batches(file.fileno())
        except FileNotFoundError:
            return False
        if later:
            self._segment, self._position = min(later), 0
        return bool(later)

    def _read_batches(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        while self._position + _HEADER.size <= size:
            base, length, attributes, last, records = _HEADER.unpack(os.pread(descriptor, _HEADER.size, self._position))
            whole = _LENGTH_END + length
            if length <= 0 or self._position + whole > size:
                return  # being written just now
            self._position += whole
            self.bytes += whole
            self.end = base + last + 1
            if not attributes & _CONTROL:
                self.records += records
                self.batches += 1

    def _path(self, base: int) -> Path:
        return self.directory / f"{base:020}.log"


class TopicTail:
    """All partitions of a topic on a cluster of one broker."""

    def __init__(self, cluster: KafkaCluster, topic: str, partitions: int) -> None:
        data = data_directory(cluster)
        self._logs = [LogTail(data / f"{topic}-{partition}") for partition in range(partitions)]

    def read(self) -> int:
        """How many records there are by now, aborted ones too."""
        for log in self._logs:
            log.read()
        return sum(log.records for log in self._logs)

    @property
    def end(self) -> int:
        """The sum of the log ends."""
        return sum(log.end for log in self._logs)

    @property
    def batches(self) -> int:
        return sum(log.batches for log in self._logs)

    @property
    def bytes(self) -> int:
        return sum(log.bytes for log in self._logs)


def data_directory(cluster: KafkaCluster) -> Path:
    """Where the only broker of `cluster` keeps its logs."""
    return cluster.directory / "node-0" / "data"
