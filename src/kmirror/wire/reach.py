"""Can anybody be reached at these bootstrap servers, and does it let us in? A plain socket first: that is fast."""

import asyncio
import socket
import time
from contextlib import closing

from kmirror.errors import ClusterError, Unreachable
from kmirror.model.access import Access
from kmirror.model.bootstrap import parse_bootstrap
from kmirror.wire import rpc
from kmirror.wire.dial import connect_any
from kmirror.wire.errors import ConnectionLost


def check_reachable(access: Access, role: str, timeout: float = 5.0) -> None:
    """Returns once one server accepts a connection and answers; raises Unreachable, with the reason of each.

    Raises ClusterError where it does not let us in. `role` ("source", "destination") is for the message, `timeout`
    (seconds) for all servers together, and once more for the answer.
    """
    _check_accepts(access.bootstrap, role, timeout)
    try:
        asyncio.run(_ask(access, timeout))
    except ConnectionLost as e:
        raise Unreachable(
            f"the {role} cluster at {access.bootstrap} does not answer ({e.message})", hint=e.hint, code=e.code
        ) from e
    except ClusterError as e:
        raise ClusterError(f"the {role} cluster does not let us in: {e.message}", hint=e.hint, code=e.code) from e


async def _ask(access: Access, timeout: float) -> None:
    connection = await connect_any(access, timeout=timeout)
    try:
        await rpc.metadata(connection, [])
    except ConnectionLost as e:
        # ApiVersions alone is answered to everybody.
        raise ConnectionLost(
            f"{connection.name} closed the connection at the first question",
            'Its listener may be for SASL: check the port, and "security.protocol".',
        ) from e
    finally:
        connection.close()


def _check_accepts(bootstrap: str, role: str, timeout: float) -> None:
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
