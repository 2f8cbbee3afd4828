"""What the C library is told about memory."""

import subprocess
import sys

import pytest

WORK = """
import ctypes, sys, threading
from kmirror.process.memory import share_one_arena
if sys.argv[1] == "told":
    share_one_arena()
libc = ctypes.CDLL(None)
barrier = threading.Barrier(4)
def work():
    libc.malloc(100_000)
    barrier.wait(10)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def arenas(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", WORK, how], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_threads_share_one_arena_and_would_not_by_themselves():
    assert arenas("told") == 1
    assert arenas("untold") > 1
