"""`python -m bench.scale`: what many topics and partitions cost: making their mirrors, idling, being looked at, ending.

Every partition gets a few records and then nothing: what is measured is the price of being many. Of each step it tells
the seconds, and the CPU-seconds of whoever works: on a busy machine these are to be trusted. `--bystanders`: topics at
the source that nobody mirrors, and that the link's filters look at every few seconds.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from bench.contenders.job import Command
from bench.meter import cpu_seconds, peak_rss_megabytes, usage
from bench.process import check_alive, running
from bench.stage import PROPERTIES, VERSION
from kmirror.model.status import LinkStatus
from kmirror.process.control import observe
from kmirror.sandbox import KafkaCluster, kafka_runtime
from kmirror.state.paths import Home

_LINK: Final = "scale"
_AT_ONCE: Final = 100
_WAIT_S: Final = 600
_RECORDS: Final = 2
_LOOKS: Final = 5
_SETTLED_S: Final = 5
_NEW_TOPICS_MS: Final = 5_000
_POLL_S: Final = 1.0  # each time the runner is asked how all stands, which costs it something


def main() -> int:
    options = _options()
    directory = Path(tempfile.mkdtemp(prefix="kmirror-scale-", dir=options.directory))
    runtime = kafka_runtime(options.version, say=print)
    sides = [
        KafkaCluster(side, directory / side, runtime, properties=PROPERTIES, brokers=options.brokers, java_options=())
        for side in ("source", "destination")
    ]
    try:
        with sides[0] as source, sides[1] as destination:
            found = _Bench(directory, source, destination, options).measure()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


class _Bench:
    def __init__(
        self, directory: Path, source: KafkaCluster, destination: KafkaCluster, options: argparse.Namespace
    ) -> None:
        self._directory = directory
        self._source = source
        self._destination = destination
        self._options = options
        self._home = directory / "home"
        self._found: dict[str, Any] = {"topics": options.topics, "partitions": options.topics * options.partitions}

    def measure(self) -> dict[str, Any]:
        self._fill()
        servers = (self._source.bootstrap_servers, self._destination.bootstrap_servers)
        self._kmirror(
            *("link", "create", _LINK, "--source-bootstrap-server", servers[0]),
            *("--destination-bootstrap-server", servers[1]),
            *(("--config", str(self._follow_all())) if self._options.bystanders else ()),
        )
        create = ("mirror", "create", "--all-matching", "scale-.*", "--link", _LINK, "--no-start")
        self._tell_verb("mirror_create", [self._kmirror(*create)])
        with self._running(["link", "run", _LINK]) as runner:
            began = time.monotonic()
            self._until("all copied", lambda status: _is_copied(status, self._found["partitions"]))
            self._tell("all_copied_s", time.monotonic() - began)
            self._tell("all_copied_cpu_s", cpu_seconds(runner.pid))
            self._idle(runner)
            for name, words in {
                "doctor": ("doctor", "--link", _LINK),
                "status": ("status",),
                "mirror_list": ("mirror", "list", "--link", _LINK),
                "link_describe": ("link", "describe", _LINK),
                "mirror_describe": ("mirror", "describe", "scale-00000", "--link", _LINK),
            }.items():
                before = cpu_seconds(runner.pid)
                self._tell_verb(name, [self._kmirror(*words) for _ in range(_LOOKS)])
                self._tell(f"{name}_runner_cpu_s", (cpu_seconds(runner.pid) - before) / _LOOKS)
            self._tell("peak_rss_mb", peak_rss_megabytes(runner.pid))
            if not self._options.no_promote:
                self._promote(runner)
        return self._found

    def _follow_all(self) -> Path:
        """The properties of a link that asks for new topics every few seconds."""
        filters = [{"name": "scale-", "patternType": "PREFIXED", "filterType": "INCLUDE"}]
        path = self._directory / "link.properties"
        path.write_text(
            f"metadata.max.age.ms={_NEW_TOPICS_MS}\nauto.create.mirror.topics.enable=true\n"
            f"auto.create.mirror.topics.filters={json.dumps({'topicFilters': filters})}\n"
        )
        return path

    def _fill(self) -> None:
        names = [f"scale-{number:05}" for number in range(self._options.topics)]
        admin = AdminClient({"bootstrap.servers": self._source.bootstrap_servers})
        factor = min(3, self._options.brokers)
        everyone = [(name, self._options.partitions) for name in names]
        everyone += [(f"other-{number:05}", 1) for number in range(self._options.bystanders)]
        began = time.monotonic()
        for begin in range(0, len(everyone), _AT_ONCE):
            new = [NewTopic(name, count, factor) for name, count in everyone[begin : begin + _AT_ONCE]]
            for created in admin.create_topics(new, request_timeout=60).values():
                created.result()
        self._tell("source_made_s", time.monotonic() - began)
        while len(admin.list_topics(timeout=60).topics) < len(everyone):  # the broker is busy with making the logs
            time.sleep(1)
        producer = Producer({"bootstrap.servers": self._source.bootstrap_servers, "linger.ms": 500, "acks": "all"})
        for name in names:
            for partition in range(self._options.partitions):
                for _ in range(_RECORDS):
                    producer.produce(name, b"x" * 100, partition=partition)
            producer.poll(0)
        if producer.flush(120):
            raise TimeoutError("the source could not be filled")

    def _idle(self, runner: subprocess.Popen[bytes]) -> None:
        """What a second costs in which nothing happens, in percent of a core."""
        time.sleep(_SETTLED_S)
        pids = (runner.pid, self._source.pids[0], self._destination.pids[0])
        before, began = usage(*pids), time.monotonic()
        time.sleep(self._options.seconds)
        used, took = usage(*pids) - before, time.monotonic() - began
        for side in ("mirror", "source", "destination"):
            self._tell(f"idle_{side}_percent", 100 * getattr(used, side) / took)
        self._tell("idle_rss_mb", _rss_megabytes(runner.pid))

    def _promote(self, runner: subprocess.Popen[bytes]) -> None:
        began, before = time.monotonic(), cpu_seconds(runner.pid)
        self._tell_verb("promote", [self._kmirror("mirror", "promote", "--all", "--link", _LINK)])
        self._until("all stopped", lambda status: all(m.state == "STOPPED" for m in status.mirrors.values()))
        self._tell("all_stopped_s", time.monotonic() - began)
        self._tell("all_stopped_cpu_s", cpu_seconds(runner.pid) - before)

    def _until(self, what: str, holds: Callable[[LinkStatus], bool]) -> None:
        deadline = time.monotonic() + _WAIT_S
        while True:
            status = observe(Home(self._home, self._home / "run"), _LINK)
            if status and holds(status):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited in vain: {what}")
            time.sleep(_POLL_S)

    def _kmirror(self, *arguments: str) -> tuple[float, float, float]:
        """Runs it; returns how many seconds it took, how many of a CPU, and its peak of memory in MB."""
        began = time.monotonic()
        with tempfile.TemporaryFile("w+") as output:
            verb = subprocess.Popen(
                [sys.executable, "-m", "kmirror", *arguments],
                env={**os.environ, **self._environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _, status, used = os.wait4(verb.pid, 0)
            verb.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            if verb.returncode:
                raise RuntimeError(f"`kmirror {' '.join(arguments)}` failed: {output.read()[-2000:]}")
        return time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6

    @property
    def _environment(self) -> dict[str, str]:
        other = {"PYTHONPATH": str(self._options.sources)} if self._options.sources else {}
        return {"KMIRROR_HOME": str(self._home), "NO_COLOR": "1", **other}

    @contextmanager
    def _running(self, arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        start = [sys.executable, "-m", "kmirror"]
        profile = self._directory / "profile"
        if self._options.profile:
            start = [sys.executable, "-m", "bench.profiling", "samples", str(profile)]
        log = self._directory / "output.log"
        try:
            with running(Command([*start, *arguments], self._environment), log) as process:
                yield process
                check_alive(process, log)
        finally:
            if self._options.profile and profile.exists():
                print(profile.read_text())

    def _tell_verb(self, name: str, runs: Sequence[tuple[float, float, float]]) -> None:
        """The medians of what its runs took: seconds, and seconds of the verb's own CPU; and the peak of its memory."""
        took, used, peak = zip(*runs, strict=True)
        self._tell(f"{name}_rss_mb", max(peak))
        self._tell(f"{name}_s", statistics.median(took))
        self._tell(f"{name}_cpu_s", statistics.median(used))

    def _tell(self, name: str, value: float) -> None:
        self._found[name] = round(value, 2)
        print(f"{name:28} {value:10.2f}", flush=True)


def _is_copied(status: LinkStatus, partitions: int) -> bool:
    ends = [p.log_end for m in status.mirrors.values() for p in m.partitions]
    return len(ends) == partitions and set(ends) == {_RECORDS}


def _rss_megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--topics", type=int, default=500)
    parser.add_argument("--partitions", type=int, default=4, help="of each topic")
    parser.add_argument("--bystanders", type=int, default=0, help="topics of one partition that nobody mirrors")
    parser.add_argument("--brokers", type=int, default=1, help="of each cluster")
    parser.add_argument("--version", default=VERSION, help="of Kafka")
    parser.add_argument("--seconds", type=float, default=60, help="how long it idles")
    parser.add_argument("--no-promote", action="store_true", help="don't promote all in the end")
    parser.add_argument("--profile", action="store_true", help="sample where the runner's time goes")
    parser.add_argument("--sources", type=Path, help="the src folder of another tree, to compare with")
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
