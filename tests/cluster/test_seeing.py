"""How a running link is seen: metrics, health, logs, live views and lag in time, on real clusters."""

import http.client
import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from support.mirrors import TestLink
from support.traffic import Record, create_topic, produce
from support.transactions import transaction
from support.wait import eventually

LINK = "east-west"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def link(kmirror, east, west) -> TestLink:
    return TestLink(kmirror, east, west).create("metrics.address=0")


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
