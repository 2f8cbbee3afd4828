"""Lines of the log: one an event, readable by people or machines, without secrets and without floods."""

import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.log import events
from kmirror.process.log_lines import JsonLines, KeyValueLines
from kmirror.process.log_repeats import Repeats
from kmirror.process.logs import FILE_BYTES, OLDER_FILES, logging_to

SECRETS = [
    'cannot log in: sasl.jaas.config=org.x.Login required username="me" password="hunter2";',
    "ssl.key.password=hunter2",
    "configuration ssl.keystore.password: *** -> hunter2",
    '{"password": "hunter2"}',
    "client_secret = hunter2, x",
]


def record(event, *, level=logging.INFO, args=(), exc_info=None, **facts):
    made = logging.LogRecord("kmirror.engine", level, "f.py", 1, event, args, exc_info)
    made.created = 1_700_000_000.25
    made.facts = facts
    return made


def text(*args, **facts):
    return KeyValueLines().format(record(*args, **facts))


def parsed(*args, **facts):
    return json.loads(JsonLines({"link": "ew"}).format(record(*args, **facts)))


def test_a_line_for_people():
    assert text("batch refused", level=logging.WARNING, topic="orders", partition=3, error='said "no"', x=None) == (
        '2023-11-14T22:13:20.250Z warning  batch refused topic=orders partition=3 error="said \\"no\\""'
    )
    assert text("%s: works", args=("a",)).endswith("info     a: works")


def test_an_object_for_machines():
    assert parsed("batch refused", topic="orders", partition=3, held=True) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "event": "batch refused",
        "logger": "kmirror.engine",
        "link": "ew",
        "topic": "orders",
        "partition": 3,
        "held": True,
    }


@given(st.text(), st.text())
def test_whatever_is_told_is_one_line_and_keys_can_be_found(event, value):
    line = text(event.replace("%", "%%"), topic=value)
    assert not re.search(r"[\n\r]", line)
    found = line[len(text(event.replace("%", "%%"))) :].removeprefix(" topic=")
    assert (json.loads(found) if found.startswith('"') else found) == value
    assert parsed(event.replace("%", "%%"), topic=value)["topic"] == value


def test_a_traceback_is_in_the_line():
    try:
        int("two\nlines")
    except ValueError as e:
        told = record("ends", exc_info=(ValueError, e, e.__traceback__))
    line = KeyValueLines().format(told)
    assert "\n" not in line
    assert "ValueError: invalid literal" in line
    assert "Traceback" in json.loads(JsonLines({}).format(told))["exception"]


@pytest.mark.parametrize("told", SECRETS)
def test_no_secret_is_told(told):
    for line in (text(told), text("x", error=told), json.dumps(parsed(told)), json.dumps(parsed("x", error=told))):
        assert "hunter2" not in line
        assert "***" in line


def test_a_fact_that_is_a_secret_is_masked():
    assert "hunter2" not in text("x", sasl_password="hunter2", api_key="hunter2")
    assert text("x", run_token=7, key="retention.ms").endswith("x run_token=7 key=retention.ms")
    assert "hunter2" not in text("x", key="ssl.key.password", old="hunter2", new="hunter2")
    assert text("x", key="a.b", old=None, new="y").endswith("x key=a.b new=y")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_repeats_are_counted():
    clock, written = Clock(), []
    repeats = Repeats(written.append, clock)

    def say(offset, topic="orders"):
        told = record("batch refused", topic=topic, offset=offset)
        if repeats.filter(told):
            written.append(told)

    for offset in range(42):
        say(offset)
    say(0, "payments")
    assert [(r.facts["topic"], r.facts["offset"]) for r in written] == [("orders", n) for n in range(5)] + [
        ("payments", 0)
    ]
    clock.now = 59
    repeats.tick()
    assert len(written) == 6
    clock.now = 60
    repeats.tick()
    assert written[-1].getMessage() == "batch refused (repeated 37 times in 60 s)"
    assert written[-1].facts == {"topic": "orders", "offset": 41, "repeated": 37}

    say(43)  # it goes on: a line a minute
    assert len(written) == 7
    clock.now = 120
    repeats.tick()
    assert written[-1].getMessage() == "batch refused (repeated once in 60 s)"
    clock.now = 180
    repeats.tick()  # a minute without one: the next is news again
    say(44)
    assert written[-1].facts["offset"] == 44
    assert not repeats._windows.keys() - {next(iter(repeats._windows))}


def test_changes_are_all_written():
    """A task that changes a hundred topics in a second: each has its line, with what was there before."""
    repeats = Repeats(lambda _: None, Clock())
    changes = [
        record("changed", task="TopicConfigsSync", what=f"t{n} retention.ms", old="1", new="2") for n in range(99)
    ]
    assert all(repeats.filter(change) for change in changes)


def test_older_lines_are_told_apart_by_what_comes_first():
    repeats = Repeats(lambda _: None, Clock())
    held = [repeats.filter(record("%s: %s", args=(name, n))) for n in range(7) for name in ("a", "b")]
    assert held == [True] * 10 + [False] * 4


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_end_tells_what_is_still_counted(tmp_path, form):
    path = tmp_path / "kmirror.log"
    log = events("kmirror.test")
    with logging_to(path, "ew") as lines:
        lines.set_form(form)
        for n in range(8):
            log.warning("again", topic="t", offset=n)
    log.warning("nobody listens")
    last = path.read_text().splitlines()[-1]
    assert len(path.read_text().splitlines()) == 6
    assert "again (repeated 3 times in " in last
    if form == "json":
        assert json.loads(last)["repeated"] == 3


def test_the_file_is_rotated(tmp_path, monkeypatch):
    assert (FILE_BYTES, OLDER_FILES) == (10 << 20, 5)  # docs/running.md
    monkeypatch.setattr("kmirror.process.logs.FILE_BYTES", 1000)
    log = events("kmirror.test")
    with logging_to(tmp_path / "kmirror.log", "ew"):
        for n in range(200):
            log.info("event %d", n)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["kmirror.log", *(f"kmirror.log.{n}" for n in range(1, 6))]
