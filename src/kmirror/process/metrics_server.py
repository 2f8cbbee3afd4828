"""The HTTP side of a runner: `/metrics`, `/metrics/per-partition`, `/livez` and `/readyz`.

It answers from threads of its own, so that a scrape never holds the copy up, and so that `/livez` can tell when the
event loop is stuck.
"""

import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final, cast

from kmirror.errors import StateError
from kmirror.log import events
from kmirror.model.listen import parse_listen
from kmirror.process.metrics import exposition
from kmirror.process.sights import Sights

log = events(__name__)

_CLIENT_S: Final = 10.0
_AT_ONCE: Final = 16
_TEXT: Final = "text/plain; charset=utf-8"
_INDEX: Final = "kmirror\n\n/metrics\n/metrics/per-partition\n/livez\n/readyz\n"


class _Handler(BaseHTTPRequestHandler):
    server_version = "kmirror"
    sys_version = ""
    timeout = _CLIENT_S

    def do_GET(self) -> None:  # the name that http.server calls
        path = self.path.partition("?")[0].rstrip("/")
        sights = cast("MetricsServer", self.server).sights
        if path in {"/metrics", "/metrics/per-partition"}:
            per_partition = path != "/metrics"
            body, content_type = exposition(
                sights.readings(), self.headers.get("Accept", ""), per_partition=per_partition
            )
            self._answer(HTTPStatus.OK, body, content_type)
        elif path in {"/livez", "/readyz"}:
            wrong = sights.not_alive() if path == "/livez" else sights.not_ready()
            status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
            self._answer(status, ("\n".join(wrong or ["ok"]) + "\n").encode())
        elif path == "":
            self._answer(HTTPStatus.OK, _INDEX.encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, _INDEX.encode())

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = _TEXT) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name that http.server uses
        log.debug("metrics", client=self.address_string(), request=format % args)


class MetricsServer(ThreadingMixIn, TCPServer):
    """Listens from the moment it is made; `address` says where. Raises StateError where it can't."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, listen: str, sights: Sights) -> None:
        host, port = parse_listen(listen)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sights = sights
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        try:
            super().__init__((host, port), _Handler)
        except OSError as e:
            raise StateError(
                f"cannot listen at {listen} for metrics: {e.strerror or e}",
                hint="Choose another address with --metrics-addr, or the link's metrics.address.",
            ) from e
        self._thread = threading.Thread(target=self.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        host, port = self.server_address[:2]
        shown = f"[{host!s}]" if self.address_family is socket.AF_INET6 else str(host)
        return f"{shown}:{port}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    # Of many clients at once, those above the limit are sent away: they may not take the copy's time.

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):  # a client may go away when it likes
            log.exception("metrics: a client could not be answered", client=str(client_address[0]))  # noqa: LOG004  # called in a handler
