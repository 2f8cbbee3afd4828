"""The limit: a process that receives bytes from one socket and writes them to another, with no Kafka anywhere.

It is sent the very log files of the source (by sendfile, as brokers do), and what it writes is thrown away. No mirror
can be faster here than this one, which does nothing.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.loads import Load
from bench.meter import cpu_seconds
from bench.segments import data_directory
from bench.stage import Stage

_BUFFER: Final = 1 << 20
_SEND: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Limit:
    megabytes_per_s: float
    megabytes_per_cpu_s: float


def measure_limit(stage: Stage, load: Load) -> Limit:
    """Rates in megabytes of records, as everywhere: of compressed logs fewer bytes travel."""
    data = data_directory(stage.source)
    logs = [path for p in range(load.partitions) for path in sorted((data / f"{load.topic}-{p}").glob("*.log"))]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = subprocess.Popen([sys.executable, "-m", "bench.relay", str(port)])
        try:
            feed, _ = server.accept()
            sink, _ = server.accept()
            with feed, sink:
                cpu = cpu_seconds(process.pid)
                started = time.monotonic()
                feeder = threading.Thread(target=_feed, args=(feed, logs), daemon=True)
                feeder.start()
                buffer = bytearray(_BUFFER)
                while sink.recv_into(buffer):
                    pass
                seconds = time.monotonic() - started
                cpu = cpu_seconds(process.pid) - cpu  # it lives until the sink is closed
                feeder.join()
        finally:
            process.kill()
            process.wait()
    megabytes = load.record_megabytes
    return Limit(megabytes / seconds, megabytes / max(cpu, 0.01))


def _feed(to: socket.socket, logs: list[Path]) -> None:
    try:
        for log in logs:
            with log.open("rb") as file:
                position, size = 0, os.fstat(file.fileno()).st_size
                while position < size:
                    position += os.sendfile(to.fileno(), file.fileno(), position, _SEND)
    finally:
        to.shutdown(socket.SHUT_WR)  # whoever reads waits for it


def _relay(port: int) -> None:
    source = socket.create_connection(("127.0.0.1", port))
    destination = socket.create_connection(("127.0.0.1", port))
    view = memoryview(bytearray(_BUFFER))
    while count := source.recv_into(view):
        destination.sendall(view[:count])
    destination.shutdown(socket.SHUT_WR)
    destination.recv(1)  # until the other side has read our clock


if __name__ == "__main__":
    _relay(int(sys.argv[1]))
