"""Real clusters for the tests, started once a run, and the proof that nothing of the run is left behind."""

import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from kmirror.sandbox import KafkaCluster, kafka_runtime
from kmirror.sandbox.archive import make_archive
from kmirror.sandbox.ports import HeldPorts
from kmirror.sandbox.secured import LISTENERS, Listener, SecuredCluster
from support import processes
from support.kmirror_cli import Kmirror
from support.proxy import ProxiedCluster
from support.short_lived import OwnCluster, short_lived
from support.warm import WarmStart

CURRENT = "4.3.1"
PREVIOUS = "3.9.2"

SPEEDY = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "log.cleaner.backoff.ms": "1000",
    "log.retention.check.interval.ms": "2000",
    "log.segment.delete.delay.ms": "1000",
    "num.io.threads": "2",
    "num.network.threads": "1",
}
"""Short waits, few internal partitions, and few threads, as each wakes up three times a second even if nobody asks.

Limits such as message.max.bytes stay as Kafka ships them.
"""


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Every process of this run carries a mark; at the end none may live. What does is killed, then told."""
    mark = uuid.uuid4().hex
    os.environ[processes.SESSION_VARIABLE] = mark
    yield
    left = processes.with_environment(processes.SESSION_VARIABLE, mark)
    for process in left:
        process.kill()
    del os.environ[processes.SESSION_VARIABLE]
    if left:
        pytest.fail("left running by the tests:\n" + "\n".join(map(str, left)), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def warm_start(nothing_left_behind: None) -> Iterator[None]:
    with WarmStart() as Kmirror.warm:
        yield
    Kmirror.warm = None


@pytest.fixture(scope="session", autouse=True)
def archived_classes(nothing_left_behind: None) -> None:
    """Made before a hundred brokers start, where it is not there yet. One worker makes it; the others don't wait."""
    make_archive(kafka_runtime(CURRENT))


@pytest.fixture(scope="session")
def east(
    nothing_left_behind: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaCluster]:
    yield from _shared("east", CURRENT, request, tmp_path_factory)


@pytest.fixture(scope="session")
def west(
    nothing_left_behind: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaCluster]:
    yield from _shared("west", CURRENT, request, tmp_path_factory)


@pytest.fixture(scope="session")
def east_39(
    nothing_left_behind: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaCluster]:
    """The last release line with ZooKeeper-era defaults still in the field, as a source."""
    yield from _shared("east-39", PREVIOUS, request, tmp_path_factory)


@pytest.fixture(scope="session")
def guarded_east(
    nothing_left_behind: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredCluster]:
    yield from _secured("guarded-east", request, tmp_path_factory)


@pytest.fixture(scope="session")
def guarded_west(
    nothing_left_behind: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredCluster]:
    yield from _secured("guarded-west", request, tmp_path_factory)


@pytest.fixture(scope="session")
def proxied(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedCluster]:
    """A destination whose links pass through a proxy, for faults on the way. Who suspends the broker resumes it."""
    directory = tmp_path_factory.mktemp("proxied")
    with short_lived(ProxiedCluster("proxied", directory)) as cluster:
        yield cluster
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def module_home(
    nothing_left_behind: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kmirror]:
    """One home for the links of a module: their mirrors don't disturb each other."""
    command = Kmirror(tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2]) / "home")
    yield command
    assert not command.stop_all()


def _secured(
    name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredCluster]:
    """TLS, SASL and ACLs, and beside them a plain listener where the tests may do everything."""
    directory = tmp_path_factory.mktemp(name)
    listeners = {**LISTENERS, "MISNAMED": Listener("SSL", hosts=["elsewhere.example"])}
    listeners["EXPIRED"] = Listener("SSL", expired=True)
    # Sessions by this one mechanism end soon: who uses it has to authenticate anew all the time (KIP-368).
    settings = {**SPEEDY, "listener.name.sasl_ssl.scram-sha-512.connections.max.reauth.ms": "6000"}
    with short_lived(
        SecuredCluster(name, directory, kafka_runtime(CURRENT), properties=settings, listeners=listeners)
    ) as cluster:
        yield cluster
    if not request.session.testsfailed:
        shutil.rmtree(directory, ignore_errors=True)


def _shared(
    name: str, version: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaCluster]:
    directory = tmp_path_factory.mktemp(name)
    with short_lived(KafkaCluster(name, directory, kafka_runtime(version), properties=SPEEDY)) as cluster:
        yield cluster
    if not request.session.testsfailed:  # gigabytes; the logs are wanted after a failure
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def own_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OwnCluster]:
    """Starts clusters that the test may break: `own_cluster(name, version=..., brokers=1, properties={})`."""
    started: list[Path] = []
    with ExitStack() as stack:

        def start(
            name: str, *, version: str = CURRENT, brokers: int = 1, properties: Mapping[str, str] | None = None
        ) -> KafkaCluster:
            directory = tmp_path / "clusters" / name
            started.append(directory)
            settings = {**SPEEDY, **(properties or {})}
            cluster = KafkaCluster(name, directory, kafka_runtime(version), brokers=brokers, properties=settings)
            return stack.enter_context(short_lived(cluster))

        yield start
    if not request.session.testsfailed:
        for directory in started:
            shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def free_ports() -> Iterator[tuple[str, str]]:
    """Two that a sandbox of the command line can be told to use; nobody else is given them meanwhile."""
    held = HeldPorts()
    one, other = held.choose(2)
    held.lend()
    yield str(one), str(other)
    held.release()


@pytest.fixture
def topic_name(request: pytest.FixtureRequest) -> str:
    """Unique in the run, and it says which test it belongs to."""
    return f"{re.sub(r'[^a-zA-Z0-9._-]+', '-', request.node.name)[:80].strip('-')}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def kmirror(tmp_path: Path) -> Iterator[Kmirror]:
    """The command line with a home of its own. After the test nothing of that home runs any more."""
    command = Kmirror(tmp_path / "home")
    yield command
    stubborn = command.stop_all()
    left = command.processes()
    for process in left:
        process.kill()
    assert not stubborn, f"these had to be killed, for SIGTERM did not end them: {stubborn}"
    assert not left, "no runner, and yet running:\n" + "\n".join(map(str, left))
    assert not command.runner_pids()
