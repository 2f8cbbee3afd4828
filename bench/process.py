"""The process that is measured: started, watched, ended whatever happens."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contenders.job import Command

_END_S = 30


@contextmanager
def running(command: Command, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command.arguments,
            env={**os.environ, **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def check_alive(process: subprocess.Popen[bytes], log: Path) -> None:
    """Raises RuntimeError with its last words when it has ended."""
    if process.poll() is not None:
        words = log.read_text("utf-8", "replace")[-2000:]
        raise RuntimeError(f"the contender ended by itself (exit {process.returncode}): {words}")
