"""The HTTP side of a runner, asked over a real socket."""

import http.client
import logging
import socket
import subprocess
import sys

import pytest

from kmirror.engine.counters import RunCounters
from kmirror.errors import StateError
from kmirror.model.listen import parse_listen
from kmirror.model.status import LinkState, LinkStatus
from kmirror.process.metrics_server import MetricsServer
from kmirror.process.sights import Readings
from support.wait import eventually


class Fake:
    """The sights of a runner that has nothing to tell; `alive` and `ready` are what is wrong."""

    def __init__(self):
        self.alive, self.ready = [], []

    def readings(self):
        return Readings(LinkStatus("l", 1, 0, 0, LinkState.ACTIVE), RunCounters(), frozenset(), 0, 1)

    def not_alive(self):
        return self.alive

    def not_ready(self):
        return self.ready


@pytest.fixture
def server():
    made = MetricsServer("127.0.0.1:0", Fake())
    yield made
    made.close()


def get(server, path, accept=""):
    client = http.client.HTTPConnection(server.address, timeout=10)
    client.request("GET", path, headers={"Accept": accept} if accept else {})
    answer = client.getresponse()
    body = answer.read().decode()
    client.close()
    return answer.status, answer.headers["Content-Type"], body


def test_metrics_in_the_format_that_is_asked_for(server):
    status, kind, body = get(server, "/metrics", "application/openmetrics-text; version=1.0.0")
    assert (status, kind.split(";")[0]) == (200, "application/openmetrics-text")
    assert body.endswith("# EOF\n")
    status, kind, body = get(server, "/metrics/?x=y")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert 'kmirror_link_state{link="l",state="ACTIVE"} 1.0' in body
    assert get(server, "/metrics/per-partition")[0] == 200


def test_health(server):
    fake = server.sights
    assert get(server, "/livez")[::2] == (200, "ok\n")
    assert get(server, "/readyz")[::2] == (200, "ok\n")
    fake.ready = ["source cluster: no answer", "not held"]
    assert get(server, "/readyz")[::2] == (503, "source cluster: no answer\nnot held\n")
    assert get(server, "/livez")[0] == 200
    fake.alive = ["stuck"]
    assert get(server, "/livez")[::2] == (503, "stuck\n")


def test_other_paths_and_words(server):
    assert get(server, "/")[0] == 200
    assert get(server, "/nothing")[0] == 404
    host, port = server.server_address[:2]
    with socket.create_connection((host, port), 10) as client:
        client.sendall(b"POST /metrics HTTP/1.0\r\n\r\n")
        assert b"501" in client.makefile("rb").readline()


def test_silent_clients_keep_nobody_out(server):
    """Those that say nothing take places; when all are taken others are sent away, and get in later."""
    held = [socket.create_connection(server.server_address[:2], 10) for _ in range(5)]
    assert get(server, "/livez")[0] == 200
    held += [socket.create_connection(server.server_address[:2], 10) for _ in range(11)]
    eventually(lambda: sent_away(server), 10, "the seventeenth is sent away")
    for client in held:
        client.close()
    eventually(lambda: not sent_away(server), 10, "there is room again")


def sent_away(server):
    try:
        return get(server, "/livez")[0] != 200
    except (ConnectionError, http.client.HTTPException):
        return True


def test_a_fault_is_logged_and_the_next_one_is_answered(server, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("kmirror"), "propagate", True)
    server.sights.readings = lambda: 1 // 0
    with pytest.raises(http.client.HTTPException):
        get(server, "/metrics")
    del server.sights.readings
    assert get(server, "/metrics")[0] == 200
    assert "ZeroDivisionError" in caplog.text


def test_a_taken_port_is_told(server):
    with pytest.raises(StateError, match=r"cannot listen at 127\.0\.0\.1:.* for metrics: Address already in use"):
        MetricsServer(server.address, server.sights)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9404", ("127.0.0.1", 9404)),
        (":9404", ("127.0.0.1", 9404)),
        ("0.0.0.0:9404", ("0.0.0.0", 9404)),
        ("host.example:0", ("host.example", 0)),
        ("[::1]:9404", ("::1", 9404)),
    ],
)
def test_addresses(text, expected):
    assert parse_listen(text) == expected


@pytest.mark.parametrize("text", ["", "host", "host:", "1:2:3", "::1:9404", "h:70000", "h:-1", "9404:", "h:٣"])
def test_wrong_addresses(text):
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        parse_listen(text)


def test_a_runner_that_is_not_asked_loads_nothing_of_it():
    code = "import sys, kmirror.process.runner; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
