"""What consumer groups have committed: asked of their coordinators, and told them. Blocks, in an event loop of its own.

librdkafka's admin client does both, but where a coordinator has just moved, or its topic is just being made, asking it
ends the whole process by a segmentation fault (librdkafka issue 5040): a broker that restarts must not end a runner.
And its Python binding commits a string with a zero byte behind it, which no longer is the string of the source.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, TypeVar

from kafka.protocol.consumer import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from kafka.protocol.metadata import FindCoordinatorRequest, FindCoordinatorResponse

from kmirror.errors import ClusterError
from kmirror.model.access import Access
from kmirror.model.group_offsets import Committed, PerGroup, Place
from kmirror.wire.answers import reading
from kmirror.wire.connection import Connection
from kmirror.wire.dial import connect, connect_any
from kmirror.wire.errors import NONE, BrokerError, ConnectionLost, check

_AT_ONCE: Final = 100
_PAUSE_S: Final = 0.2
_GROUP: Final = 0  # a kind of coordinator; 1 are those of transactions
_MANY_KEYS: Final = 4  # FindCoordinator takes several from this version on (KIP-699)
_MANY_GROUPS: Final = 8  # so does OffsetFetch (KIP-709)
_LATEST_FIND = 4
_LATEST_FETCH = 8
_MOVING: Final = frozenset({14, 15, 16})
"""COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR."""

T = TypeVar("T")
Address = tuple[str, int]
Offsets = dict[Place, Committed]
Faults = dict[str, ClusterError]
Ask = Callable[[Connection, Sequence[str], dict[str, T], Faults], Awaitable[None]]
"""Asks a coordinator for its groups; what it finds and what goes wrong is noted by group."""


def committed_offsets(access: Access, groups: Sequence[str], timeout_s: float) -> PerGroup[Offsets]:
    """All that these groups have committed; the groups that are refused, each with the reason.

    While coordinators move they are asked again, each hundred of groups for `timeout_s` at most. Raises ConnectionLost
    where no bootstrap server answers.
    """
    return asyncio.run(_each(access, groups, timeout_s, _fetch))


def commit_offsets(
    access: Access, offsets: Mapping[str, Mapping[Place, Committed]], timeout_s: float
) -> PerGroup[None]:
    """Commits as no member of the group, which is refused where it has members; else as committed_offsets.

    No leader epoch goes along: that of another cluster means nothing here (KIP-320).
    """

    async def commit(coordinator: Connection, groups: Sequence[str], found: dict[str, None], faults: Faults) -> None:
        each = await asyncio.gather(*(_commit(coordinator, group, offsets[group]) for group in groups))
        for group, error_code in zip(groups, each, strict=True):
            if error_code == NONE:
                found[group] = None
            else:
                faults[group] = BrokerError(error_code, f'commit offsets of group "{group}"')

    return asyncio.run(_each(access, list(offsets), timeout_s, commit))


async def _each(access: Access, groups: Sequence[str], timeout_s: float, ask: Ask[T]) -> PerGroup[T]:
    out: PerGroup[T] = PerGroup()
    with ExitStack() as stack:
        broker = await connect_any(access)
        stack.callback(broker.close)
        known: dict[Address, Connection] = {}
        stack.callback(_close, known)
        for first in range(0, len(groups), _AT_ONCE):
            waiting: Sequence[str] = groups[first : first + _AT_ONCE]
            deadline = time.monotonic() + timeout_s
            while waiting:
                faults = await _try(access, broker, known, waiting, ask=ask, found=out.found)
                late = time.monotonic() > deadline
                waiting = [group for group, fault in faults.items() if _passes(fault) and not late]
                out.refused.update({group: fault for group, fault in faults.items() if group not in waiting})
                if waiting:
                    await asyncio.sleep(_PAUSE_S)
                    if not broker.alive:
                        broker = await connect_any(access)
                        stack.callback(broker.close)
    return out


def _close(connections: Mapping[Address, Connection]) -> None:
    for connection in connections.values():
        connection.close()


def _passes(fault: ClusterError) -> bool:
    return isinstance(fault, ConnectionLost) or (isinstance(fault, BrokerError) and fault.kafka_code in _MOVING)


async def _try(
    access: Access,
    broker: Connection,
    known: dict[Address, Connection],
    groups: Sequence[str],
    *,
    ask: Ask[T],
    found: dict[str, T],
) -> Faults:
    """Once; returns what went wrong. A group can be in both, where it went wrong for a part of it."""
    faults: Faults = {}
    try:
        coordinators = await _coordinators(broker, groups, faults)
    except ClusterError as e:
        return dict.fromkeys(groups, e)
    for address, theirs in coordinators.items():
        try:
            if address not in known or not known[address].alive:
                known[address] = await connect(access, *address)
            await ask(known[address], theirs, found, faults)
        except ClusterError as e:
            faults.update(dict.fromkeys(theirs, e))
    return faults


async def _coordinators(broker: Connection, groups: Sequence[str], faults: Faults) -> Mapping[Address, list[str]]:
    version = broker.version_of(FindCoordinatorRequest.API_KEY, 1, _LATEST_FIND)
    answers: list[tuple[str, Any]]
    if version >= _MANY_KEYS:
        request = FindCoordinatorRequest(key_type=_GROUP, coordinator_keys=list(groups))
        answer = await broker.call(request, FindCoordinatorResponse, version)
        with reading(broker, "FindCoordinator"):
            answers = [(item.key, item) for item in answer.coordinators]
    else:
        requests = [FindCoordinatorRequest(key=group, key_type=_GROUP) for group in groups]
        each = await asyncio.gather(*(broker.call(r, FindCoordinatorResponse, version) for r in requests))
        answers = list(zip(groups, each, strict=True))
    out: dict[Address, list[str]] = {}
    for group, item in answers:
        if item.error_code == NONE:
            out.setdefault((item.host, item.port), []).append(group)
        else:
            faults[group] = BrokerError(item.error_code, f'find the coordinator of group "{group}"')
    return out


async def _fetch(coordinator: Connection, groups: Sequence[str], found: dict[str, Offsets], faults: Faults) -> None:
    version = coordinator.version_of(OffsetFetchRequest.API_KEY, 2, _LATEST_FETCH)
    answers: list[tuple[str, Any]]
    if version >= _MANY_GROUPS:
        items = [OffsetFetchRequest.OffsetFetchRequestGroup(group_id=group, topics=None) for group in groups]
        answer = await coordinator.call(
            OffsetFetchRequest(groups=items, require_stable=False), OffsetFetchResponse, version
        )
        with reading(coordinator, "OffsetFetch"):
            answers = [(item.group_id, item) for item in answer.groups]
    else:
        requests = [OffsetFetchRequest(group_id=group, topics=None, require_stable=False) for group in groups]
        each = await asyncio.gather(*(coordinator.call(r, OffsetFetchResponse, version) for r in requests))
        answers = list(zip(groups, each, strict=True))
    for group, item in answers:
        try:
            with reading(coordinator, "OffsetFetch"):
                _read(group, item, found)
        except BrokerError as e:
            faults[group] = e


def _read(group: str, item: Any, found: dict[str, Offsets]) -> None:
    """Notes what can be read; raises BrokerError for the whole group or for a partition of it."""
    doing = f'read the committed offsets of group "{group}"'
    check(item.error_code, doing)
    places = [(topic.name, partition) for topic in item.topics or () for partition in topic.partitions]
    found[group] = {
        (topic, p.partition_index): Committed(p.committed_offset, p.metadata or "")
        for topic, p in places
        if p.error_code == NONE and p.committed_offset >= 0
    }
    for _, partition in places:
        check(partition.error_code, doing)


async def _commit(coordinator: Connection, group: str, offsets: Mapping[Place, Committed]) -> int:
    """The first error code of the answer, or 0."""
    kind = OffsetCommitRequest.OffsetCommitRequestTopic
    topics: dict[str, list[Any]] = {}
    for (topic, partition), committed in sorted(offsets.items()):
        item = kind.OffsetCommitRequestPartition(
            partition_index=partition,
            committed_offset=committed.offset,
            committed_leader_epoch=-1,
            committed_metadata=committed.metadata,
        )
        topics.setdefault(topic, []).append(item)
    request = OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=-1,
        member_id="",
        group_instance_id=None,
        retention_time_ms=-1,
        topics=[kind(name=name, partitions=items) for name, items in topics.items()],
    )
    version = coordinator.version_of(OffsetCommitRequest.API_KEY, 2, 8)
    answer = await coordinator.call(request, OffsetCommitResponse, version)
    with reading(coordinator, "OffsetCommit"):
        codes = [p.error_code for topic in answer.topics for p in topic.partitions]
    return next((code for code in codes if code != NONE), NONE)
