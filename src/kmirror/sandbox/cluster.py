"""One Kafka cluster: brokers that are controllers too, on ports and in folders that outlive their processes."""

import json
import signal
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from kmirror.errors import SandboxError
from kmirror.sandbox.broker import QUICK_START, Broker
from kmirror.sandbox.ids import new_id
from kmirror.sandbox.ports import HOST, HeldPorts
from kmirror.sandbox.runtime import KafkaRuntime
from kmirror.sandbox.settings import Node, broker_properties

_NONE: Mapping[str, str] = MappingProxyType({})
_POLL_S = 0.05


class KafkaCluster:
    """Real brokers of one version. Broker `i` has node id `i`, its folder is `directory/node-<i>`.

    The same directory again gives the same cluster: its data, its id and, where they are free, its ports.
    `java_options` are those of the brokers: by default they start fast, without them they run fast.
    Start it from a thread that lives as long as the brokers should (see leash).
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        runtime: KafkaRuntime,
        *,
        brokers: int = 1,
        properties: Mapping[str, str] = _NONE,
        ports: Sequence[int] | None = None,
        java_options: Sequence[str] = QUICK_START,
    ) -> None:
        self.name = name
        self.directory = directory.absolute()
        self.runtime = runtime
        self._properties = dict(properties)
        self._held = HeldPorts()
        weakref.finalize(self, self._held.release)
        self._nodes, self._cluster_id = self._identity(brokers, ports)
        self._brokers = [
            Broker(
                f'broker {node.id} of cluster "{name}"',
                node,
                self.directory / f"node-{node.id}",
                runtime,
                java_options,
            )
            for node in self._nodes
        ]
        self.bootstrap_servers = ",".join(f"{HOST}:{node.port}" for node in self._nodes)

    @property
    def pids(self) -> list[int]:
        """Of the brokers that run."""
        return [broker.pid for broker in self._brokers if broker.pid is not None]

    def start(self, timeout: float = 60) -> None:
        """Formats what is new, starts all brokers, returns when each answers and knows all the others."""
        try:
            self.prepare()
            self.launch(timeout)
            self.wait_ready(timeout)
        except BaseException:
            self.stop(timeout=0)
            raise

    def prepare(self) -> None:
        """First part of `start`: writes the brokers' files and starts to format new ones."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._remember()
        for broker in self._brokers:
            properties = self._properties_of(broker.node.id)
            broker.configure(broker_properties(broker.node, self._nodes, broker.data, properties))
            if not broker.formatted:
                broker.begin_format(self._cluster_id, self._format_options())

    def _properties_of(self, node: int) -> Mapping[str, str]:  # noqa: ARG002 - of one node, in clusters of other kinds
        """What goes before the sandbox's own settings."""
        return self._properties

    def _format_options(self) -> Sequence[str]:
        """More words for Kafka's formatter."""
        return ()

    def launch(self, timeout: float = 60) -> None:
        """Second part: starts the broker processes; `wait_ready` is the last."""
        for broker in self._brokers:
            broker.finish_format(timeout)
        self._held.lend()
        for broker in self._brokers:
            broker.launch()

    def wait_ready(self, timeout: float = 60) -> None:
        """Waits until each broker that was started answers and knows all of them."""
        deadline = time.monotonic() + timeout
        started = [broker for broker in self._brokers if broker.started]
        nodes = {broker.node.id for broker in started}
        for broker in started:
            while not nodes <= broker.sees():
                if time.monotonic() > deadline:
                    raise broker.failure(f"was not ready within {timeout:.0f} s")
                time.sleep(_POLL_S)

    def stop(self, timeout: float = 20) -> None:
        """Ends all brokers: SIGTERM, and SIGKILL for those that take longer than `timeout`. Safe to call again."""
        self.terminate()
        deadline = time.monotonic() + timeout
        for broker in self._brokers:
            broker.wait(deadline - time.monotonic())
        self._held.lend()

    def terminate(self) -> None:
        """Asks all brokers to end, without waiting; `stop` waits."""
        for broker in self._brokers:
            broker.signal(signal.SIGTERM)
            broker.signal(signal.SIGCONT)  # a suspended one could not hear it

    def kill(self, broker: int = 0) -> None:
        """SIGKILL: as a machine that loses power, but the disk cache survives."""
        self._brokers[broker].signal(signal.SIGKILL)
        self._brokers[broker].wait(10)

    def suspend(self, broker: int = 0) -> None:
        self._brokers[broker].signal(signal.SIGSTOP)

    def resume(self, broker: int = 0) -> None:
        self._brokers[broker].signal(signal.SIGCONT)

    def start_broker(self, broker: int = 0, timeout: float = 60) -> None:
        """Starts one again, on its port and its data.

        Returns when it answers and is known to the others, but at once when too few run for a quorum.
        """
        self._brokers[broker].launch()
        if 2 * len(self.pids) > len(self._brokers):
            self.wait_ready(timeout)

    def stop_broker(self, broker: int = 0, timeout: float = 20) -> None:
        self._brokers[broker].signal(signal.SIGTERM)
        self._brokers[broker].signal(signal.SIGCONT)
        self._brokers[broker].wait(timeout)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _identity_file(self) -> Path:
        return self.directory / "cluster.json"

    def _identity(self, brokers: int, ports: Sequence[int] | None) -> tuple[list[Node], str]:
        """The nodes and the cluster id: those of the directory where it has them."""
        known = json.loads(self._identity_file.read_text("utf-8")) if self._identity_file.exists() else {}
        old_ports: list[int] = known.get("ports", [])
        if ports is None and len(old_ports) == brokers and all(self._held.hold(port) for port in old_ports):
            ports = old_ports
        elif ports is None:
            ports = self._held.choose(brokers)
        elif len(ports) != brokers:
            raise SandboxError(f'cluster "{self.name}" has {brokers} brokers but {len(ports)} ports')
        else:
            self._hold_given(ports)
        controllers = self._held.choose(brokers)
        nodes = [Node(i, port, controllers[i]) for i, port in enumerate(ports)]
        return nodes, known.get("cluster_id") or new_id()

    def _hold_given(self, ports: Sequence[int]) -> None:
        for port in ports:
            if not self._held.hold(port):
                self._held.release()
                raise SandboxError(f"port {port} is in use", hint="Stop what listens there, or choose another port.")

    def _remember(self) -> None:
        identity = {"cluster_id": self._cluster_id, "ports": [node.port for node in self._nodes]}
        self._identity_file.write_text(json.dumps(identity), "utf-8")
