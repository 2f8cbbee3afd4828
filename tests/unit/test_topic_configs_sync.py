"""Which mirrors' configs are asked for: of many, those alone whose source has other configs than before."""

import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from kmirror.admin.cluster import Origin, TopicConfig
from kmirror.admin.mirror_configs import FIXED
from kmirror.errors import ClusterError
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.tasks import topic_configs_sync as module
from kmirror.tasks.topic_configs_sync import TopicConfigsSync
from kmirror.wire.topic_id import topic_id_text

TOPIC_ID = topic_id_text(bytes(range(16)))


class Clusters:
    """Both, and the run of a task: topics `t0` to `tN` here, `s0` to `sN` there."""

    def __init__(self, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        configs = {"retention.ms": "1", "max.message.bytes": "1048588", "min.insync.replicas": "1"}
        self.source = {f"s{n}": dict(configs) for n in range(count)}
        self.present = {f"t{n}": {**FIXED, **configs} for n in range(count)}
        self.asked: list[str] = []
        self.refuses: str | None = None
        self.failed: list[Exception] = []
        self.problems: list[str] = []
        self.task = TopicConfigsSync()
        mirrors = {
            f"t{n}": Mirror(
                f"t{n}", f"s{n}", TOPIC_ID, TOPIC_ID, 1, MirrorState.ACTIVE, 1, held_back=dict.fromkeys(FIXED, "")
            )
            for n in range(count)
        }
        self.link = SimpleNamespace(name="l", mirrors=mirrors, configs={})
        monkeypatch.setattr(module, "_configs", self._configs)

    def _configs(self, _: Any, side: Any, topics: Iterable[str]) -> dict[str, dict[str, TopicConfig]]:
        held = self.source if side == "source" else self.present
        if side != "source":
            self.asked += topics
        return {t: {k: TopicConfig(v, Origin.TOPIC) for k, v in held[t].items()} for t in topics if t in held}

    def alter_topic(self, topic: str, changes: dict[str, str]) -> None:
        if topic == self.refuses:
            raise ClusterError("not now")
        self.present[topic] |= changes

    def topic(self, _: str) -> Any:
        return SimpleNamespace(replication_factor=1)

    def run(self) -> list[str]:
        """Of which mirrors the configs were asked."""
        self.asked = []
        run = SimpleNamespace(
            link=self.link,
            source="source",
            destination=self,
            env=SimpleNamespace(topics=threading.Lock()),
            recorded=lambda: self.link,
            stopping=False,
            counts={},
            failed=self.failed.append,
            problem=lambda code, message: self.problems.append(code),
            changed=lambda *_: None,
        )
        self.task.run(run)  # type: ignore[arg-type]
        return sorted(self.asked)


def test_of_few_mirrors_all_are_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clusters = Clusters(3, monkeypatch)
    for _ in range(3):
        assert clusters.run() == ["t0", "t1", "t2"]


def test_of_many_those_whose_source_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    clusters = Clusters(101, monkeypatch)
    assert len(clusters.run()) == 101
    assert clusters.run() == []
    clusters.source["s7"]["retention.ms"] = "2"
    assert clusters.run() == ["t7"]
    assert clusters.present["t7"]["retention.ms"] == "2"
    clusters.present["t8"]["retention.ms"] = "3"
    assert clusters.run() == []
    assert len(clusters.run()) == 101, "every fourth time"
    assert clusters.present["t8"]["retention.ms"] == "1", "what somebody else has set"


def test_what_could_not_be_done_is_done_in_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clusters = Clusters(101, monkeypatch)
    clusters.run()
    clusters.source["s7"]["retention.ms"] = "2"
    clusters.source["s8"]["min.insync.replicas"] = "2"
    clusters.refuses = "t7"
    for _ in range(2):
        assert clusters.run() == ["t7", "t8"]
    assert (len(clusters.failed), clusters.problems) == (2, ["MISCONFIGURATION_ERROR"] * 2)
    clusters.refuses = None
    clusters.source["s8"]["min.insync.replicas"] = "1"
    clusters.run()
    assert clusters.present["t7"]["retention.ms"] == "2"
