"""What `kmirror sandbox up` does: both clusters at the same time, and orders if they are wanted, until Ctrl-C."""

import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.plain_clients import OrderTraffic
from kmirror.cli.interrupts import Interrupts
from kmirror.errors import SandboxError
from kmirror.model.access import Access
from kmirror.sandbox import KafkaCluster, kafka_runtime
from kmirror.sandbox.archive import make_archive
from kmirror.sandbox.ports import HOST

TOPIC: Final = "orders"
PARTITIONS: Final = 4
_LOOK_S: Final = 0.5  # how often it is looked whether both still live


@dataclass(frozen=True, slots=True)
class Wanted:
    """`ports` are those of the first brokers of east and west, the others have the next ones."""

    ports: tuple[int, int]
    orders_per_s: int
    brokers: int
    secure: bool


def stay_up(wanted: Wanted) -> None:
    """Returns after Ctrl-C; raises SandboxError where a cluster cannot start, or dies."""
    console = Console(highlight=False)
    interrupts = Interrupts()
    with interrupts.heard(), ExitStack() as stack:
        try:
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="kmirror-", ignore_cleanup_errors=True))
            )
            east, west = _start(console, stack, folder, wanted)
            if wanted.orders_per_s:
                _begin_orders(stack, east, wanted)
                _say(console, f'{wanted.orders_per_s:,} orders a second are written to the topic "{TOPIC}" in east.')
            if wanted.secure:
                _tell_secured(console, folder, east, west)
            _say(console, "Ready. Ctrl-C stops and removes both.")
            # Beside what people do now; when they end before it is made, its processes end with this one.
            threading.Thread(target=make_archive, args=(east.runtime,), name="archive", daemon=True).start()
            while len(east.pids) == len(west.pids) == wanted.brokers:
                time.sleep(_LOOK_S)
            dead = east if len(east.pids) < wanted.brokers else west
            raise SandboxError(f'a broker of cluster "{dead.name}" has ended by itself')
        except KeyboardInterrupt:
            _say(console, "Stopping both clusters ...")
        finally:
            interrupts.no_more()


def _start(console: Console, stack: ExitStack, folder: Path, wanted: Wanted) -> list[KafkaCluster]:
    runtime = kafka_runtime(say=lambda line: _say(console, line))
    kind = _secured_kind() if wanted.secure else KafkaCluster
    both = [
        kind(name, folder / name, runtime, brokers=wanted.brokers, ports=range(port, port + wanted.brokers))
        for name, port in zip(("east", "west"), wanted.ports, strict=True)
    ]
    for cluster in both:
        stack.callback(cluster.stop)
    for cluster in both:
        stack.callback(cluster.terminate)  # these are called first, so that both end at the same time
    _say(console, f"Starting Apache Kafka {runtime.version} twice ...")
    for cluster in both:
        cluster.prepare()
    for cluster in both:
        cluster.launch()
    for cluster in both:
        cluster.wait_ready()
    for cluster in both:
        _say(console, f"{cluster.name}: {cluster.bootstrap_servers.replace(HOST, 'localhost')}")
    return both


def _secured_kind() -> type[KafkaCluster]:
    try:
        from kmirror.sandbox.secured import SecuredCluster
    except ImportError as e:
        raise SandboxError(
            "certificates can't be made: the package cryptography is missing",
            hint='Install it with `pip install "kmirror[sandbox]"`.',
        ) from e
    return SecuredCluster


def _tell_secured(console: Console, folder: Path, *clusters: KafkaCluster) -> None:
    """Writes the files of clients, and says how they are used."""
    from kmirror.sandbox.client_files import write_client_files, write_link_file
    from kmirror.sandbox.secured import SecuredCluster

    east, west = (cluster for cluster in clusters if isinstance(cluster, SecuredCluster))
    for cluster in (east, west):
        _say(console, f"{cluster.name}, SASL_SSL: {cluster.servers('SASL_SSL')}, for clients:")
        for file in write_client_files(cluster, folder):
            _say(console, f"  {file}")
    _say(console, f"A link: kmirror link create east-west --config {write_link_file(east, west, folder)}")


def _begin_orders(stack: ExitStack, east: KafkaCluster, wanted: Wanted) -> None:
    admin = ClusterAdmin(Access(east.bootstrap_servers), "source")
    admin.create_topic(TOPIC, PARTITIONS, min(3, wanted.brokers), {})
    admin.await_topic(TOPIC)
    stack.enter_context(OrderTraffic(east.bootstrap_servers, TOPIC, wanted.orders_per_s))


def _say(console: Console, line: str) -> None:
    console.print(Text(line))
