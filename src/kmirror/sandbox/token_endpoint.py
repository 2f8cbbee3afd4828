"""An OAuth 2.0 token endpoint on the loopback address: it gives tokens for a client id and secret (RFC 6749, 4.4).

Its tokens have no signature, as Kafka's own validator for development takes them.
"""

import base64
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from kmirror.sandbox.ports import HOST


class TokenEndpoint:
    """Runs from `with` to its end. `clients` are secrets by id; a token lives `life_s`. `given` counts them."""

    def __init__(self, clients: Mapping[str, str], *, life_s: float = 3600) -> None:
        self.clients = dict(clients)
        self.life_s = life_s
        self.given = 0
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="tokens", daemon=True)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_port}/token"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, authorization: str) -> dict[str, Any] | None:
        """A token for who says this in the header of that name; None where it is not known."""
        client, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if not secret or self.clients.get(client) != secret:
            return None
        self.given += 1
        now = time.time()
        claims = {"sub": client, "iat": now, "exp": now + self.life_s}
        token = ".".join([_part({"alg": "none"}), _part(claims), ""])
        return {"access_token": token, "token_type": "Bearer", "expires_in": self.life_s}


def _part(document: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def _handler(endpoint: TokenEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = endpoint.answer(self.headers.get("Authorization", ""))
            body = json.dumps(found or {"error": "invalid_client"}).encode()
            self.send_response(200 if found else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Says nothing: tests and the terminal have enough to read."""

    return Handler
