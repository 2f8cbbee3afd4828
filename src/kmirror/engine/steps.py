"""The steps into which a source log is translated: what takes each offset at the destination."""

from dataclasses import dataclass, field
from enum import StrEnum

from kmirror.wire.pipes import Pipe, read_into


class Gap(StrEnum):
    """Why an offset holds no record that a reader of the source sees."""

    MARKER = "a transaction marker"
    ABORTED = "records of an aborted transaction"
    HOLE = "no record: the log was compacted there"
    LOST = "records that retention removed before they were copied"


class Form(StrEnum):
    """Why a batch can't be sent on as it is."""

    HOLES = "a batch with holes, left by compaction"
    SPLIT = "a batch that begins before the mirror's log end"
    LOG_APPEND_TIME = "a batch with log append time"
    OLD_FORMAT = "a batch of message format v0 or v1"


@dataclass(
    slots=True
)  # never changed, but not frozen: that takes four times as long to make, and there may be millions
class Append:
    """A dense batch to be sent: `count` records from offset `base` on. Timestamps in ms.

    Its bytes are those of the source, unless it was written anew, or merged of several `source_batches`. Before they
    are merged, `batch` holds these as they came, one behind the other: a run. The last `piped_bytes` of a large one may
    be missing: they are in `pipe` until it is sent. It has `size` bytes, wherever they are, and `end` is the offset
    behind it.
    """

    base: int
    count: int
    batch: memoryview
    base_timestamp: int
    max_timestamp: int
    source_batches: int = 1
    pipe: Pipe | None = None
    piped_bytes: int = 0
    end: int = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.end = self.base + self.count
        self.size = len(self.batch) + self.piped_bytes

    def whole(self) -> memoryview:
        """The batch, all of it in memory."""
        if self.pipe is not None:
            batch = memoryview(bytearray(self.size))
            batch[: len(self.batch)] = self.batch
            read_into(self.pipe, batch[len(self.batch) :])
            self.batch, self.pipe, self.piped_bytes = batch, None, 0
        return self.batch

    def give_pipe(self) -> Pipe | None:
        """Whoever takes it sends the batch: the step keeps its first bytes alone."""
        pipe, self.pipe = self.pipe, None
        return pipe

    def is_small(self, most_bytes: int) -> bool:
        """One batch of at most so many bytes, or a run: of small ones alone there are any."""
        return self.source_batches > 1 or self.size <= most_bytes


@dataclass(frozen=True, slots=True)
class Fill:
    """`count` offsets from `base` on that hold nothing visible at the source."""

    base: int
    count: int
    gap: Gap

    @property
    def end(self) -> int:
        return self.base + self.count

    @property
    def size(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Reencode:
    """A batch that has to be written anew; offsets below `base` are copied already."""

    base: int
    count: int
    batch: memoryview
    form: Form


@dataclass(frozen=True, slots=True)
class Stop:
    """The source shows something at offset `base` that can't be copied at all; `code` is that of the mirror's error."""

    base: int
    code: str
    message: str


Step = Append | Fill | Reencode | Stop
