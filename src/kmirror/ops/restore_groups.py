"""Consumer groups of a topic that is made anew: with the topic go the offsets that they have committed for it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.groups import GroupAdmin
from kmirror.errors import Conflict
from kmirror.model.group_offsets import Committed, Place
from kmirror.model.mirror import GroupOffsets


def refuse_readers(cluster: ClusterAdmin, topic: str) -> None:
    """Raises Conflict where a group with members reads the topic."""
    groups = GroupAdmin(cluster)
    busy = [group for group, has_members in groups.groups(whole=True).items() if has_members]
    found = _committed(groups, busy)
    reading = sorted(group for group, places in found.items() if any(name == topic for name, _ in places))
    if reading:
        raise Conflict(
            f'consumer groups read topic "{topic}" at the source: {", ".join(reading)}',
            hint="Stop them, or let them go on at the destination: the topic is to be deleted.",
        )


def offsets_to_keep(cluster: ClusterAdmin, topic: str, cut_at: Sequence[int]) -> GroupOffsets:
    """By group and partition what to commit once the topic is there again.

    Beyond `cut_at` stand other records than the group has read: it goes on there, with the string that it left beside
    its offset. Raises Conflict as refuse_readers.
    """
    refuse_readers(cluster, topic)
    groups = GroupAdmin(cluster)
    kept: dict[str, dict[int, Committed]] = {}
    for group, found in _committed(groups, groups.groups(whole=True)).items():
        own = {number: committed for (name, number), committed in found.items() if name == topic}
        if own:
            ends = {number: cut_at[number] if number < len(cut_at) else 0 for number in own}
            kept[group] = {n: replace(was, offset=min(was.offset, ends[n])) for n, was in own.items()}
    return kept


def _committed(groups: GroupAdmin, names: Iterable[str]) -> Mapping[str, Mapping[Place, Committed]]:
    """Raises what a group was refused with: one that can't be asked may read the topic too."""
    answers = groups.committed(names)
    for error in answers.refused.values():
        raise error
    return answers.found


def give_back(cluster: ClusterAdmin, topic: str, offsets: GroupOffsets, partitions: int) -> tuple[str, ...]:
    """Commits them; sentences about groups that did not get theirs."""
    wanted: Mapping[str, Mapping[Place, Committed]] = {
        group: {(topic, number): committed for number, committed in own.items() if number < partitions}
        for group, own in offsets.items()
    }
    refused = GroupAdmin(cluster).commit(wanted).refused
    return tuple(f'group "{group}" did not get its offsets back: {error.message}' for group, error in refused.items())
