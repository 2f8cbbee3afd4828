"""What a partition's leader remembers of a producer id (ProducerStateEntry in Kafka, shown by KIP-664)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProducerState:
    """The leader takes nothing of an epoch before `epoch`, and of this one only what follows `last_sequence`.

    `last_sequence` is -1 where it knows nothing but markers of that epoch: then it takes sequence 0 and no other.
    `coordinator_epoch` is that of the last marker, -1 if there was none: it takes none of an earlier one.
    """

    epoch: int
    last_sequence: int
    coordinator_epoch: int = -1
