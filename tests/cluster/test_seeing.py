"""How a running link is seen: metrics, health, logs, live views and lag in time, on real clusters."""

import http.client
import json
import re
import signal
import sys
import time
import uuid

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from support import tmux
from support.mirrors import TestLink
from support.terminal import Terminal
from support.tmux import Tmux
from support.traffic import ANY_TIMESTAMP, DAY_MS, Record, Traffic, create_topic, produce
from support.transactions import Transactions, transaction
from support.wait import eventually

LINK = "east-west"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
TRICKLE = 50
"""Records a second."""


@pytest.fixture(scope="module")
def link(module_home, east, west) -> TestLink:
    """One link for the module: its mirrors don't disturb each other."""
    return TestLink(module_home, east, west).create("metrics.address=0")


@pytest.fixture
def topic_name() -> str:
    """Short: it has to fit into 80 columns."""
    return f"t-{uuid.uuid4().hex[:8]}"


def fill(link: TestLink, topic: str, count: int) -> None:
    produce(link.source.bootstrap_servers, topic, (Record(b"key", b"%d" % n) for n in range(count)))


def address(link: TestLink) -> str:
    """Where the runner that runs now tells its metrics."""
    log = (link.kmirror.runtime(LINK) / "kmirror.log").read_text()
    return re.findall(r"http://([0-9.:]+)/", log)[-1]


def get(link: TestLink, path: str) -> tuple[int, str]:
    client = http.client.HTTPConnection(address(link), timeout=10)
    client.request("GET", path, headers={"Accept": OPENMETRICS})
    answer = client.getresponse()
    body = answer.read().decode()
    client.close()
    return answer.status, body


def scraped(link: TestLink, path: str = "/metrics") -> dict[tuple[str, ...], float]:
    """{(name without "kmirror_", values of the labels without the link): value}."""
    found = {}
    for family in text_string_to_metric_families(get(link, path)[1]):
        for sample in family.samples:
            labels = [value for name, value in sorted(sample.labels.items()) if name != "link"]
            found[sample.name.removeprefix("kmirror_"), *labels] = sample.value
    return found


def test_a_scrape_tells_what_was_copied(link, topic_name):
    """Records, batches, markers in place of what nobody sees, and the lag; counted on, never anew, until the end."""
    create_topic(link.source.bootstrap_servers, topic_name)
    fill(link, topic_name, 50)
    transaction(link.source.bootstrap_servers, topic_name, [Record(b"k", b"aborted")] * 10, commit=False)
    link.mirror(topic_name)
    link.await_caught_up(topic_name)

    found = eventually(lambda: (s := scraped(link)).get(("mirror_lag_records", topic_name)) == 0 and s, 20, link.log)
    assert found["mirror_records_total", topic_name] == 50
    assert found["mirror_filled_offsets_total", topic_name] == 11
    assert 1 <= found["mirror_batches_total", topic_name] <= 50
    assert found["mirror_bytes_total", topic_name] > 50
    assert found["mirror_lag_seconds", topic_name] == 0
    assert found["mirror_state", "ACTIVE", topic_name] == 1
    assert found["link_state", "ACTIVE"] == found["cluster_reachable", "source"] == 1
    assert scraped(link, "/metrics/per-partition")["mirror_partition_log_end_offset", "0", topic_name] == 61
    assert get(link, "/livez") == get(link, "/readyz") == (200, "ok\n")

    link.kmirror.run("mirror", "pause", topic_name, "--link", LINK)
    eventually(lambda: scraped(link)["mirror_state", "PAUSED", topic_name] == 1, 20)
    fill(link, topic_name, 5)
    link.kmirror.run("mirror", "resume", topic_name, "--link", LINK)
    eventually(lambda: scraped(link)["mirror_records_total", topic_name] == 55, 20, link.log)
    assert scraped(link)["mirror_reopenings_total", topic_name] >= 1


