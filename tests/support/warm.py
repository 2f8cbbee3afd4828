"""The command line from a warm start: a process that has imported kmirror already forks one for each command.

Importing is most of what a short command costs, and a run of the tests starts thousands of them. What is forked runs
`kmirror.__main__.main` as `python -m kmirror` does, in a process of its own with the arguments, environment, folder
and files that it was given, and ends as any Python program ends, but for taking all modules apart: that would copy the
memory which it shares with the others. The runners that it starts are started as always, and
so is what a test types into a terminal (README, pages, demo, examples): imports that are missing are found there.
"""

import atexit
import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Self

_REQUEST_BYTES = 1 << 20
_MODULES = (
    "kmirror.__main__",
    *(
        "kmirror.cli.app",
        "typer._adapters",
        "rich.live",
        "rich.table",
        "yaml",
        "confluent_kafka.admin",
        "kafka",
        "asyncio",
    ),
    *("kmirror.ops." + name for name in ("link_create", "link_view", "mirror_create", "mirror_view", "mirror_stop")),
    *("kmirror.ops." + name for name in ("mirror_verify", "mirror_groups", "overview", "doctor", "fleet")),
    *("kmirror.process.runner", "kmirror.engine.link", "kmirror.tasks.registry", "kmirror.admin.cluster"),
)


class WarmStart:
    """`with WarmStart() as warm: warm.run([...], environment, timeout=60)`. Safe to use from several threads."""

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.set_inheritable(False)
        self._requests = ours
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.warm", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=Path(__file__).parents[1],
                stdin=subprocess.DEVNULL,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.close()  # it ends when nobody can ask any more
        self._process.wait(10)

    def run(
        self, args: Sequence[str], environment: Mapping[str, str], *, stdin: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run with captured text; raises TimeoutExpired, after the command was killed."""
        command = [sys.executable, "-m", "kmirror", *args]
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            answers, theirs = socket.socketpair()
            with answers:
                with theirs:
                    order = {"args": list(args), "environment": dict(environment), "folder": str(Path.cwd())}
                    files = [theirs.fileno(), given.fileno(), out.fileno(), err.fileno()]
                    socket.send_fds(self._requests, [json.dumps(order).encode()], files)
                try:
                    code = _end(answers, timeout)
                except TimeoutError:
                    raise subprocess.TimeoutExpired(command, timeout, _all(out), _all(err)) from None
            return subprocess.CompletedProcess(command, code, _all(out).decode(), _all(err).decode())


def _end(answers: socket.socket, timeout: float) -> int:
    """The exit code. Raises TimeoutError once the command was killed for being late."""
    with answers.makefile() as lines:
        answers.settimeout(60)  # to start is the machine's time, not the command's
        pid = int(lines.readline())
        answers.settimeout(timeout)
        try:
            return int(lines.readline())
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise


def _all(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _serve(requests: socket.socket) -> Sequence[str] | None:
    """Answers until nobody asks any more: then None. In each forked process it returns the words of its command."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who waits for a command is forked too, and nobody waits for that
    while True:
        order, files, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 4)
        if not order:
            return None
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _ordered(json.loads(order), *files)
        for descriptor in files:
            os.close(descriptor)


def _ordered(order: dict, answer: int, *files: int) -> Sequence[str]:
    """Forks once more: the parent tells how the command ended, the child goes on and becomes it."""
    pid = os.fork()
    if pid:
        os.write(answer, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(BrokenPipeError):
            os.write(answer, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(answer)
    for number, descriptor in enumerate(files):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    return order["args"]


def _main() -> int:
    import importlib

    for name in _MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else each process looks through all that is here, and copies it by that
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        words = _serve(requests)
    if words is None:
        return 0
    sys.argv[1:] = words
    code = _run()
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _run() -> int:
    """The exit code that Python would give."""
    from kmirror.__main__ import main

    try:
        return main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    return 1


if __name__ == "__main__":
    sys.exit(_main())
