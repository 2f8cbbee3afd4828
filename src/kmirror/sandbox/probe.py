"""Asks a broker over a plain socket which brokers it knows: the proof that it serves requests and not only listens."""

import socket
import struct

_METADATA = 3
_METADATA_VERSION = 4  # the last before compact strings; Kafka 2.1 to 4.x speak it
_CORRELATION = 7
_REQUEST = struct.pack(">hhih", _METADATA, _METADATA_VERSION, _CORRELATION, -1) + struct.pack(">i?", 0, False)


def known_brokers(host: str, port: int, *, timeout: float = 2) -> frozenset[int]:
    """The node ids that the broker says are registered and unfenced.

    Raises OSError when it does not answer, ValueError when what answers is no Kafka.
    """
    with socket.create_connection((host, port), timeout=timeout) as connection:
        connection.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
        (size,) = struct.unpack(">i", _read(connection, 4))
        if not 0 < size < 1_000_000:
            raise ValueError(f"a frame of {size} bytes is no answer of Kafka")
        return parse_brokers(_read(connection, size))


def parse_brokers(answer: bytes) -> frozenset[int]:
    """The node ids in a Metadata answer (version 4). Raises ValueError when it is something else."""
    try:
        correlation, _throttle, count = struct.unpack_from(">iii", answer)
        if correlation != _CORRELATION:
            raise ValueError(f"answer to another request: {correlation}")
        position, nodes = 12, set()
        for _ in range(count):
            node, host_size = struct.unpack_from(">ih", answer, position)
            nodes.add(node)
            position += 6 + host_size + 4
            (rack_size,) = struct.unpack_from(">h", answer, position)
            position += 2 + max(rack_size, 0)
    except struct.error as e:
        raise ValueError("a metadata answer that ends early") from e
    return frozenset(nodes)


def _read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionResetError("the broker closed the connection")
        data += chunk
    return bytes(data)
