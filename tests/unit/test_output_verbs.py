"""What the verbs print for people and for scripts, from recorded links and what a runner was seen to tell."""

import json
import os
import re
import subprocess
import sys
import time

import pytest
import yaml

from kmirror.cli.app import main
from kmirror.model.mirror import MirrorError
from kmirror.model.states import MirrorState
from kmirror.model.status import LinkState, MirrorStatus, Trouble
from kmirror.model.tasks import TaskError, TaskState, TaskStatus
from kmirror.state.paths import home as home_of_user
from kmirror.state.runtime import RunFiles
from support.recorded import a_link, a_mirror, a_partition, a_status, store

LONG = "payments.transactions.settled." + "x" * 170
LIST_KEYS = [
    "link_name",
    "mirror_topic_name",
    "source_topic_name",
    "mirror_status",
    "status_time_ms",
    "num_partition",
    "max_per_partition_mirror_lag",
]
DESCRIBE_KEYS = [
    "link_name",
    "mirror_topic_name",
    "source_topic_name",
    "mirror_status",
    "mirror_topic_error",
    "status_time_ms",
    "num_partition",
    "max_per_partition_mirror_lag",
    "partition",
    "partition_mirror_lag",
    "last_source_fetch_offset",
]
VERB_KEYS = [
    "mirror_topic_name",
    "partition",
    "partition_mirror_lag",
    "last_source_fetch_offset",
    "error_message",
    "error_code",
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KMIRROR_HOME", str(tmp_path / "home"))
    return home_of_user()


@pytest.fixture
def say(capsys):
    """Runs a command that must succeed: (stdout, stderr)."""

    def run(*words):
        try:
            code = main(words)
        except SystemExit as e:
            code = e.code
        said = capsys.readouterr()
        assert not code, said.err
        return said

    return run


@pytest.fixture
def runner(home):
    """This process stands for the runner of east-west: it holds the lock, and what it writes is what is seen."""
    files = RunFiles(home, "east-west")
    files.create()
    now = time.time_ns() // 1_000_000
    with files.lock as lock:
        lock.acquire("east-west", {"pid": os.getpid(), "started_ms": now - 9000})

        def tell(*mirrors, **more):
            files.write_status(a_status("east-west", os.getpid(), time.time_ns() // 1_000_000, *mirrors, **more))

        yield tell


def orders(*parts, state=MirrorState.ACTIVE):
    return MirrorStatus("orders", state, parts, bytes_per_s=2e6, records_per_s=1234.5)


def test_nothing_at_all(home, say):
    for words in (("link", "list"), ("mirror", "list"), ("status",)):
        assert say(*words).out == "None found.\n"
        assert say(*words, "-o", "json").out == "[]\n"
        assert say(*words, "-o", "yaml").out == "[]\n"


def test_link_list(home, say):
    store(home, a_link("east-west", a_mirror("a"), a_mirror("b")), a_link("empty"))

    rows = json.loads(say("link", "list", "-o", "json").out)
    with_topics = json.loads(say("link", "list", "--include-topics", "-o", "json").out)

    assert rows[1] == {
        "link_name": "empty",
        "link_id": "id-of-empty",
        "source_cluster": "cluster-e",
        "destination_cluster": "cluster-w",
        "state": "UNKNOWN",
    }
    assert [(row["link_name"], row["topic_name"]) for row in with_topics] == [("east-west", "a"), ("east-west", "b")]
    assert say("link", "list").out.splitlines()[0].split("|")[0].strip() == "Link Name"


def test_link_describe(home, say, runner):
    store(home, a_link("east-west", a_mirror(), a_mirror("s", MirrorState.STOPPED), a_mirror("p", MirrorState.PAUSED)))
    trouble = Trouble("nobody answers", 5, "TIMEOUT_ERROR")
    runner(orders(a_partition(0, 5, 5), a_partition(1, 5, 9)), state=LinkState.UNAVAILABLE, trouble=trouble)

    told = json.loads(say("link", "describe", "east-west", "-o", "json").out)

    assert list(told)[:7] == [
        "link_name",
        "link_id",
        "source_cluster",
        "destination_cluster",
        "state",
        "error",
        "error_message",
    ]
    assert (told["state"], told["error"], told["error_message"]) == ("UNAVAILABLE", "TIMEOUT_ERROR", "nobody answers")
    assert told["mirror_partition_states_count"] == "ACTIVE: 2, NOT_APPLICABLE: 2, PAUSED: 2"
    assert told["runner_pid"] == os.getpid()
    human = say("link", "describe", "east-west").out
    assert human.startswith("+---")
    assert "| Source Cluster" in human
    assert "bootstrap.servers=127.0.0.1:1" in human


def test_mirror_list_and_status(home, say, runner):
    store(home, a_link("east-west", a_mirror(), a_mirror("done", MirrorState.STOPPED)))
    runner(orders(a_partition(0, 5, 5), a_partition(1, 5, 9, lag_ms=1500)))

    done, row = json.loads(say("mirror", "list", "-o", "json").out)
    page = json.loads(say("status", "-o", "json").out)

    assert list(row)[:7] == LIST_KEYS
    assert [row[k] for k in LIST_KEYS] == ["east-west", "orders", "src-orders", "ACTIVE", 1111, 2, 4]
    assert (row["max_per_partition_mirror_lag_ms"], row["mirror_lag"], row["records_per_s"]) == (1500, 4, 1234.5)
    assert (done["mirror_status"], done["max_per_partition_mirror_lag"]) == ("STOPPED", 0)
    assert [m["mirror_lag"] for m in page[0]["mirrors"]] == [0, 4]
    assert (page[0]["runner_pid"], page[0]["state"]) == (os.getpid(), "ACTIVE")
    human = say("status")
    assert "runner pid" in human.out
    assert "1,234" in human.out
    assert "1.5 s" in human.out
    assert human.err == ""


def test_mirror_list_by_status(home, say):
    store(home, a_link("east-west", a_mirror(), a_mirror("done", MirrorState.STOPPED)))

    rows = yaml.safe_load(say("mirror", "list", "--mirror-status", "stopped", "-o", "yaml").out)

    assert [row["mirror_topic_name"] for row in rows] == ["done"]


def test_mirror_describe(home, say, runner):
    store(home, a_link("east-west", a_mirror(partitions=3)))
    runner(orders(a_partition(0, 5, 5), a_partition(1, 5, 9, lag_ms=70)))

    rows = json.loads(say("mirror", "describe", "orders", "--link", "east-west", "-o", "json").out)

    assert list(rows[0])[: len(DESCRIBE_KEYS)] == DESCRIBE_KEYS
    keys = ("partition", "partition_mirror_lag", "last_source_fetch_offset", "partition_mirror_lag_ms")
    assert [tuple(row[k] for k in keys) for row in rows] == [(0, 0, 5, 0), (1, 4, 5, 70), (2, -1, -1, -1)]


def test_the_runner_knows_better_that_a_source_is_gone(home, say, runner):
    store(home, a_link("east-west", a_mirror(), a_mirror("p", MirrorState.PAUSED)))
    gone = MirrorStatus("p", MirrorState.SOURCE_UNAVAILABLE)
    runner(orders(state=MirrorState.SOURCE_UNAVAILABLE), gone)

    rows = json.loads(say("mirror", "list", "-o", "json").out)

    assert [row["mirror_status"] for row in rows] == ["SOURCE_UNAVAILABLE", "PAUSED"]


def test_a_failure_is_told_with_its_place(home, say):
    error = MirrorError("SOURCE_TOPIC_ID_CHANGED", "the source was made anew", 1, 42)
    store(home, a_link("east-west", a_mirror(state=MirrorState.FAILED, error=error)))

    human = say("mirror", "describe", "orders", "--link", "east-west").out
    rows = json.loads(say("mirror", "describe", "orders", "--link", "east-west", "-o", "json").out)

    assert "orders: SOURCE_TOPIC_ID_CHANGED: partition 1 offset 42: the source was made anew" in human
    assert rows[0]["mirror_topic_error"] == "SOURCE_TOPIC_ID_CHANGED"


def test_without_a_runner_the_last_lag_is_shown_and_its_age_told(home, say):
    store(home, a_link("east-west", a_mirror()))
    files = RunFiles(home, "east-west")
    long_ago = time.time_ns() // 1_000_000 - 60_000
    files.write_status(a_status("east-west", 1, long_ago, orders(a_partition(0, 5, 5), a_partition(1, 5, 9))))

    said = say("mirror", "describe", "orders", "--link", "east-west", "-o", "json")

    rows = json.loads(said.out)
    assert [row["partition_mirror_lag"] for row in rows] == [0, 4]
    assert 60_000 <= rows[0]["status_age_ms"] < 120_000
    assert 'Warning: no runner of link "east-west" runs, nothing is copied; what is shown was seen 1 min' in said.err
    assert "`kmirror link start east-west`" in said.err
    assert json.loads(say("status", "-o", "json").out)[0]["state"] == "UNKNOWN"


def test_a_silent_runner_is_told(home, say, runner):
    store(home, a_link("east-west", a_mirror()))
    long_ago = time.time_ns() // 1_000_000 - 20_000
    RunFiles(home, "east-west").write_status(a_status("east-west", os.getpid(), long_ago, orders()))

    said = say("mirror", "list")

    assert 'Warning: the runner of link "east-west" does not answer; what is shown was seen 20 s' in said.err


def test_pause_and_resume_are_recorded(home, say, runner):
    kept = store(home, a_link("east-west", a_mirror(), a_mirror("other")))
    runner(orders(a_partition(0, 5, 7), a_partition(1, 5, 5)))

    dry = json.loads(say("mirror", "pause", "orders", "--link", "east-west", "--dry-run", "-o", "json").out)
    assert kept.get("east-west").mirrors["orders"].state is MirrorState.ACTIVE
    rows = json.loads(say("mirror", "pause", "orders", "other", "orders", "--link", "east-west", "-o", "json").out)
    assert kept.get("east-west").mirrors["orders"].state is MirrorState.PAUSED
    say("mirror", "resume", "orders", "--link", "east-west")
    assert kept.get("east-west").mirrors["orders"].state is MirrorState.ACTIVE

    assert rows[:2] == dry
    assert list(rows[0])[:6] == VERB_KEYS
    assert [row["mirror_topic_name"] for row in rows] == ["orders", "orders", "other", "other"]
    assert [list(row.values())[1:6] for row in rows[:2]] == [[0, 2, 5, "", ""], [1, 0, 5, "", ""]]


def test_a_link_is_forgotten_with_its_files(home, say):
    kept = store(home, a_link("east-west", a_mirror()), a_link("other"))
    RunFiles(home, "east-west").create()

    assert say("link", "delete", "east-west", "--force").out == 'Deleted cluster link "east-west".\n'

    assert list(kept.all()) == ["other"]
    assert not home.run_directory("east-west").exists()


def test_several_links_are_forgotten_at_once(home, say):
    store(home, a_link("a"), a_link("b"))

    assert say("link", "delete", "a", "b", "--force").out == 'Deleted cluster links "a" and "b".\n'


def test_a_link_without_asking_anybody(home, say):
    words = ("--source-bootstrap-server", "east:9092,east2:9092", "--destination-bootstrap-server", "west:9092")

    dry = say("link", "create", "l", *words, "--no-validate", "--dry-run").out
    assert not home.links_file.exists()
    made = say("link", "create", "l", *words, "--no-validate", "--config", "fetch.buffer.bytes=2097152").out

    assert dry.splitlines()[0] == '[DRY RUN] Created cluster link "l" with configs:'
    assert made == (
        'Created cluster link "l" with configs:\n'
        '"bootstrap.servers"="east:9092,east2:9092"\n'
        '"destination.bootstrap.servers"="west:9092"\n'
        '"fetch.buffer.bytes"="2097152"\n'
        '"link.mode"="DESTINATION"\n\n'
    )


def test_names_are_never_cut_when_piped(home, say):
    store(home, a_link("east-west", a_mirror(LONG)))

    assert LONG in say("mirror", "list").out
    assert LONG in say("status").out
    assert f'"{LONG}"' in say("mirror", "list", "-o", "json").out


def test_a_log_is_printed_from_its_end(home, say):
    store(home, a_link("east-west"))
    assert "logged nothing yet" in say("link", "logs", "east-west").err
    files = RunFiles(home, "east-west")
    files.create()
    files.log.write_text("".join(f"line {i}\n" for i in range(300)))

    assert say("link", "logs", "east-west", "--lines", "2").out == "line 298\nline 299\n"
    assert len(say("link", "logs", "east-west").out.splitlines()) == 100


def test_stopping_what_does_not_run(home, say):
    store(home, a_link("east-west"))

    assert say("link", "stop", "east-west").out == 'Cluster link "east-west" is not running.\n'


HEAVY = ("confluent_kafka", "kafka")


@pytest.mark.parametrize("words", [("--help",), ("link", "list"), ("mirror", "list"), ("status",)])
def test_what_reads_this_machine_alone_starts_fast(home, words):
    """Client libraries cost more than the whole rest: completion and lists must not load them."""
    code = (
        "import sys\nfrom kmirror.cli.app import main\n"
        f"try: main({list(words)!r})\nexcept SystemExit: pass\n"
        f"sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_complete(home):
    store(home, a_link("east-west", a_mirror("orders"), a_mirror("payments")), a_link("west-east", a_mirror("other")))

    def complete(line):
        environment = {
            **os.environ,
            "_KMIRROR_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        command = [sys.executable, "-m", "kmirror"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.stdout.split()

    assert complete("kmirror link describe east") == ["east-west"]
    assert complete("kmirror mirror list --link ") == ["east-west", "west-east"]
    assert complete("kmirror mirror promote --link east-west pay") == ["payments"]
    assert complete("kmirror mirror describe o") == ["orders", "other"]
    home.links_file.write_text("damaged")
    assert complete("kmirror link describe ") == []


# --- link task list


def test_tasks_of_a_link_that_runs(home, say, runner):
    store(home, a_link())
    error = TaskError("MISCONFIGURATION_ERROR", "no filter")
    task = TaskStatus("PartitionGrowth", TaskState.IN_ERROR, (error,), 30000, time.time_ns() // 1_000_000, runs=3)
    runner(tasks={task.name: task})

    rows = json.loads(say("link", "task", "list", "east-west", "-o", "json").out)
    (row,) = [row for row in rows if row["task_name"] == "PartitionGrowth"]

    assert [list(r)[:3] for r in rows] == [["task_name", "state", "errors"]] * len(rows)
    assert [r["task_name"] for r in rows] == sorted(r["task_name"] for r in rows)
    assert row["state"] == "IN_ERROR"
    assert row["errors"] == [{"error_code": "MISCONFIGURATION_ERROR", "error_message": "no filter"}]
    assert (row["runs"], row["last_success_ms"]) == (3, None)
    out = say("link", "task", "list", "east-west").out
    assert [word.strip() for word in out.splitlines()[0].split("|")] == ["Task Name", "State", "Errors", "Last Run"]
    assert 'MISCONFIGURATION_ERROR: "no filter"' in out
    assert re.search(r"\b\d+ s ago", out)


def test_tasks_of_a_link_that_nobody_runs(home, say):
    store(home, a_link())

    out, err = say("link", "task", "list", "east-west")

    assert "UNKNOWN" in out
    assert "never" in out
    assert "kmirror link start east-west" in err
