"""The codecs of a batch's records, bounded: a few bytes that claim to be gigabytes are refused, not unpacked.

The codecs themselves are those that kafka-python uses; its own functions unpack whatever comes.
"""

import gzip
import io
import struct
from collections.abc import Callable
from typing import Final

import lz4.frame
import zstandard
from kafka import codec as kafka_codec

from kmirror.wire.varint import read_unsigned

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
MOST_BYTES: Final = 256 << 20
"""What the records of one batch may come to; as much as a whole frame may have."""
_CHUNK: Final = 1 << 20
_XERIAL: Final = b"\x82SNAPPY\0"
_XERIAL_HEAD_BYTES: Final = 16


def decompress(codec: int, payload: memoryview, most_bytes: int = MOST_BYTES) -> memoryview | bytes:
    """The records of a batch with `codec` (the last three bits of its attributes).

    Raises ValueError for an unknown codec and for more than `most_bytes`; damaged bytes raise what the codec raises.
    """
    if codec == 0:
        return payload
    if codec == GZIP:
        return _read_all(gzip.GzipFile(fileobj=io.BytesIO(payload)).read, most_bytes)
    if codec == SNAPPY:
        data = bytes(payload)
        size = _unsnapped_bytes(data)
        _check_size(size, most_bytes)
        return bytes(kafka_codec.snappy_decode(data)) if size else b""
    if codec == LZ4:
        return _read_all(_Lz4(payload).read, most_bytes)
    if codec == ZSTD:
        unpacker = zstandard.ZstdDecompressor()
        with unpacker.stream_reader(io.BytesIO(payload), read_across_frames=True) as reader:
            return _read_all(reader.read, most_bytes)
    raise ValueError(f"unknown compression codec {codec}")


def compress(codec: int, payload: bytes) -> bytes:
    """Raises ValueError for an unknown codec."""
    if codec == 0:
        return payload
    if codec == GZIP:
        return gzip.compress(payload, compresslevel=6)
    if codec == SNAPPY:
        return bytes(kafka_codec.snappy_encode(payload))
    if codec == LZ4:
        return bytes(kafka_codec.lz4_encode(payload))
    if codec == ZSTD:
        return bytes(kafka_codec.zstd_encode(payload))
    raise ValueError(f"unknown compression codec {codec}")


def _read_all(read: Callable[[int], bytes], most_bytes: int) -> bytes:
    parts = []
    size = 0
    while part := read(_CHUNK):
        size += len(part)
        _check_size(size, most_bytes)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_size(size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise ValueError(f"compressed records of more than {most_bytes} bytes")


class _Lz4:
    def __init__(self, payload: memoryview) -> None:
        self._unpacker = lz4.frame.LZ4FrameDecompressor()
        self._payload = bytes(payload)

    def read(self, size: int) -> bytes:
        if self._unpacker.eof:
            return b""
        part = bytes(self._unpacker.decompress(self._payload, max_length=size))
        self._payload = b""  # the unpacker keeps what it has not used
        if not part and not self._unpacker.eof:
            raise ValueError("a frame that is cut off")
        return part


def _unsnapped_bytes(data: bytes) -> int:
    """Snappy says in front how much it unpacks to; xerial's format, Kafka's own, is a row of such blocks."""
    if not data.startswith(_XERIAL):
        return read_unsigned(data, 0)[0]
    size, position = 0, _XERIAL_HEAD_BYTES
    while position < len(data):
        length = struct.unpack_from(">i", data, position)[0]
        position += 4
        if not 0 < length <= len(data) - position:
            raise ValueError("a block that is cut off")
        size += read_unsigned(data, position)[0]
        position += length
    return size
