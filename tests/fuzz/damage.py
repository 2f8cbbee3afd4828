"""Damages a frame: what a broken network, a broken broker, or one that means harm may send."""

import random
import struct
from collections.abc import Sequence

_EXTREMES = (0, 1, -1, 2**31 - 1, -(2**31), 0x7F, 0x80, 0xFF, 0xFFFF)


def damaged(frame: bytes, others: Sequence[bytes], noise: random.Random) -> bytes:
    """`frame` with one to four faults; a fault may take bytes of `others`."""
    data = bytearray(frame)
    for _ in range(noise.choice((1, 1, 1, 2, 4))):
        _fault(data, others, noise)
    return bytes(data)


def _fault(data: bytearray, others: Sequence[bytes], noise: random.Random) -> None:
    at = noise.randrange(len(data) + 1)
    kind = noise.randrange(8)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << noise.randrange(8)
    elif kind == 1 and at < len(data):
        data[at] = noise.randrange(256)
    elif kind == 2:
        value = noise.choice(_EXTREMES) & 0xFFFFFFFF
        data[at : at + 4] = struct.pack(">I", value)
    elif kind == 3:
        data[at : at + noise.randrange(1, 6)] = b"\xff" * noise.randrange(1, 6)
    elif kind == 4:
        del data[at:]
    elif kind == 5:
        del data[at : at + noise.randrange(1, 20)]
    elif kind == 6:
        data[at:at] = data[at : at + noise.randrange(1, 40)]
    else:
        other = noise.choice(others)
        begin = noise.randrange(len(other) + 1)
        data[at : at + noise.randrange(20)] = other[begin : begin + noise.randrange(40)]
