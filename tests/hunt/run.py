"""One run: fresh topics and mirrors, a schedule, healing, catching up, and the judge."""

import json
import shutil
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import asdict, dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from hunt.faults import Faults, Runners
from hunt.judge import judge
from hunt.schedule import TRAFFIC_S, Fault, Kind, Schedule, Shape
from hunt.stage import Stage
from hunt.traffic import SourceTraffic, make_topic
from kmirror.model.failures import Failure
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.ops.mirror_create import create_mirrors
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles
from support import logs
from support.kmirror_cli import Kmirror
from support.logs import Isolation
from support.mirrors import admin, ends, set_topic_config
from support.traffic import DAY_MS
from support.wait import eventually

LINK = "hunt"
CATCH_UP_S = 75.0
RESTING = {"min.compaction.lag.ms": str(DAY_MS)}
"""Of compacted mirrors, which keep it: only the source's cleaner is at work, so that the judge knows what is right."""


@dataclass
class Result:
    seed: int
    seconds: float = 0.0
    mirrors: int = 0
    records: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    stopped: int = 0
    failed: list[str] = field(default_factory=list)
    """Mirrors that are FAILED where the schedule makes that right."""
    differences: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    """Unexpected failures: FAILED without a reason, runners that ended, mirrors that stay behind."""
    trouble: str = ""
    """The hunter itself, or its clusters, could not do what they had to."""
    notes: list[str] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        return bool(self.differences or self.findings)

    @property
    def good(self) -> bool:
        return not self.found and not self.trouble


def run(stage: Stage, schedule: Schedule, folder: Path) -> Result:
    """Keeps `folder` where something is wrong."""
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "schedule.json").write_text(json.dumps(asdict(schedule), indent=1))
    log_ends = {path: path.stat().st_size for cluster in stage.clusters.values() for path in cluster.logs()}
    result = Result(schedule.seed)
    one = _Run(stage, schedule, folder, result)
    try:
        one.act()
    except Exception:
        result.trouble = traceback.format_exc()
    finally:
        one.clean()
    result.seconds = round(time.monotonic() - started, 1)
    (folder / "result.json").write_text(json.dumps(asdict(result), indent=1))
    if result.good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        for path, end in log_ends.items():
            with path.open("rb") as log:
                log.seek(end)
                (folder / f"{path.parent.parent.name}-{path.parent.name}.log").write_bytes(log.read())
    return result


