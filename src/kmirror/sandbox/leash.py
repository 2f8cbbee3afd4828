"""Becomes the command that it is given, tied to the process that started it: `leash.py PARENT COMMAND...`.

On Linux the kernel then kills the command when its parent dies, however that dies. SIGKILL, because a broker that is
stopped by SIGSTOP would never see anything milder. Elsewhere there is no such tie, and the command just runs.
The tie is to the *thread* that started it: start brokers from a thread that lives as long as they should.

A script by itself, and not a preexec_fn: that one runs Python between fork and exec, which can deadlock in a process
with threads such as librdkafka's.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return  # it died before we were tied
    os.execv(command[0], command)  # noqa: S606  no shell is what we want


if __name__ == "__main__":
    main()
