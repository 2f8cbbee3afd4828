"""Can anybody be reached at these bootstrap servers? Plain sockets, so that the answer comes fast and says why not."""

import socket
import time
from contextlib import closing

from kmirror.errors import Unreachable
from kmirror.model.bootstrap import parse_bootstrap


def check_reachable(bootstrap: str, role: str, timeout: float = 5.0) -> None:
    """Returns once one server accepts a connection; raises Unreachable with the reason of each that did not.

    `role` ("source", "destination") is for the message, `timeout` (seconds) for all servers together.
    """
    deadline = time.monotonic() + timeout
    faults: list[str] = []
    codes: list[str] = []
    for host, port in parse_bootstrap(bootstrap):
        try:
            left = max(0.2, deadline - time.monotonic())
            with closing(socket.create_connection((host, port), timeout=left)):
                return
        except socket.gaierror:
            faults.append(f"{host}: unknown host name")
            codes.append("UNRESOLVABLE_BOOTSTRAP_ERROR")
        except TimeoutError:
            faults.append(f"{host}:{port}: no answer")
            codes.append("TIMEOUT_ERROR")
        except OSError as e:
            faults.append(f"{host}:{port}: {(e.strerror or str(e)).lower()}")
            codes.append("BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR")
    raise Unreachable(
        f"the {role} cluster cannot be reached ({'; '.join(faults)})",
        hint=f"Check the address of the {role}'s bootstrap servers, and that a broker listens there.",
        code=codes[-1],
    )
