"""A log is read over its rotations: no line twice, none left out."""

import logging
from logging.handlers import RotatingFileHandler

import pytest

from kmirror.ops.link_log import LogFollower


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kmirror.log"


def write(path, *files):
    """The oldest first."""
    for number, lines in enumerate(reversed(files)):
        path.with_name(f"kmirror.log.{number}" if number else "kmirror.log").write_text("".join(lines))


def tail(path, lines):
    with LogFollower(path) as follower:
        return follower.tail(lines)


def test_the_tail_reaches_into_older_files(path):
    write(path, ["a\n", "b\n"], ["c\n"], ["d\n", "e\n"])
    assert tail(path, 2) == "d\ne\n"
    assert tail(path, 4) == "b\nc\nd\ne\n"
    assert tail(path, 100) == "a\nb\nc\nd\ne\n"
    assert tail(path, 0) == ""


@pytest.mark.parametrize("every", [1, 2, 7])
def test_following_over_rotations(path, every):
    handler = RotatingFileHandler(path, maxBytes=200, backupCount=9)
    follower, seen = LogFollower(path), ""
    for number in range(60):
        handler.emit(logging.makeLogRecord({"msg": f"line {number:03}"}))
        if number == 3:
            seen += follower.tail(100)
        elif number > 3 and number % every == 0:
            seen += follower.read()
    with follower:
        seen += follower.read()
    handler.close()
    assert seen.split("\n")[:-1] == [f"line {n:03}" for n in range(60)]
    assert path.with_name("kmirror.log.2").exists()


def test_a_log_that_is_not_there_yet(path):
    with LogFollower(path) as follower:
        assert follower.tail(5) == ""
        assert follower.read() == ""
        path.write_text("first\n")
        assert follower.read() == "first\n"
        assert follower.read() == ""


def test_what_is_written_just_before_a_rotation(path, monkeypatch):
    path.write_text("a\n")

    def rotated(_follower):
        """The runner writes between the reader's two looks."""
        with path.open("a") as file:
            file.write("late\n")
        path.rename(path.with_name("kmirror.log.1"))
        path.write_text("new\n")
        return False

    with LogFollower(path) as follower:
        assert follower.tail(10) == "a\n"
        with monkeypatch.context() as patch:
            patch.setattr(LogFollower, "_is_current", rotated)
            assert follower.read() == "late\nnew\n"
        assert follower.read() == ""