class _Run:
    def __init__(self, stage: Stage, schedule: Schedule, folder: Path, result: Result) -> None:
        self.stage = stage
        self.schedule = schedule
        self.result = result
        mark = f"{int(time.time() * 1000) % 10**9}"
        self.names = [f"h{schedule.seed}-{mark}-{n}-{plan.shape}" for n, plan in enumerate(schedule.topics)]
        self.kmirror = Kmirror(folder / "home")
        self.runners = Runners(self.kmirror, LINK, folder, workers=schedule.workers)
        self.traffic = SourceTraffic(stage.source, schedule, self.names)
        self.faults = Faults(stage, self.runners, self._verb)
        self.verbs: list[tuple[Fault, subprocess.Popen[str]]] = []
        self.store = LinkStore(Home(self.kmirror.home, self.kmirror.home / "run"))
        self.stopped_at: dict[str, dict[int, int]] = {}

    def act(self) -> None:
        for step in (
            *(self._set_up, self.traffic.start, self._hurt, self.faults.heal, self.traffic.settle),
            *(self._finish_verbs, self._await_copies, self._judge),
        ):
            began = time.monotonic()
            step()
            self.result.faults = dict(self.faults.done)
            name = step.__name__.strip("_")
            self.result.phases[name] = round(time.monotonic() - began, 1)
        self.result.notes = self.traffic.notes[:20]

    def _hurt(self) -> None:
        self.faults.run(self.schedule.faults, TRAFFIC_S + 0.5)

    def clean(self) -> None:
        """The stage as it was. Broken runs may have left anything behind."""
        try:
            for cluster in self.stage.clusters.values():
                cluster.heal()
            for _, process in self.verbs:
                if process.poll() is None:
                    process.kill()
                process.communicate()
            self.runners.end()
            self.result.findings += self.runners.findings
            for cluster in self.stage.clusters.values():
                self._delete_topics(admin(cluster))
        except Exception:
            self.result.trouble += traceback.format_exc()

    def _delete_topics(self, client: AdminClient) -> None:
        """As good as it goes: a topic that stays is in nobody's way."""
        for name, deleted in client.delete_topics(self.names).items():
            try:
                deleted.result(30)
            except (KafkaException, FutureTimeout) as error:
                self.result.notes.append(f"{name} stays: {error!r}")

    def _set_up(self) -> None:
        plans = list(zip(self.names, self.schedule.topics, strict=True))
        pool = ThreadPoolExecutor(len(plans))
        made = [pool.submit(make_topic, self.stage.source, *pair, self.stage.brokers) for pair in plans]
        configs = {
            "metadata.max.age.ms": 500,
            "request.timeout.ms": 5000,
            "gap.fill.mode": self.schedule.gap_fill_mode,
            "gap.fill.max": self.schedule.gap_fill_max,
            "replica.fetch.max.bytes": self.schedule.fetch_bytes,
        }
        self.kmirror.run(
            *("link", "create", LINK),
            *("--source-bootstrap-server", self.stage.source.proxied_servers),
            *("--destination-bootstrap-server", self.stage.destination.proxied_servers),
            *("--config", ",".join(f"{key}={value}" for key, value in configs.items())),
        )
        for one in made:
            one.result()
        home = Home(self.kmirror.home, self.kmirror.home / "run")
        factor = min(3, self.stage.brokers)
        compacted = {name for name, plan in plans if plan.shape is Shape.COMPACTED}
        for names, own in ((compacted, RESTING), (set(self.names) - compacted, {})):
            created = create_mirrors(
                home, LINK, dict.fromkeys(names), replication_factor=factor, configs=own, start=False
            )
            faults = [outcome.error for outcome in created.outcomes if outcome.error]
            if faults:
                raise faults[0]
        pool.shutdown()
        for name, plan in plans:
            if plan.shape is Shape.COMPACTED:
                set_topic_config(self.stage.source, name, "min.compaction.lag.ms", "0")
        self.runners.start()
        eventually(lambda: self.kmirror.runner_pid(LINK), 20, "the runner has its lock")
        self.result.mirrors = len(self.names)

    # --- verbs

    def _verb(self, fault: Fault) -> None:
        command = [sys.executable, "-m", "kmirror", "mirror", str(fault.kind), self.names[fault.mirror]]
        self.verbs.append(
            (
                fault,
                subprocess.Popen(
                    [*command, "--link", LINK, "--timeout", "90s", "-o", "json"],
                    env=self.kmirror.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                ),
            )
        )

    def _finish_verbs(self) -> None:
        """A verb that met a dead cluster is simply said again."""
        for fault, process in self.verbs:
            name = self.names[fault.mirror]
            said, wrong = process.communicate(timeout=100)
            if "Traceback" in wrong:
                self.result.findings.append(f"{fault.kind} of {name}: {wrong}")
            if process.returncode != 0:
                again = self.kmirror.run(
                    *("mirror", str(fault.kind), name, "--link", LINK, "--timeout", "60s", "-o", "json"),
                    check=False,
                    timeout=90,
                )
                said, wrong, code = again.stdout, again.stderr, again.returncode
                if code != 0 and self._mirror(name).state is not MirrorState.FAILED:
                    self.result.findings.append(f"{fault.kind} of {name}, all healed, exits with {code}: {said}{wrong}")
                    continue
            mirror = self._mirror(name)
            if mirror.state is MirrorState.STOPPED:
                self.result.stopped += 1
                self.stopped_at[name] = ends(self.stage.destination, name)
                if fault.kind is Kind.PROMOTE:
                    self._check_targets(name, said)

    def _check_targets(self, name: str, said: str) -> None:
        for row in json.loads(said):
            target, end = row["target_offset"], self.stopped_at[name].get(row["partition"], 0)
            if target is not None and end < target:
                self.result.differences.append(f"{name}[{row['partition']}] promoted at {end}, before {target}")

    def _mirror(self, name: str) -> Mirror:
        return self.store.get(LINK).mirrors[name]

    # --- the end

    def _await_copies(self) -> None:
        deadline = time.monotonic() + CATCH_UP_S
        for name in self.names:
            pair = [logs.Topic(c.bootstrap_servers, name, deadline + 20) for c in self.stage.clusters.values()]
            left = max(1.0, deadline - time.monotonic())
            try:
                eventually(lambda name=name, pair=pair: self._is_there(name, *pair), left, interval=0.15)
            except AssertionError:
                shown = self.kmirror.run("mirror", "describe", name, "--link", LINK, check=False).stdout
                bounds = [topic.bounds() for topic in pair]
                self.result.findings.append(f"{name} does not catch up: {bounds}; {shown}")

    def _is_there(self, name: str, source: logs.Topic, destination: logs.Topic) -> bool:
        self.runners.start()  # the one that stayed may have given the link up to one that was ended since
        return self._is_over(name) or _equal_ends(source, destination)

    def _is_over(self, name: str) -> bool:
        return self._mirror(name).state in (MirrorState.FAILED, MirrorState.STOPPED)

    def _judge(self) -> None:
        gaps = None if self.runners.wiped or self.runners.seconds else self._gaps()
        for number, (name, plan) in enumerate(zip(self.names, self.schedule.topics, strict=True)):
            mirror = self._mirror(name)
            behind = mirror.state is not MirrorState.ACTIVE
            if mirror.state is MirrorState.FAILED:
                self._failed(plan.shape, mirror)
            found = judge(
                self.stage.source, self.stage.destination, name, plan.shape, self.traffic.journals[number],
                behind=behind, upto=_overrun_at(mirror), gaps=gaps,
            )  # fmt: skip
            self.result.records += found.records
            self.result.differences += [f"{name}: {difference}" for difference in found.differences]
            if name in self.stopped_at and (now := ends(self.stage.destination, name)) != self.stopped_at[name]:
                self.result.differences.append(f"{name}: stopped at {self.stopped_at[name]}, and yet grown to {now}")
        for kmirror, _ in self.runners.seconds:
            self._look_at_second(kmirror)

    def _look_at_second(self, kmirror: Kmirror) -> None:
        link = LinkStore(Home(kmirror.home, kmirror.home / "run")).get(LINK)
        for name, mirror in link.mirrors.items():
            if mirror.state is MirrorState.FAILED and self._mirror(name).state is not MirrorState.FAILED:
                shape = self.schedule.topics[self.names.index(name)].shape
                self._failed(shape, mirror)

    def _gaps(self) -> list:
        return RunFiles(Home(self.kmirror.home, self.kmirror.home / "run"), LINK).read_gaps()

    def _failed(self, shape: Shape, mirror: Mirror) -> None:
        error = mirror.error
        told = f"{mirror.topic}: {error}"
        code = error.code if error else ""
        overrun = code == Failure.RETENTION_OVERRUN and shape is Shape.DELETED and self.schedule.gap_fill_max < 1000
        late = code == Failure.MARKER_OVERRUN and self.schedule.late_markers
        (self.result.failed if overrun or late else self.result.findings).append(told)


def _overrun_at(mirror: Mirror) -> dict[int, int]:
    error = mirror.error
    if error is None or error.code != Failure.MARKER_OVERRUN or error.partition is None or error.offset is None:
        return {}
    return {error.partition: error.offset}


def _equal_ends(source: logs.Topic, destination: logs.Topic) -> bool:
    here, there = (
        {p: bounds.end[Isolation.UNCOMMITTED] for p, bounds in t.bounds().items()} for t in (source, destination)
    )
    return here == there
