"""Where a runner listens: `HOST:PORT`, a port alone, or `:PORT`; without a host nobody but this machine reaches it."""

from typing import Final

LOOPBACK: Final = "127.0.0.1"


def parse_listen(text: str) -> tuple[str, int]:
    """(host, port) of `9404`, `:9404`, `0.0.0.0:9404` or `[::1]:9404`; port 0: any that is free. Raises ValueError."""
    host, colon, port = text.strip().rpartition(":")
    if colon and ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError('is not HOST:PORT: an IPv6 address stands in brackets, "[::1]:9404"')
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError("is not HOST:PORT, nor a port alone")
    return host.removeprefix("[").removesuffix("]") or LOOPBACK, int(port)
