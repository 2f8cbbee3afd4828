"""Links as they are recorded, for tests that need no cluster."""

from kmirror.model.link import GapFill, Link
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.model.status import LinkState, LinkStatus, MirrorStatus, PartitionState, PartitionStatus
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home

NOBODY = "127.0.0.1:1"
"""An address at which nothing listens: connections are refused at once."""


def a_mirror(topic="orders", state=MirrorState.ACTIVE, partitions=2, **more) -> Mirror:
    return Mirror(topic, f"src-{topic}", "source-id", "destination-id", partitions, state, 1111, **more)


def a_link(name="east-west", *mirrors: Mirror, source=NOBODY, destination=NOBODY) -> Link:
    configs = {"bootstrap.servers": source, "destination.bootstrap.servers": destination, "link.mode": "DESTINATION"}
    by_topic = {m.topic: m for m in mirrors}
    return Link(name, f"id-of-{name}", "cluster-e", "cluster-w", configs, GapFill.MARKERS, 1000, by_topic)


def store(home: Home, *links: Link) -> LinkStore:
    kept = LinkStore(home)
    kept.change(lambda known: known.update({link.name: link for link in links}))
    return kept


def a_partition(number: int, log_end: int, source_end: int, **more) -> PartitionStatus:
    return PartitionStatus(
        number, PartitionState.COPYING, log_end, source_end, lag_ms=more.pop("lag_ms", 0), fetched_ms=2000, **more
    )


def a_status(link: str, pid: int, updated_ms: int, *mirrors: MirrorStatus, **more) -> LinkStatus:
    by_topic = {m.topic: m for m in mirrors}
    state = more.pop("state", LinkState.ACTIVE)
    return LinkStatus(
        link, pid, started_ms=updated_ms - 9000, updated_ms=updated_ms, state=state, mirrors=by_topic, **more
    )