def test_a_trickle_alarms_nobody(link: TestLink, topic_name: str) -> None:
    """A link that is well, for long enough that silence would tell: no connection is given up or opened anew, no
    partition either, and nothing is warned of.
    """
    dense, gaps, idle = topics = [f"{topic_name}-{kind}" for kind in ("dense", "gaps", "idle")]
    for topic, partitions in zip(topics, (1, 2, 2), strict=True):
        create_topic(link.source.bootstrap_servers, topic, partitions)
        link.mirror(topic)
    fill(link, idle, 10)
    writer = Transactions(link.source.bootstrap_servers, gaps)

    def step(number: int) -> None:
        """A transaction, and two seconds of the trickle, both copied."""
        writer.begin()
        writer.write(gaps, b"v", partition=number % 2)
        writer.end(commit=number % 4 < 2)
        link.await_beyond(dense, {0: link.mirror_ends(dense)[0] + 2 * TRICKLE})
        link.await_caught_up(gaps)

    def alarms() -> tuple[dict[tuple[str, ...], float], list[str]]:
        kinds = ("connections_", "mirror_reopenings", "mirror_refusals", "mirror_retries")
        counted = {key: value for key, value in scraped(link).items() if key[0].startswith(kinds)}
        log = (link.kmirror.runtime(LINK) / "kmirror.log").read_text()
        return counted, re.findall(r"^\S+ (?:warning|error) .*", log, re.MULTILINE)

    with Traffic(link.source.bootstrap_servers, dense, rate=TRICKLE):
        for number in range(2):  # a marker to each partition: all is opened that is needed
            step(number)
        link.await_caught_up(idle)
        before = alarms()
        for number in range(8):
            step(number)
        assert alarms() == before


# --- the live views, in a real terminal


@pytest.fixture
def watched(link, topic_name) -> str:
    """A mirror that has something to show."""
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    fill(link, topic_name, 1_234)
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    return topic_name


def terminal(link: TestLink, columns: int, lines: int, *words: str, prefix: tuple[str, ...] = ()) -> Terminal:
    command = [*prefix, sys.executable, "-m", "kmirror", *words]
    return Terminal(command, columns, lines, link.kmirror.environment)


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50)])
def test_status_is_watched_in_a_terminal(link, watched, columns, lines):
    """Redrawn in place, in colour, every number whole; Ctrl-C leaves the last picture and a cursor."""
    shown = re.compile(rf"^{watched} +ACTIVE +2 +0 +0 s +[\d,.]+/s +[▁-█]+ +[▁-█]+$", re.MULTILINE)
    with terminal(link, columns, lines, "status", "--watch") as seen:
        text = seen.wait_for(shown.search)
        assert re.search(rf"^{LINK}  ACTIVE  \d", text, re.MULTILINE)
        seen.wait_for(re.compile(r"^Tasks: .*PartitionGrowth", re.MULTILINE).search)  # tasks begin a moment later
        link.kmirror.run("mirror", "pause", watched, "--link", LINK)
        text = seen.wait_for(lambda screen: re.search(rf"^{watched} +PAUSED ", screen, re.MULTILINE))
        assert text.count(watched) == 1  # in place: nothing of the last picture is left
        assert b"\x1b[32m" in seen.written  # ACTIVE was green
        assert seen.interrupt() == 0
        assert watched in seen.text
        assert not seen.screen.cursor.hidden


@pytest.mark.skipif(not tmux.INSTALLED, reason="tmux is not installed; the test above needs nothing")
@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50)])
def test_status_is_watched_in_tmux(link, watched, tmp_path, columns, lines):
    """No line is wrapped or cut where people have it: each picture stands where the last one stood."""
    shown = re.compile(rf"^{watched} +ACTIVE +2 +0 +0 s +[\d,.]+/s +[▁-█]+ +[▁-█]+$", re.MULTILINE)
    command = [sys.executable, "-m", "kmirror", "status", "--watch"]
    with Tmux(tmp_path, command, columns, lines, link.kmirror.environment) as seen:
        text = seen.wait_for(shown.search)
        assert re.search(rf"^{LINK}  ACTIVE  \d", text, re.MULTILINE)
        seen.wait_for(re.compile(r"^Tasks: .*PartitionGrowth", re.MULTILINE).search)  # tasks begin a moment later
        link.kmirror.run("mirror", "pause", watched, "--link", LINK)
        text = seen.wait_for(re.compile(rf"^{watched} +PAUSED ", re.MULTILINE).search)
        assert text.count(watched) == 1
        assert seen.interrupt() == 0
        assert watched in seen.text


