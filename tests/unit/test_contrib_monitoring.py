"""The alert rules and the dashboard: every expression parses, and speaks of metrics and labels that a scrape has."""

import json
import re
from collections.abc import Iterator

import promql_parser as promql
import pytest
import yaml

from kmirror.model.states import MirrorState
from kmirror.model.status import LinkState
from kmirror.model.tasks import TaskState
from support.metrics import labels_told
from support.pages import ROOT

RULES = yaml.safe_load((ROOT / "contrib" / "prometheus" / "kmirror.rules.yml").read_text("utf-8"))
DASHBOARD = json.loads((ROOT / "contrib" / "grafana" / "kmirror.json").read_text("utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
TARGETS = [(panel["title"], t) for panel in DASHBOARD["panels"] for t in panel["targets"]]

OF_PROMETHEUS = {"job", "instance"}
LABELS = {"up": set(), **labels_told()}
STATES = {
    "kmirror_mirror_state": set(MirrorState),
    "kmirror_link_mirrors": set(MirrorState),
    "kmirror_link_state": set(LinkState),
    "kmirror_task_state": set(TaskState),
}


def selectors(expression: str) -> list[promql.VectorSelector]:
    """Raises ValueError where it is no PromQL."""
    shown = expression.replace("$__rate_interval", "5m")
    return list(_selectors(promql.parse(re.sub(r"\$(link|topic)", ".*", shown))))


def _selectors(node: object) -> Iterator[promql.VectorSelector]:
    if isinstance(node, promql.VectorSelector):
        yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        if getattr(node, name, None) is not None:
            yield from _selectors(getattr(node, name))
    for argument in getattr(node, "args", ()):
        yield from _selectors(argument)


def check(expression: str) -> set[str]:
    """The labels that the metrics of an expression have."""
    found = selectors(expression)
    assert found
    for selector in found:
        assert selector.name in LABELS, f"no runner tells {selector.name}"
        for matcher in selector.matchers.matchers:
            assert matcher.name in LABELS[selector.name] | OF_PROMETHEUS, f"{selector.name} has no {matcher.name}"
            if matcher.name == "state":
                assert set(matcher.value.split("|")) <= STATES[selector.name]
    return set.union(*(LABELS[s.name] for s in found)) | OF_PROMETHEUS


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_alerts(rule):
    labels = check(rule["expr"])
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert promql.parse_duration(rule.get("for", "1s")) is not None
    assert rule["labels"]["severity"] in {"critical", "warning"}
    texts = rule["annotations"]
    assert texts.keys() == {"summary", "description"}
    for text in texts.values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels
        assert text.count("{{") == text.count("}}")


def test_what_is_to_be_alerted():
    """Lag, failure, stale status, task errors, a runner that is down; no name twice."""
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)
    told = " ".join(rule["expr"] for rule in ALERTS)
    for metric in (
        "up",
        "mirror_state",
        "lag_seconds",
        "status_timestamp",
        "task_state",
        "source_seen",
        "lost_offsets",
    ):
        assert metric in told


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{t}-{x['refId']}" for t, x in TARGETS])
def test_panels(title, target):
    labels = check(target["expr"])
    assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_the_dashboard_is_whole():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {v["name"]: v for v in DASHBOARD["templating"]["list"]}
    assert variables.keys() == {"datasource", "link", "topic"}
    for name in ("link", "topic"):
        inner = re.fullmatch(r"label_values\((.*), (\w+)\)", variables[name]["query"]["query"])
        assert inner
        assert inner[2] in check(inner[1])
    covered = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & covered, f"{panel['title']} lies on another panel"
        assert max(x for x, _ in cells) < 24
        covered |= cells


@pytest.mark.parametrize("wrong", ["sum(", "kmirror_mirror_lag > 0", 'kmirror_mirror_state{state="BROKEN"} == 1'])
def test_the_check_finds_what_is_wrong(wrong):
    with pytest.raises((AssertionError, ValueError)):
        check(wrong)
