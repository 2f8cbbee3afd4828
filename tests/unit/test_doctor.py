"""What the doctor says without a cluster: files, runners, mirrors, and limits of topics."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from kmirror.admin.checkup import TopicState
from kmirror.cli.app import main
from kmirror.model.checkup import Verdict
from kmirror.model.mirror import MirrorError, StopRequest
from kmirror.model.states import Event, MirrorState
from kmirror.ops import doctor_files
from kmirror.ops.doctor_clusters import check_limits
from kmirror.ops.doctor_files import check_folders, check_left_over, check_mirrors, check_runner
from kmirror.ops.seen import see
from kmirror.state.paths import Home
from kmirror.state.paths import home as home_of_user
from support.recorded import a_link, a_mirror, store


@pytest.fixture
def home(tmp_path, monkeypatch) -> Home:
    monkeypatch.setenv("KMIRROR_HOME", str(tmp_path / "home"))
    return home_of_user()


def results(findings):
    return [(f.subject, str(f.result)) for f in findings]


def worst(findings):
    return {f.subject: f for f in findings if f.result is not Verdict.OK}


def run(*words):
    try:
        return main(words)
    except SystemExit as ended:
        return ended.code


def test_folders_of_this_user_are_well(home):
    store(home, a_link())
    assert {f.result for f in check_folders(home)} == {Verdict.OK}


def test_others_are_kept_out(home):
    store(home, a_link())
    home.links_file.chmod(0o644)
    (found,) = worst(check_folders(home)).values()
    assert (found.result, found.message) == (Verdict.WARN, "mode 644 lets others in")
    assert found.action == f"chmod go= {home.links_file}"


@pytest.mark.parametrize(("mode", "told"), [(0o755, []), (0o777, ["mode 777 lets others in"])])
def test_others_may_look_at_the_runtime_folder_and_not_write(mode, told, home):
    store(home, a_link())
    home.runtime.mkdir()
    home.runtime.chmod(mode)
    assert [f.message for f in worst(check_folders(home)).values()] == told


def test_a_folder_that_may_not_be_written_fails(home, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert {f.result for f in check_folders(home) if f.check == "folder"} == {Verdict.FAIL}


@pytest.mark.parametrize(("free", "result"), [(2 << 30, "ok"), (1 << 29, "warn"), (1 << 20, "fail")])
def test_disks_get_full(free, result, home, monkeypatch):
    monkeypatch.setattr(doctor_files.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert {str(f.result) for f in check_folders(home) if f.check == "disk"} == {result}


def test_folders_of_links_that_are_no_more(home):
    (home.runtime / "gone").mkdir(parents=True)
    (home.runtime / "east-west").mkdir()
    assert [f.subject for f in check_left_over(home, frozenset({"east-west"}))] == [str(home.runtime / "gone")]


def test_somebody_has_to_copy(home):
    link = a_link("east-west", a_mirror("orders"))
    store(home, link)
    (found,) = worst(check_runner(home, see(home, link))).values()
    assert found.result is Verdict.FAIL
    assert found.action == "kmirror link start east-west"
    idle = a_link("east-west", a_mirror("orders", MirrorState.PAUSED))
    store(home, idle)
    assert worst(check_runner(home, see(home, idle))) == {}


def test_mirrors_that_are_not_well_are_named_and_the_others_counted(home):
    mirrors = [
        a_mirror("orders"),
        a_mirror("failed", MirrorState.FAILED, error=MirrorError("FOREIGN_WRITER", "somebody", 0, 5)),
        a_mirror("pending", MirrorState.PENDING_STOPPED, stop=StopRequest(Event.PROMOTE, (1, 1))),
    ]
    link = a_link("east-west", *mirrors)
    store(home, link)
    found = list(check_mirrors(see(home, link)))
    assert results(found) == [("failed", "fail"), ("pending", "warn"), ("the others", "ok")]
    assert "partition 0 offset 5: somebody" in found[0].message
    assert "no runner" in found[1].message


STATE = TopicState(frozenset(), 3, (), {0: 3, 1: 3}, {"max.message.bytes": "1000", "min.insync.replicas": "2"})


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        ({}, None),
        ({"configs": {"max.message.bytes": "999", "min.insync.replicas": "1"}}, "max.message.bytes=1000"),
        ({"configs": {"max.message.bytes": "1000", "min.insync.replicas": "4"}}, "min.insync.replicas=3"),
        ({"in_sync": {0: 3, 1: 1}}, "start the brokers"),
        ({"in_sync": {0: 3, 1: 0}, "leaderless": (1,)}, None),  # told as such
    ],
)
def test_a_mirror_topic_takes_what_its_source_holds(ours, told):
    mirror = a_mirror("orders")
    found = list(check_limits([mirror], {"src-orders": STATE}, {"orders": replace(STATE, **ours)}))
    assert [f.action for f in found if f.result is Verdict.FAIL] == ([] if told is None else [found[0].action])
    assert told is None or told in found[0].action


def test_a_damaged_file_is_a_finding_and_the_rest_is_left(home, capsys):
    home.config.mkdir(parents=True)
    home.links_file.write_text("schema = 9")
    assert run("doctor", "-o", "json") == 1
    rows = json.loads(capsys.readouterr().out)
    assert list(rows[0]) == ["check", "subject", "result", "message", "action", "link_name"]
    assert rows[-1]["check"] == "links.toml"
    assert "later kmirror" in rows[-1]["message"]


def test_clusters_that_are_away_fail_and_are_named(home, capsys):
    store(home, a_link("east-west"), a_link("other"))
    assert run("doctor", "--link", "east-west") == 1
    said = capsys.readouterr().out
    assert "\nlink east-west\n" in said
    assert "link other" not in said
    assert "fail source 127.0.0.1:1: bootstrap server: cannot connect" in said
    assert "-> start it, or mend its address" in said
    assert run("doctor", "--link", "nope") == 1
    assert 'cluster link "nope" not found' in capsys.readouterr().err


def test_nothing_at_all_is_well(home, capsys):
    assert run("doctor") == 0
    assert "0 failed, 0 with a warning" in capsys.readouterr().out
