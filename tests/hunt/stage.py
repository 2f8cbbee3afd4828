"""Two clusters that many runs use, and a proxy before each broker which only kmirror's connections pass."""

from pathlib import Path
from typing import Self

from confluent_kafka import Producer

from hunt.proxy import HOST, Proxy
from kmirror.sandbox import KafkaCluster, kafka_runtime
from kmirror.sandbox.settings import broker_properties
from support.loop_thread import LoopThread

SPEEDY = {
    "auto.create.topics.enable": "false",
    "log.segment.delete.delay.ms": "500",
    "log.flush.start.offset.checkpoint.interval.ms": "200",
    "log.cleaner.backoff.ms": "500",
    "log.initial.task.delay.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}


class ProxiedCluster(KafkaCluster):
    """Brokers with one more listener, whose advertised address is that of a proxy.

    The tests' own clients take `bootstrap_servers`, the link takes `proxied_servers`.
    """

    def __init__(self, name: str, directory: Path, version: str, brokers: int, loop: LoopThread) -> None:
        super().__init__(name, directory, kafka_runtime(version), brokers=brokers, properties=SPEEDY)
        ports = self._held.choose(2 * brokers)
        self._pairs = [(ports[2 * i], ports[2 * i + 1]) for i in range(brokers)]
        self.proxied_servers = ",".join(f"{HOST}:{front}" for front, _ in self._pairs)
        self.proxies: list[Proxy] = []
        self._loop = loop

    def prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._remember()
        for broker, (front, back) in zip(self._brokers, self._pairs, strict=True):
            properties = broker_properties(broker.node, self._nodes, broker.data, self._properties)
            properties["listeners"] += f",PROXIED://{HOST}:{back}"
            properties["advertised.listeners"] += f",PROXIED://{HOST}:{front}"
            properties["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
            broker.configure(properties)
            broker.begin_format(self._cluster_id)

    def launch(self, timeout: float = 60) -> None:
        super().launch(timeout)
        self.proxies = [Proxy(self._loop, front, back) for front, back in self._pairs]

    def stop(self, timeout: float = 20) -> None:
        for proxy in self.proxies:
            proxy.close()
        self.proxies = []
        super().stop(timeout)

    def relaunch(self, broker: int) -> None:
        """Starts a broker again and does not wait; `heal` does. From the thread that started the cluster."""
        self._brokers[broker].launch()

    def runs(self, broker: int) -> bool:
        return self._brokers[broker].running

    def heal(self, timeout: float = 90) -> None:
        """All brokers run and answer, and the proxies let everything pass."""
        for proxy in self.proxies:
            proxy.heal()
        for number in range(len(self._brokers)):
            self.resume(number)
            self.relaunch(number)
        self.wait_ready(timeout)

    def logs(self) -> list[Path]:
        return [broker.log for broker in self._brokers]


class Stage:
    """`with Stage(directory) as stage:` gives stage.source and stage.destination."""

    def __init__(self, directory: Path, *, brokers: int = 1, version: str = "4.3.1") -> None:
        self.directory = directory
        self.brokers = brokers
        self._loop = LoopThread("proxies")
        self.source = ProxiedCluster("source", directory / "source", version, brokers, self._loop)
        self.destination = ProxiedCluster("destination", directory / "destination", "4.3.1", brokers, self._loop)

    @property
    def clusters(self) -> dict[str, ProxiedCluster]:
        return {"source": self.source, "destination": self.destination}

    def __enter__(self) -> Self:
        self._loop.start()
        try:
            for cluster in self.clusters.values():
                cluster.prepare()
            for cluster in self.clusters.values():
                cluster.launch()
            for cluster in self.clusters.values():
                cluster.wait_ready()
                open_coordinator(cluster.bootstrap_servers)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for cluster in self.clusters.values():
            cluster.stop(timeout=10)
        self._loop.close()


def open_coordinator(bootstrap: str) -> None:
    """The first transactional producer of a cluster has its internal topic made: not in the midst of faults."""
    Producer({"bootstrap.servers": bootstrap, "transactional.id": "first", "log_level": 2}).init_transactions(60)
