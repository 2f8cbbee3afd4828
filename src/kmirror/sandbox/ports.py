"""Free ports of the loopback address, held until their broker starts."""

import random
import socket
from collections.abc import Sequence

from kmirror.errors import SandboxError

HOST = "127.0.0.1"
# Below what kernels give to outgoing connections: else one of those could sit on a broker's port while it restarts.
_RANGE = range(20_000, 32_000)
_ATTEMPTS = 500


class HeldPorts:
    """Ports that nobody else can bind until `release`."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def hold(self, port: int) -> bool:
        """Holds this port; False when somebody has it."""
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a broker's old connections do not count
        try:
            held.bind((HOST, port))
            held.listen(1)  # else others that reuse addresses, as brokers do, could bind it as well
        except OSError:
            held.close()
            return False
        self._sockets.append(held)
        return True

    def choose(self, count: int) -> Sequence[int]:
        """Finds and holds `count` free ports. Raises SandboxError when the machine has none left."""
        chosen: list[int] = []
        for _ in range(_ATTEMPTS):
            if len(chosen) == count:
                return chosen
            port = random.choice(_RANGE)
            if port not in chosen and self.hold(port):
                chosen.append(port)
        raise SandboxError(
            f"found no free port between {_RANGE.start} and {_RANGE.stop}", hint="Stop what listens on these ports."
        )

    def release(self) -> None:
        for held in self._sockets:
            held.close()
        self._sockets.clear()
