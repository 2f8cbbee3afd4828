"""Why a mirror does not get to the state that it is on its way to: each reason once, and none where there is none."""

import json
import time
from dataclasses import replace

import pytest

from kmirror.cli.app import main
from kmirror.model.mirror import MirrorError, StopRequest
from kmirror.model.states import Event, MirrorState
from kmirror.model.status import LinkState, LinkStatus, MirrorStatus, PartitionState, PartitionStatus, Trouble
from kmirror.ops.seen import Seen
from kmirror.ops.transition_errors import reasons
from kmirror.state.lock import Runner
from kmirror.state.paths import home
from support.recorded import a_link, a_mirror, store

NOW = time.time_ns() // 1_000_000
PENDING = MirrorState.PENDING_STOPPED


def promoted(**changes):
    stop = StopRequest(Event.PROMOTE, (10, 20))
    return replace(a_mirror("orders", PENDING), partitions=2, stop=stop, **changes)


def part(number, log_end, **changes):
    return PartitionStatus(number, PartitionState.COPYING, log_end, 30, **changes)


def seen(mirror, *parts, runner=True, age_ms=0, configs=None, link_trouble=None, trouble=None):
    link = replace(a_link("east-west", mirror), **({"configs": configs} if configs else {}))
    mirrors = {mirror.topic: MirrorStatus(mirror.topic, mirror.state, parts, trouble=trouble)}
    status = LinkStatus("east-west", 7, 0, NOW - age_ms, LinkState.ACTIVE, trouble=link_trouble, mirrors=mirrors)
    return Seen(link, Runner(7, 0) if runner else None, status, NOW)


def told(mirror, *parts, **options):
    return [(e.error_code, e.error_message) for e in reasons(seen(mirror, *parts, **options), mirror)]


def test_nothing_holds_up_what_is_at_its_targets():
    assert told(promoted(), part(0, 10), part(1, 25)) == []


@pytest.mark.parametrize("state", [MirrorState.ACTIVE, MirrorState.PAUSED, MirrorState.STOPPED])
def test_what_is_not_on_its_way_is_not_held_up(state):
    mirror = a_mirror("orders", state)
    assert told(mirror, part(0, 1, trouble=Trouble("away", 0, "TIMEOUT_ERROR")), runner=False) == []


def test_without_a_runner_nothing_gets_on():
    ((code, message),) = told(promoted(), part(0, 1), runner=False)
    assert code == "LINK_COORDINATOR_NOT_ENABLED_ERROR"
    assert "kmirror link start east-west" in message
    ((code, message),) = told(promoted(), part(0, 1), age_ms=6000)
    assert "does not answer" in message


def test_each_partition_tells_how_far_it_has_to_go():
    away = Trouble("no leader", 0, "BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR")
    assert told(promoted(), part(0, 4), part(1, None, trouble=away)) == [
        ("MIRROR_LAG_ERROR", "partition 0: has to reach offset 10, 6 offsets are to be copied"),
        ("BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR", "partition 1: no leader"),
        ("MIRROR_LAG_ERROR", "partition 1: has to reach offset 20, how far it is, is not known yet"),
    ]


def test_what_the_link_and_the_last_runs_say_is_told():
    said = told(
        promoted(),
        part(0, 10),
        part(1, 20),
        configs={"cluster.link.paused": "true"},
        link_trouble=Trouble("refused", 0, "AUTHENTICATION_ERROR"),
        trouble=Trouble("last ConsumerOffsetSync: group app is active", 0, "CONSUMER_GROUP_IN_USE_ERROR"),
    )
    assert [code for code, _ in said] == [
        "INVALID_REQUEST_ERROR",
        "AUTHENTICATION_ERROR",
        "CONSUMER_GROUP_IN_USE_ERROR",
    ]


def test_a_failover_waits_for_no_offset():
    mirror = replace(promoted(), stop=StopRequest(Event.FAILOVER))
    assert told(mirror, part(0, 1), part(1, 1)) == []


def test_a_reversal_waits_for_the_source_s_ends():
    mirror = a_mirror("orders", MirrorState.PENDING_SYNCHRONIZE, partitions=1)
    assert told(mirror, part(0, 28)) == [
        ("MIRROR_LAG_ERROR", "partition 0: has to reach offset 30, 2 offsets are to be copied")
    ]
    assert told(mirror, part(0, 30)) == []


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        (MirrorState.PENDING_MIRROR, "reverse-and-start"),
        (MirrorState.PENDING_SETUP_FOR_RESTORE, "truncate-and-restore"),
        (MirrorState.PENDING_RESTORE, "truncate-and-restore"),
    ],
)
def test_what_a_verb_has_to_do_is_the_verb_s(state, verb):
    ((code, message),) = told(a_mirror("orders", state), runner=False)
    assert code == "INVALID_REQUEST_ERROR"
    assert f"mirror {verb}" in message


def test_what_failed_says_why():
    failed = replace(a_mirror("orders", MirrorState.FAILED), error=MirrorError("FOREIGN_WRITER", "somebody", 0, 5))
    assert told(failed) == [("FOREIGN_WRITER", "partition 0 offset 5: somebody")]


def test_the_command_has_cluster_linking_s_keys(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KMIRROR_HOME", str(tmp_path / "home"))

    store(home(), a_link("east-west", promoted(), a_mirror("quiet", MirrorState.ACTIVE)))

    def run(*words):
        try:
            return main(["mirror", "state-transition-error", "list", *words])
        except SystemExit as ended:
            return ended.code

    assert run("orders", "--link", "east-west", "-o", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert list(row) == ["error_code", "error_message"]
    assert run("quiet", "--link", "east-west") == 0
    assert capsys.readouterr().out == "None found.\n"
    assert run("nope", "--link", "east-west") == 1
    assert 'mirror topic "nope" not found' in capsys.readouterr().err
