"""Bootstrap servers: `host:port[,host:port...]`, with IPv6 hosts in brackets."""

import re
from typing import Final

_SERVER: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


def parse_bootstrap(text: str) -> tuple[tuple[str, int], ...]:
    """(host, port) of each server; raises ValueError that names the server which is wrong, and why."""
    servers = []
    for item in text.split(","):
        server = item.strip()
        found = _SERVER.fullmatch(server)
        if not found:
            raise ValueError(f'"{server}" is not host:port')
        port = int(found["port"])
        if not 0 < port < 65536:
            raise ValueError(f'"{server}" has no valid port')
        servers.append((found["v6"] or found["host"], port))
    return tuple(servers)
