"""`kmirror demo`: the whole of it, and that Ctrl-C at any moment leaves no process and no file behind."""

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support import processes
from support.wait import eventually

MARK = "KMIRROR_DEMO_MARK"
COMMANDS = [
    "link create east-west",
    "mirror create orders --link east-west",
    "mirror describe orders --link east-west",
    "mirror describe orders --link east-west --watch",
    "mirror promote orders --link east-west",
    "mirror groups east-west billing",
    "link delete east-west --force",
]


class Demo:
    """A demo in a session of its own, as a terminal gives it, with its temporary files in `folder`."""

    def __init__(self, folder: Path, *args: str, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder / "tmp"
        self.folder.mkdir()
        self._output = folder / "output"
        self._mark = uuid.uuid4().hex
        environment = {**os.environ, MARK: self._mark, "TMPDIR": str(self.folder), **(environment or {})}
        environment.pop("KMIRROR_HOME", None)
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kmirror", "demo", *args],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        return self._output.read_text()

    def reach(self, text: str, timeout: float = 60) -> None:
        """Waits until it has printed this, and still runs."""
        eventually(lambda: text in self.output() or self.process.poll() is not None, timeout, self.output)
        assert self.process.poll() is None, self.output()

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """As the terminal does it: to all of the foreground process group."""
        os.killpg(self.process.pid, number)

    def end(self) -> None:
        """After the test, whatever it found."""
        for process in processes.with_environment(MARK, self._mark):
            process.kill()
        self.process.wait(10)

    def assert_nothing_left(self) -> None:
        left = processes.with_environment(MARK, self._mark)
        assert not left, "left running:\n" + "\n".join(map(str, left)) + "\n" + self.output()
        assert not list(self.folder.iterdir()), f"left on disk: {list(self.folder.iterdir())}"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")  # short: Unix sockets live below it


@pytest.fixture
def begun(folder: Path) -> Iterator[list[Demo]]:
    demos: list[Demo] = []
    yield demos
    for demo in demos:
        demo.end()


def test_the_demo_mirrors_promotes_and_finds_both_sides_equal(folder, begun):
    demo = Demo(folder, "--seconds", "6")
    begun.append(demo)
    assert demo.process.wait(120) == 0, demo.output()
    text = demo.output()
    shown = re.sub(r" \\\n +", " ", text)
    ran = re.findall(r"^\$ kmirror (.*)$", shown, re.MULTILINE)
    assert [line.partition(" --source-bootstrap-server")[0] for line in ran] == COMMANDS
    (compared,) = re.findall(r"Equal: all ([\d,]+) records", text)
    assert int(compared.replace(",", "")) > 5000
    assert "none lost, none read twice" in " ".join(text.split())  # however it is wrapped
    (later,) = re.findall(r"([\d,]+) later orders are in east alone", text)
    assert re.search(r"^\d\d:\d\d:\d\d orders: ACTIVE, lag ", text, re.MULTILINE), text
    assert "\x1b" not in text
    assert "Traceback" not in text
    assert int(later.replace(",", "")) >= 0
    demo.assert_nothing_left()


@pytest.mark.parametrize(
    "moment",
    [
        "Starting Apache Kafka",
        "$ kmirror mirror create",
        "orders: ACTIVE, lag",
        "$ kmirror mirror promote",
    ],
)
def test_ctrl_c_at_any_moment_leaves_nothing(folder, begun, moment):
    # On a busy machine nothing may be shown in two seconds.
    demo = Demo(folder, "--seconds", "60" if moment.startswith("orders: ") else "2")
    begun.append(demo)
    demo.reach(moment)
    demo.interrupt()
    assert demo.process.wait(30) == 130, demo.output()
    assert "Traceback" not in demo.output()
    demo.assert_nothing_left()


def test_ctrl_c_while_kafka_is_fetched_leaves_nothing(folder, begun):
    cache = folder / "cache"
    demo = Demo(folder, environment={"XDG_CACHE_HOME": str(cache), "KMIRROR_KAFKA_HOME": ""})
    begun.append(demo)
    demo.reach("Fetching Apache Kafka")
    demo.interrupt()
    assert demo.process.wait(15) == 130, demo.output()
    assert "Traceback" not in demo.output()
    demo.assert_nothing_left()
    assert not [path for path in cache.rglob("*") if path.suffix == ".jar"]


def test_a_second_ctrl_c_and_a_closed_terminal_leave_nothing_either(folder, begun):
    demo = Demo(folder, "--seconds", "60")
    begun.append(demo)
    demo.reach("orders: ACTIVE, lag")
    demo.interrupt(signal.SIGHUP)
    demo.reach("stopping")
    demo.interrupt()
    assert demo.process.wait(30) == 130, demo.output()
    demo.assert_nothing_left()
