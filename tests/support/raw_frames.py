"""Kafka's frames as a server sees them that knows nothing else of Kafka."""

import asyncio
import struct

Reader = asyncio.StreamReader
VERSIONS = struct.pack(">hi", 0, 2) + struct.pack(">hhh", 1, 4, 17) + struct.pack(">hhh", 0, 3, 9)


def frame(correlation: int, body: bytes) -> bytes:
    return struct.pack(">ii", len(body) + 4, correlation) + body


async def request(reader: Reader) -> tuple[int, int, int, bytes]:
    """(api key, version, correlation id, what follows the client id) of one request."""
    size = struct.unpack(">i", await reader.readexactly(4))[0]
    data = await reader.readexactly(size)
    key, version, correlation, length = struct.unpack_from(">hhih", data)
    assert data[10 : 10 + length] == b"kmirror"
    return key, version, correlation, data[10 + length :]
