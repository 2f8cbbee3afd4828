"""Logs written by hand into the folder of a broker that stands still: what no client can produce."""

import struct
from pathlib import Path

from kmirror.sandbox import KafkaCluster

_STATE = (".index", ".timeindex", ".txnindex", ".snapshot")
_CHECKPOINTS = (".kafka_cleanshutdown", "recovery-point-offset-checkpoint", "replication-offset-checkpoint")


def folder(cluster: KafkaCluster, topic: str, partition: int = 0) -> Path:
    """Where broker 0 keeps a partition."""
    return cluster.directory / "node-0" / "data" / f"{topic}-{partition}"


def segment(cluster: KafkaCluster, topic: str, partition: int = 0) -> Path:
    """The partition's one segment."""
    (found,) = folder(cluster, topic, partition).glob("*.log")
    return found


def write_log(cluster: KafkaCluster, topic: str, data: bytes, partition: int = 0, *, base: int = 0) -> None:
    """Makes `data` the whole log, which begins at offset `base`. The broker must not run; it rebuilds the rest."""
    place = folder(cluster, topic, partition)
    for path in place.iterdir():
        if path.suffix in {".log", *_STATE} or path.name == "leader-epoch-checkpoint":
            path.unlink()
    (place / f"{base:020}.log").write_bytes(_of_epoch_zero(data))
    for name in _CHECKPOINTS:
        (place.parent / name).unlink(missing_ok=True)


def cut_log(cluster: KafkaCluster, topic: str, offset: int, partition: int = 0) -> None:
    """Cuts everything from the batch at `offset` on. The broker must not run."""
    path = segment(cluster, topic, partition)
    data = path.read_bytes()
    at = batch_at(data, offset)
    assert at is not None, f"no batch begins at offset {offset}"
    write_log(cluster, topic, data[:at], partition, base=int(path.stem))


def flip_byte(cluster: KafkaCluster, topic: str, offset: int, partition: int = 0) -> None:
    """Damages the last byte of the batch at `offset`. A broker that runs does not notice: it sends the file on."""
    path = segment(cluster, topic, partition)
    data = path.read_bytes()
    at = batch_at(data, offset)
    assert at is not None, f"no batch begins at offset {offset}"
    last = at + 12 + struct.unpack_from(">i", data, at + 8)[0] - 1
    with path.open("r+b") as file:
        file.seek(last)
        file.write(bytes([data[last] ^ 1]))


def batch_at(data: bytes, offset: int) -> int | None:
    """The position of the batch whose base offset it is."""
    position = 0
    while position + 12 <= len(data):
        base, length = struct.unpack_from(">qi", data, position)
        if base == offset:
            return position
        if length <= 0:  # the broker reserves room in front of its end
            return None
        position += 12 + length
    return None


def batches_of(cluster: KafkaCluster, topic: str, partition: int = 0) -> list[tuple[int, int]]:
    """(first offset, last offset) of each batch, in order; the broker may run."""
    out = []
    for path in sorted(folder(cluster, topic, partition).glob("*.log")):
        data, position = path.read_bytes(), 0
        while position + 61 <= len(data):
            base, length = struct.unpack_from(">qi", data, position)
            if length <= 0:
                break
            out.append((base, base + struct.unpack_from(">i", data, position + 23)[0]))
            position += 12 + length
    return out


def _of_epoch_zero(data: bytes) -> bytes:
    """The first leader epoch in each v2 batch: a partition that was just made has no later one."""
    out = bytearray(data)
    position = 0
    while position + 17 <= len(out):
        if out[position + 16] == 2:
            struct.pack_into(">i", out, position + 12, 0)
        position += 12 + struct.unpack_from(">i", out, position + 8)[0]
    return bytes(out)
