"""Free ports of the loopback address, held until their broker starts, and kept for it afterwards."""

import random
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from kmirror.errors import SandboxError

HOST = "127.0.0.1"
# Below what kernels give to outgoing connections: else one of those could sit on a broker's port while it restarts.
_RANGE = range(20_000, 32_000)
_ATTEMPTS = 500
_LINUX = sys.platform == "linux"


class HeldPorts:
    """Ports that nobody else can bind until `lend`, and that nobody else is given until `release`.

    A socket that is bound and does not listen keeps its port in Linux (socket(7), SO_REUSEADDR): only who sets
    SO_REUSEADDR, as brokers do, can listen there. Outgoing connections, other draws and who asks for any port get
    another one, however long a broker takes to start. Elsewhere such a socket would keep the broker out as well.
    """

    def __init__(self) -> None:
        self._kept = ExitStack()
        self._guards = ExitStack()

    def hold(self, port: int) -> bool:
        """Holds this port; False when somebody has it. The old connections of a broker do not count."""
        return self._take(port, reuse=True)

    def choose(self, count: int) -> Sequence[int]:
        """Finds and holds `count` free ports. Raises SandboxError when the machine has none left."""
        chosen: list[int] = []
        for _ in range(_ATTEMPTS):
            if len(chosen) == count:
                return chosen
            port = random.choice(_RANGE)
            if self._take(port, reuse=False):
                chosen.append(port)
        raise SandboxError(
            f"found no free port between {_RANGE.start} and {_RANGE.stop}", hint="Stop what listens on these ports."
        )

    def lend(self) -> None:
        """Lets brokers bind the ports. In Linux nobody is given them before `release`; elsewhere they are free now."""
        self._guards.close()

    def release(self) -> None:
        self._guards.close()
        self._kept.close()

    def _take(self, port: int, *, reuse: bool) -> bool:
        with ExitStack() as kept, ExitStack() as guards:
            try:
                if _LINUX:
                    kept.enter_context(_bound(port, reuse=reuse))
                # Without it others that reuse addresses, as brokers do, could listen there.
                guards.enter_context(_bound(port, reuse=reuse or _LINUX)).listen(1)
            except OSError:
                return False
            self._kept.push(kept.pop_all())
            self._guards.push(guards.pop_all())
        return True


def _bound(port: int, *, reuse: bool) -> socket.socket:
    """Without `reuse` it has to be the first there; either way others that reuse addresses can be beside it."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        bound.bind((HOST, port))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        bound.close()
        raise
    return bound
