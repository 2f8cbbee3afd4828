"""`kmirror doctor`, the two clusters of a link: reachable, of the right kind, and willing to take the records."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Final

from kmirror.admin.checkup import TopicState, cluster_rights, topic_states
from kmirror.admin.cluster import ClusterAdmin
from kmirror.errors import KmirrorError
from kmirror.model.checkup import Finding, fail, ok, warn
from kmirror.model.each import split
from kmirror.model.link import GapFill, Link
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.wire.checkup import BrokerAnswer, ClusterAnswer, ask_cluster
from kmirror.wire.probe import probe_gap_fill

_SKEW_MS: Final = 2000
_OVER: Final = frozenset({MirrorState.STOPPED, MirrorState.FAILED})
_SOURCE_RIGHTS: Final = frozenset({"DESCRIBE", "READ", "DESCRIBE_CONFIGS"})
_MIRROR_RIGHTS: Final = frozenset({"DESCRIBE", "READ", "WRITE", "ALTER", "DELETE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"})
"""READ: the tail check; ALTER: partitions that are added; DELETE: log starts; the rest as their names say."""
_SIZE: Final = "max.message.bytes"


def check_clusters(link: Link) -> Iterator[Finding]:
    reached = {}
    for side, access, known in (
        ("source", link.source, link.source_cluster_id),
        ("destination", link.destination, link.destination_cluster_id),
    ):
        answer = ask_cluster(access, side)
        yield from _reached(side, answer, known)
        reached[side] = bool(answer.cluster_id)
        if answer.cluster_id:
            yield _clock(side, answer)
    live = [mirror for mirror in link.mirrors.values() if mirror.state not in _OVER]
    source: dict[str, TopicState] = {}
    if reached["source"]:
        names = list(dict.fromkeys(mirror.source_topic for mirror in live))
        source = yield from _topics(link, "source", names, _SOURCE_RIGHTS)
    if reached["destination"]:
        yield from _may_at_destination(link)
        mirrors = yield from _topics(link, "destination", [mirror.topic for mirror in live], _MIRROR_RIGHTS)
        yield from check_limits(live, source, mirrors)


def _reached(side: str, answer: ClusterAnswer, known_id: str) -> Iterator[Finding]:
    for given in answer.bootstrap:
        if given.fault:
            rest = any(not other.fault for other in answer.bootstrap)
            found = warn if rest else fail
            yield found(side, given.address, f"bootstrap server: {given.fault}", "start it, or mend its address")
        else:
            yield ok(side, given.address, "bootstrap server: answers")
    if answer.cluster_id and known_id and answer.cluster_id != known_id:
        told = f"is cluster {answer.cluster_id}, and the link was made with {known_id}"
        yield fail(side, "cluster id", told, "mend the bootstrap servers: nothing is read or written there")
    elif answer.cluster_id:
        yield ok(side, "cluster id", answer.cluster_id)
    elif any(not given.fault for given in answer.bootstrap):
        yield fail(side, "cluster id", answer.clock_fault or "is not told", "is that a Kafka broker?")
    for broker in answer.brokers:
        yield _broker(side, broker)


def _broker(side: str, broker: BrokerAnswer) -> Finding:
    name = f"broker {broker.broker}"
    if broker.fault:
        action = f"let this machine reach {broker.address} (advertised.listeners, firewall)"
        return fail(side, name, f"advertises {broker.address}: {broker.fault}", action)
    if broker.missing:
        told = f"does not speak {', '.join(broker.missing)} as kmirror does"
        return fail(side, name, told, "take Apache Kafka 3.0 or later there")
    return ok(side, name, f"{broker.address} answers, and speaks all that is needed")


def _clock(side: str, answer: ClusterAnswer) -> Finding:
    if answer.skew_ms is None:
        told = f"can't be known without writing: {answer.clock_fault}"
        return warn(side, "clock", told, "see that NTP runs on all machines: lags in time depend on it")
    ahead = f"{abs(answer.skew_ms)} ms {'ahead of' if answer.skew_ms > 0 else 'behind'} this machine's"
    told = f"the controller's is {ahead}, give or take {answer.uncertain_ms} ms"
    if abs(answer.skew_ms) - answer.uncertain_ms > _SKEW_MS:
        return warn(side, "clock", told, "let NTP set the clocks: lags in time are wrong by as much")
    return ok(side, "clock", told)


def _may_at_destination(link: Link) -> Iterator[Finding]:
    admin = ClusterAdmin(link.destination, "destination")
    try:
        rights = cluster_rights(admin)
        ways = probe_gap_fill(link.destination, link.transactional_id)
    except KmirrorError as e:
        yield fail("rights", "destination cluster", e.message, e.hint or "grant DESCRIBE on the cluster")
        return
    if rights is None:
        yield warn("rights", "destination cluster", "are not told", "see docs/running.md for the rights that it takes")
    elif "CREATE" not in rights:
        yield warn("rights", "destination cluster", "CREATE is not granted", "grant it, to create mirrors")
    else:
        yield ok("rights", "destination cluster", "topics may be created")
    if link.gap_fill in ways:
        yield ok("rights", "gaps", f"offsets without a record may be filled by {link.gap_fill}")
    elif not ways:
        action = "grant ALTER on the cluster, or WRITE on the transactional ids that begin with kmirror."
        yield fail("rights", "gaps", "offsets without a record can't be filled: such a mirror will fail", action)
    else:
        other = ", ".join(sorted(ways))
        told = f"the link fills gaps by {link.gap_fill}, and may now do it only by {other}"
        action = "grant ALTER on the cluster" if link.gap_fill is GapFill.MARKERS else "make the link anew"
        yield fail("rights", "gaps", told, action)


def _topics(
    link: Link, side: str, names: Sequence[str], needed: frozenset[str]
) -> Generator[Finding, None, dict[str, TopicState]]:
    """What may be done with each topic; returns how those stand that are there."""
    if not names:
        return {}
    access = link.source if side == "source" else link.destination
    states, errors = split(topic_states(ClusterAdmin(access, side), names))
    for name, error in errors.items():
        yield fail(side, f"topic {name}", error.message, error.hint or "see whether it is there, and may be described")
    untold = [name for name, state in states.items() if state.rights is None]
    lacking = {name: needed - state.rights for name, state in states.items() if state.rights is not None}
    for name, missing in lacking.items():
        if missing:
            yield fail("rights", f"{side} topic {name}", f"not granted: {', '.join(sorted(missing))}", "grant them")
    if untold:
        yield warn("rights", f"{side} topics", f"are not told of {len(untold)} topics", "see that they are granted")
    allowed = sum(not missing for missing in lacking.values())
    if allowed:
        yield ok("rights", f"{side} topics", f"all that is needed is granted on {allowed} of {len(names)}")
    for name, state in states.items():
        if state.leaderless:
            told = f"partitions {_list(state.leaderless)} have no leader"
            yield fail(side, f"topic {name}", told, "start the brokers that hold their replicas")
    return states


def check_limits(
    mirrors: Sequence[Mirror], source: Mapping[str, TopicState], destination: Mapping[str, TopicState]
) -> Iterator[Finding]:
    """A mirror has to take every batch of its source, and the brokers have to take what is produced with acks=all."""
    well = 0
    for mirror in mirrors:
        ours, theirs = destination.get(mirror.topic), source.get(mirror.source_topic)
        if ours is None:
            continue  # told already
        found = list(_limits(mirror, ours, theirs))
        well += not found
        yield from found
    if well:
        yield ok("limits", "mirror topics", f"{well} of {len(mirrors)} take whatever their source holds")


def _limits(mirror: Mirror, ours: TopicState, theirs: TopicState | None) -> Iterator[Finding]:
    subject = f"topic {mirror.topic}"
    size = int(ours.configs.get(_SIZE, "0"))
    wanted = int(theirs.configs.get(_SIZE, "0")) if theirs else 0
    if size < wanted:
        told = f"{_SIZE} is {size} at the destination, {wanted} at the source: larger batches are refused"
        yield fail("limits", subject, told, f"set {_SIZE}={wanted} on it at the destination")
    if ours.min_isr > ours.replicas:
        told = f"min.insync.replicas is {ours.min_isr}, and it has {ours.replicas} replicas: nothing can be written"
        yield fail("limits", subject, told, f"set min.insync.replicas={ours.replicas} on it at the destination")
    elif ours.under_min_isr:
        told = f"partitions {_list(ours.under_min_isr)} have fewer replicas in sync than min.insync.replicas"
        yield fail("limits", subject, told, "start the brokers that hold the other replicas")


def _list(partitions: Sequence[int]) -> str:
    more = f" and {len(partitions) - 10} more" if len(partitions) > 10 else ""
    return ", ".join(map(str, partitions[:10])) + more
