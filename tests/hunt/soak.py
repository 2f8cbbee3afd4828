"""`make soak SOAK='--hours 1'`: one runner for hours, under traffic and faults; each minute it is looked at.

What a runner holds must stay flat: memory, file descriptors, threads, the sizes of what it writes. In the end both
clusters are compared by the oracle. The report, with its plots, is written anew each minute.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Producer

from hunt.plot import svg
from hunt.stage import Stage
from support import processes
from support.difference import What
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink, ends
from support.traffic import Traffic, create_topic

TOPICS = ("steady", "bursts", "transactions")
PARTITIONS = 4
_KEPT = {"retention.bytes": str(64 << 20), "segment.bytes": str(8 << 20), "retention.ms": "86400000"}
_LAST_RUN_S = 120
_BEHIND_S = 30
"""After a minute's faults the mirror has to be where its source was then within this time."""


@dataclass
class Sample:
    minute: float
    rss_mb: float
    descriptors: int
    threads: int
    log_kb: float
    status_kb: float
    lag: int
    records: int


class Transactions:
    """Some commit, some abort, all are small."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        settings = {"bootstrap.servers": self._bootstrap, "transactional.id": uuid.uuid4().hex, "log_level": 0}
        producer = Producer(settings)
        producer.init_transactions(60)
        while not self._over.wait(0.5):
            producer.begin_transaction()
            for number in range(10):
                producer.produce(self._topic, f"record {number}".encode())
            if random.random() < 0.3:
                producer.abort_transaction(60)
            else:
                producer.commit_transaction(60)


class Soak:
    def __init__(self, stage: Stage, folder: Path, minutes: float, rng: random.Random) -> None:
        self._stage = stage
        self._folder = folder
        self._minutes = minutes
        self._random = rng
        self._kmirror = Kmirror(folder / "home")
        self._link = TestLink(self._kmirror, stage.source, stage.destination, "soak")
        self.samples: list[Sample] = []
        self.faults: dict[str, int] = {}
        self.findings: list[str] = []
        self.compared = 0

    def run(self) -> None:
        source = self._stage.source.bootstrap_servers
        for topic in TOPICS:
            create_topic(source, topic, PARTITIONS, config=_KEPT)
        self._link.create()
        for topic in TOPICS:
            self._link.mirror(topic)
        pid = self._link.pid
        began = time.monotonic()
        with Traffic(source, "steady", rate=300, size=500) as steady, Transactions(source, "transactions"):
            while time.monotonic() - began < self._minutes * 60:
                end_of_minute = time.monotonic() + 60
                with Traffic(source, "bursts", rate=3_000, size=1_000):
                    time.sleep(5)
                while time.monotonic() < end_of_minute - _BEHIND_S / 2:
                    self._hurt()
                    time.sleep(self._random.uniform(3, 8))
                self._await_near()
                self._look(pid, (time.monotonic() - began) / 60)
                self._report()
                time.sleep(max(0.0, end_of_minute - time.monotonic()))
            steady.stop()
        for topic in TOPICS:  # each cluster's retention is its own
            self.compared += self._link.assert_exact(topic, ignore=[What.LOG_START])
        self.findings += _not_flat(self.samples)
        self._report()
        self._kmirror.stop_all()

    def _hurt(self) -> None:
        cluster = self._random.choice(list(self._stage.clusters.values()))
        proxy = self._random.choice(cluster.proxies)
        kind = self._random.choice(("cut", "hold", "freeze a broker", "restart a broker"))
        self.faults[kind] = self.faults.get(kind, 0) + 1
        if kind == "cut":
            proxy.cut_all()
        elif kind == "hold":
            proxy.hold()
            time.sleep(3)
            proxy.release(cut=self._random.random() < 0.5)
        elif kind == "freeze a broker":
            cluster.suspend()
            time.sleep(3)
            cluster.resume()
        else:
            cluster.stop_broker()
            cluster.start_broker()

    def _await_near(self) -> None:
        """All that the source had now has to come soon."""
        for topic in TOPICS:
            wanted = ends(self._stage.source, topic)
            deadline = time.monotonic() + _BEHIND_S
            while not all(self._link.mirror_ends(topic).get(p, -1) >= end for p, end in wanted.items()):
                if time.monotonic() > deadline:
                    self.findings.append(f"{topic} is behind after {_BEHIND_S} s: {self._link.describe(topic)}")
                    break
                time.sleep(0.5)

    def _look(self, pid: int, minute: float) -> None:
        now = self._kmirror.runner_pid("soak")
        if now != pid:
            raise RuntimeError(f"the runner {pid} has ended, {now} runs\n{self._link.log()}")
        runtime = self._kmirror.runtime("soak")
        memory = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in memory.splitlines() if ":" in line)
        rows: list[dict[str, Any]] = self._kmirror.json("mirror", "list", "--link", "soak")
        broken = [row["mirror_topic_name"] for row in rows if row["mirror_status"] != "ACTIVE"]
        self.findings += [f"{topic} is not ACTIVE at minute {minute:.0f}" for topic in broken]
        self.samples.append(
            Sample(
                minute=round(minute, 2),
                rss_mb=int(fields["VmRSS"].split()[0]) / 1024,
                descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
                threads=int(fields["Threads"]),
                log_kb=sum(path.stat().st_size for path in runtime.glob("kmirror.log*")) / 1024,
                status_kb=(runtime / "status.json").stat().st_size / 1024,
                lag=sum(row["mirror_lag"] for row in rows),
                records=sum(sum(self._link.mirror_ends(topic).values()) for topic in TOPICS),
            )
        )
        print(self.samples[-1], flush=True)

    def _report(self) -> None:
        write_report(self._folder, self)


FLAT = {"rss_mb": (0.15, 8.0), "descriptors": (0.0, 4.0), "threads": (0.0, 2.0), "status_kb": (0.2, 4.0)}
"""How much more the last quarter may have than the second: a part of it, and so much beside."""


def _not_flat(samples: list[Sample]) -> list[str]:
    """The first quarter is for filling buffers. A log is bounded by its own rotation."""
    quarter = len(samples) // 4
    if quarter < 2:
        return []
    found = []
    for name, (part, beside) in FLAT.items():
        early, late = (
            statistics.median(getattr(sample, name) for sample in samples[at : at + quarter])
            for at in (quarter, len(samples) - quarter)
        )
        if late > early * (1 + part) + beside:
            found.append(f"{name} grows: {early:.1f} in the second quarter, {late:.1f} in the last")
    return found


def write_report(folder: Path, soak: Soak) -> None:
    """report.md, report.json, and a plot of each reading."""
    data = {
        "faults": soak.faults,
        "findings": soak.findings,
        "compared": soak.compared,
        "samples": [asdict(s) for s in soak.samples],
    }
    (folder / "report.json").write_text(json.dumps(data, indent=1) + "\n")
    lines = [
        "# Soak",
        "",
        f"`make soak SOAK='{' '.join(sys.argv[1:])}'`: {soak.samples[-1].minute if soak.samples else 0:.0f} minutes.",
        "",
        f"Faults: {', '.join(f'{kind} {times}' for kind, times in sorted(soak.faults.items())) or 'none'}.",
        f"Records at the mirrors: {soak.samples[-1].records if soak.samples else 0:,}.",
        f"Compared by the oracle in the end: {soak.compared:,}.",
        "",
        *([f"- {finding}" for finding in soak.findings] or ["Nothing was found."]),
        "",
    ]
    minutes = [sample.minute for sample in soak.samples]
    for name in ("rss_mb", "descriptors", "threads", "log_kb", "status_kb", "lag", "records"):
        values = [float(getattr(sample, name)) for sample in soak.samples]
        (folder / f"{name}.svg").write_text(svg(name, minutes, values))
        lines.append(f"![{name}]({name}.svg)")
    (folder / "report.md").write_text("\n".join(lines) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak SOAK=...", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="for the report")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kmirror-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[processes.SESSION_VARIABLE] = uuid.uuid4().hex
    directory = Path(tempfile.mkdtemp(prefix="kmirror-stage-"))
    try:
        with Stage(directory) as stage:
            soak = Soak(stage, folder, options.hours * 60, random.Random(options.seed))
            try:
                soak.run()
            finally:
                soak._kmirror.stop_all()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print((folder / "report.md").read_text())
    print(f"report: {folder}")
    return 1 if soak.findings else 0


if __name__ == "__main__":
    sys.exit(main())
