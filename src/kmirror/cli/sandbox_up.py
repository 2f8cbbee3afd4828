"""What `kmirror sandbox up` does: both clusters at the same time, and orders if they are wanted, until Ctrl-C."""

import tempfile
import time
from contextlib import ExitStack
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

TOPIC: Final = "orders"
PARTITIONS: Final = 4
_LOOK_S: Final = 0.5  # how often it is looked whether both still live


def stay_up(east_port: int, west_port: int, orders_per_s: int) -> None:
    """Returns after Ctrl-C; raises SandboxError where a cluster cannot start, or dies."""
    console = Console(highlight=False)
    interrupts = Interrupts()
    with interrupts.heard(), ExitStack() as stack:
        try:
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="kmirror-", ignore_cleanup_errors=True))
            )
            east, west = _start(console, stack, folder, (east_port, west_port))
            if orders_per_s:
                _begin_orders(stack, east, orders_per_s)
                _say(console, f'{orders_per_s:,} orders a second are written to the topic "{TOPIC}" in east.')
            _say(console, "Ready. Ctrl-C stops and removes both.")
            while east.pids and west.pids:
                time.sleep(_LOOK_S)
            dead = west if east.pids else east
            raise SandboxError(f'the broker of cluster "{dead.name}" has ended by itself')
        except KeyboardInterrupt:
            _say(console, "Stopping both clusters ...")
        finally:
            interrupts.no_more()


def _start(console: Console, stack: ExitStack, folder: Path, ports: tuple[int, int]) -> list[KafkaCluster]:
    runtime = kafka_runtime(say=lambda line: _say(console, line))
    names = ("east", "west")
    both = [KafkaCluster(n, folder / n, runtime, ports=[port]) for n, port in zip(names, ports, strict=True)]
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
    for cluster, port in zip(both, ports, strict=True):
        _say(console, f"{cluster.name}: localhost:{port}")
    return both


def _begin_orders(stack: ExitStack, east: KafkaCluster, per_second: int) -> None:
    admin = ClusterAdmin(Access(east.bootstrap_servers), "source")
    admin.create_topic(TOPIC, PARTITIONS, 1, {})
    admin.await_topic(TOPIC)
    stack.enter_context(OrderTraffic(east.bootstrap_servers, TOPIC, per_second))


def _say(console: Console, line: str) -> None:
    console.print(Text(line))