@pytest.mark.parametrize("prefix", [(), ("env", "NO_COLOR=1")], ids=["colour", "no-colour"])
def test_a_mirror_is_watched(link, watched, prefix):
    with terminal(link, 80, 24, "mirror", "describe", watched, "--link", LINK, "--watch", prefix=prefix) as seen:
        seen.wait_for(re.compile(r"^ +1 +COPYING +[\d,]+ +[\d,]+ +0 +0 s", re.MULTILINE).search)
        assert bool(re.search(rb"\x1b\[[\d;]*3\dm", seen.written)) == (not prefix)
        assert seen.interrupt() == 0


def test_without_a_terminal_there_are_lines(link, watched):
    process = link.kmirror.start("status", "--watch")
    log = link.kmirror.home.with_name(f"{link.kmirror.home.name}-foreground-0.log")
    eventually(lambda: f"{watched}: ACTIVE, lag 0 records" in log.read_text(), 20, log.read_text)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert "\x1b" not in log.read_text()


# --- lag in time


def test_timestamps_of_any_year_and_an_idle_topic(link, topic_name):
    """Caught up is in time whatever the timestamps say; a source that is not seen is not."""
    source = link.source.bootstrap_servers
    create_topic(source, topic_name, config=ANY_TIMESTAMP)
    stamps = (1, 1_000_000_000_000, int(time.time() * 1000) + DAY_MS)
    produce(source, topic_name, (Record(b"k", b"v", timestamp_ms=stamp) for stamp in stamps))
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    within = ("mirror", "describe", topic_name, "--link", LINK, "--max-lag")
    eventually(lambda: link.kmirror.run(*within, "15s", check=False).returncode == 0, 20, link.log)
    paused = link.kmirror.run("status", "--max-lag", "15s", check=False)  # of other tests
    assert topic_name not in paused.stderr
    link.kmirror.run("mirror", "list", "--mirror-status", "active", "--max-lag", "15s")

    link.kmirror.run("mirror", "pause", topic_name, "--link", LINK)
    assert "it is PAUSED, the source has not been seen for" in link.kmirror.fails(*within, "1ms", code=4)
    link.kmirror.run("mirror", "resume", topic_name, "--link", LINK)
    link.stop()
    for stamp in stamps:
        produce(source, topic_name, [Record(b"k", b"later", timestamp_ms=stamp)])
    assert "no runner copies" in link.kmirror.fails(*within, "1ms", code=4)
    link.start()
    link.assert_exact(topic_name, at_least=6)
    row = link.await_shown(topic_name, lambda rows: rows[0]["partition_mirror_lag"] == 0, "is caught up")[0]
    assert row["partition_mirror_lag_ms"] == 0


# --- logs


def test_a_log_for_machines(link, topic_name):
    if link.kmirror.runner_pid(LINK):
        link.stop()
    link.kmirror.run("link", "start", LINK, "--log-format", "json")
    create_topic(link.source.bootstrap_servers, topic_name)
    link.mirror(topic_name)

    def told() -> list[dict[str, object]]:
        lines = link.kmirror.run("link", "logs", LINK).stdout.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    copied = eventually(lambda: [e for e in told() if e.get("topic") == topic_name], 20)[0]
    assert {**copied, "time": None} == {
        "time": None,
        "level": "info",
        "event": "mirror is copied",
        "logger": "kmirror.engine.link",
        "link": LINK,
        "topic": topic_name,
    }
    assert "goes on as it was started" in link.kmirror.run("link", "start", LINK, "--log-format", "text").stderr
