"""ConsumerOffsetSync as a task: what it remembers, and how the last round of a mirror stands against the others."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from kmirror.admin import groups as admin_groups
from kmirror.errors import Unreachable
from kmirror.model.group_offsets import Committed
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.state.group_offsets import read_groups
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles
from kmirror.tasks.offset_sync import ConsumerOffsetSync
from kmirror.tasks.task import TaskEnv, TaskRun
from support.group_cluster import GroupCluster
from support.recorded import a_link, a_mirror, store

FILTERS = {"groupFilters": [{"name": "*", "patternType": "LITERAL", "filterType": "INCLUDE"}]}
CONFIGS = {"consumer.offset.sync.enable": "true", "consumer.offset.group.filters": json.dumps(FILTERS)}
TOPICS = ("orders", "users")


class Env(TaskEnv):
    """The clusters are made up."""

    def __init__(self, links: LinkStore, files: RunFiles, name: str) -> None:
        super().__init__(links, files, name)
        self.source = GroupCluster()
        self.destination = GroupCluster({(topic, 0): 100 for topic in TOPICS})

    def admin(self, bootstrap: str, side: str) -> GroupCluster:
        return self.source if side == "source" else self.destination


def mirror(topic: str) -> Mirror:
    return replace(a_mirror(topic), source_topic=topic, destination_topic_id=f"id-of-{topic}")


@pytest.fixture
def link() -> Link:
    found = a_link("east-west", *(mirror(topic) for topic in TOPICS))
    return replace(found, configs={**found.configs, **CONFIGS})


@pytest.fixture
def env(tmp_path: Path, link: Link, monkeypatch: pytest.MonkeyPatch) -> Env:
    monkeypatch.setattr(admin_groups, "GroupAdmin", lambda cluster: cluster)
    home = Home(tmp_path, tmp_path / "run")
    return Env(store(home, link), RunFiles(home, link.name), link.name)


def a_run(env: Env, link: Link) -> TaskRun:
    return TaskRun(ConsumerOffsetSync.name, link, env)


def sync(task: ConsumerOffsetSync, env: Env, link: Link) -> TaskRun:
    run = a_run(env, link)
    task.run(run)
    return run


def test_it_is_configured_by_both_its_keys(link: Link) -> None:
    task = ConsumerOffsetSync()
    assert task.period_s(CONFIGS) == 30
    assert task.period_s({**CONFIGS, "consumer.offset.sync.ms": "1000"}) == 1
    assert task.period_s({**CONFIGS, "consumer.offset.sync.enable": "false"}) is None
    assert task.period_s({"consumer.offset.sync.enable": "true"}) is None


def test_a_run_commits_and_tells_what_it_did(env: Env, link: Link) -> None:
    env.source.put("app", ("orders", 0), 10)
    run = sync(ConsumerOffsetSync(), env, link)
    assert env.destination.at("app", ("orders", 0)) == 10
    assert (run.changes, run.counts) == (1, {"groups": 1, "commits": 1, "groups_in_use": 0})
    assert read_groups(env.files).offsets["app"]["orders", 0].offset == 10


def test_a_new_process_knows_that_a_group_was_moved_at_the_destination(env: Env, link: Link) -> None:
    env.source.put("app", ("orders", 0), 10)
    sync(ConsumerOffsetSync(), env, link)
    env.destination.put("app", ("orders", 0), 40)
    task = ConsumerOffsetSync()
    sync(task, env, link)
    assert env.destination.at("app", ("orders", 0)) == 40
    (env.files.directory / "groups.json").unlink()
    sync(ConsumerOffsetSync(), env, link)  # nothing is known of it: the source is right
    assert env.destination.at("app", ("orders", 0)) == 10


def test_groups_get_the_prefix_of_the_link(env: Env, link: Link) -> None:
    prefix = {"cluster.link.prefix": "e.", "consumer.group.prefix.enable": "true"}
    env.source.put("app", ("orders", 0), 10)
    sync(ConsumerOffsetSync(), env, replace(link, configs={**link.configs, **prefix}))
    assert set(env.destination.offsets) == {"e.app"}


def test_after_its_last_round_a_mirror_belongs_to_the_destination(env: Env, link: Link) -> None:
    task = ConsumerOffsetSync()
    env.source.put("app", ("orders", 0), 10)
    env.source.put("app", ("users", 0), 10)
    run = a_run(env, link)
    task.last_run(run, "orders")
    assert (run.errors, env.destination.at("app", ("orders", 0))) == ([], 10)
    assert env.destination.at("app", ("users", 0)) is None  # that is not its business
    env.source.put("app", ("orders", 0), 20)
    env.source.put("app", ("users", 0), 20)
    sync(task, env, link)  # as one that began before the mirror was STOPPED
    assert env.destination.at("app", ("orders", 0)) == 10
    assert env.destination.at("app", ("users", 0)) == 20


def test_a_last_round_that_is_refused_is_told_and_not_the_last(env: Env, link: Link) -> None:
    task = ConsumerOffsetSync()
    env.source.put("app", ("orders", 0), 10)
    env.source.denied = {"app"}
    run = a_run(env, link)
    task.last_run(run, "orders")
    assert [error.error_code for error in run.errors] == ["AUTHORIZATION_ERROR"]
    env.source.denied = set()
    run = a_run(env, link)
    task.last_run(run, "orders")
    assert (run.errors, env.destination.at("app", ("orders", 0))) == ([], 10)


def test_a_group_in_use_does_not_hold_up_a_promote(env: Env, link: Link) -> None:
    env.source.put("app", ("orders", 0), 10)
    env.destination.members = {"app"}
    run = a_run(env, link)
    ConsumerOffsetSync().last_run(run, "orders")
    assert (run.errors, env.destination.commits) == ([], 0)


def test_mirrors_that_end_together_have_their_last_round_together(env: Env, link: Link) -> None:
    task = ConsumerOffsetSync()
    many = a_link("east-west", *(mirror(f"t{n}") for n in range(8)))
    link = replace(many, configs={**many.configs, **CONFIGS})
    env.destination.ends.update({(f"t{n}", 0): 100 for n in range(8)})
    for n in range(8):
        env.source.put("app", (f"t{n}", 0), 10)
    env.source.gate = threading.Event()  # the first round hangs at the source until all the others wait
    threads = [threading.Thread(target=task.last_run, args=(a_run(env, link), f"t{n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    while env.source.looks == 0 or len(task._waiting) + env.source.looks < 8:
        threading.Event().wait(0.01)
    env.source.gate.set()
    for thread in threads:
        thread.join(20)
    assert env.source.looks <= 2
    assert set(env.destination.offsets["app"]) == {(f"t{n}", 0) for n in range(8)}


def test_a_failover_takes_what_was_last_seen_and_asks_no_source(env: Env, link: Link) -> None:
    task = ConsumerOffsetSync()
    env.source.put("app", ("orders", 0), 150, "note")
    sync(task, env, link)
    assert env.destination.at("app", ("orders", 0)) == 100
    env.destination.ends["orders", 0] = 130
    env.source.error = Unreachable("gone")
    with pytest.raises(Unreachable):
        sync(task, env, link)
    task.failed_over(a_run(env, link), "orders")
    assert env.destination.offsets["app"]["orders", 0] == Committed(130, "note")
