"""The restoration of one topic, step by step: begun, saved, made anew. Each is recorded before the next."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from kmirror.admin.adoption import adopt_topic, kept_configs
from kmirror.admin.cluster import ClusterAdmin, Origin, TopicConfig, TopicInfo
from kmirror.admin.mirror_configs import FIXED, mirror_configs
from kmirror.admin.mirror_topic import NewMirrorTopic, check_replication, create_mirror_topics
from kmirror.admin.verify import Reader
from kmirror.engine.alignment import fill_heads
from kmirror.errors import Conflict, KmirrorError, NotReached, StateError
from kmirror.model.each import the_only
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror, Restore
from kmirror.model.saved_records import SavedHeader, SavedRecord
from kmirror.model.states import Event, MirrorState
from kmirror.ops.clock import now_ms
from kmirror.ops.restore_groups import give_back, offsets_to_keep
from kmirror.ops.restore_plan import RestorePlan, refuse_open_transaction
from kmirror.ops.reverse_link import other_direction, record_new, record_started
from kmirror.state.links import LinkStore
from kmirror.state.records_file import RecordsFile, write_records_file

_FENCE: Final = "max.message.bytes"
_QUIET_S: Final = 1.0
PENDING: Final = (MirrorState.PENDING_SETUP_FOR_RESTORE, MirrorState.PENDING_RESTORE)


@dataclass(frozen=True, slots=True)
class Planned:
    """One topic; `plan` is None where its records are saved already, `error` is what keeps it from being restored."""

    topic: str
    source_topic: str = ""
    plan: RestorePlan | None = None
    saved: str = ""
    error: KmirrorError | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """`saved` is the file with the records that only the old source had; "" where there were none."""

    topic: str
    adopted: bool = False
    saved: str = ""
    warnings: tuple[str, ...] = ()
    error: KmirrorError | None = None


class OneRestoration:
    """Carries out the restoration of one topic."""

    def __init__(self, store: LinkStore, link: Link, reverse: str, mirror: Mirror) -> None:
        self._store = store
        self._link = link
        self._reverse = reverse
        self._mirror = mirror
        self._topic = mirror.source_topic
        self._old = ClusterAdmin(link.source, "source")
        self._new = ClusterAdmin(link.destination, "destination")

    def run(self, planned: Planned, directory: Path) -> Restored:
        new = self._recorded()
        if planned.plan is not None:
            if new is None:
                new = self._begin()
            if planned.plan.adopt:
                self._adopt(new, planned.plan)
                return Restored(planned.topic, adopted=True)
            new = self._save(new, planned.plan, directory)
        assert new is not None
        assert new.restore is not None
        return Restored(planned.topic, saved=new.restore.saved, warnings=self._make_anew(new, new.restore))

    def _recorded(self) -> Mirror | None:
        known = self._store.get(self._reverse).mirrors.get(self._topic)
        if known is None or known.state not in PENDING or known.restore is None:
            return None
        ids = (known.source_topic_id, known.restore.topic_id)
        return known if ids == (self._mirror.destination_topic_id, self._mirror.source_topic_id) else None

    def _begin(self) -> Mirror:
        """Remembers of the old topic what its successor gets."""
        found = self._old.topic(self._topic)
        own = self._old.topic_configs(self._topic)
        kept = kept_configs(own, self._new.topic_configs(self._mirror.topic))
        check_replication(kept, found.replication_factor)
        new = replace(
            other_direction(self._mirror, MirrorState.PENDING_SETUP_FOR_RESTORE, found.partitions),
            held_back={_FENCE: own[_FENCE].value if own[_FENCE].origin is Origin.TOPIC else ""},
            restore=Restore(found.topic_id, found.replication_factor, kept),
        )
        record_new(self._store, self._reverse, new)
        return new

    # --- nothing to save

    def _adopt(self, new: Mirror, plan: RestorePlan) -> None:
        held_back = adopt_topic(self._new, self._mirror.topic, self._old, self._topic)
        count = len(plan.cuts)
        ends = refuse_open_transaction(self._old, self._topic, count)
        if ends != tuple(cut.cut_at for cut in plan.cuts):
            raise Conflict(f'topic "{self._topic}" was written to meanwhile', hint="Stop its producers; run it again.")
        starts = self._old.log_starts(self._topic, count)
        assert new.restore
        ready = replace(
            new,
            held_back=held_back,
            chosen=new.restore.configs,
            start_offsets=starts,
            adopted_ends=ends,
            restore=None,
        )
        self._start(ready)

    # --- what only the old source has

    def _save(self, new: Mirror, plan: RestorePlan, directory: Path) -> Mirror:
        """Fences the old topic off, saves what only it has, and records that it may go."""
        assert new.restore
        fence = new.held_back.get(_FENCE) or None
        self._old.alter_topic(self._topic, {_FENCE: "0"})
        try:
            ends = self._settled_ends(len(plan.cuts))
            spans = {cut.partition: (cut.older, range(cut.cut_at, ends[cut.partition])) for cut in plan.cuts}
            saved = self._write(spans, directory)
            self._refuse_change(ends)
            groups = offsets_to_keep(self._old, self._topic, [cut.cut_at for cut in plan.cuts])
        except BaseException:
            self._old.alter_topic(self._topic, {_FENCE: fence})
            raise
        restore = replace(new.restore, ends=ends, saved=saved, groups=groups)

        def edit(found: Mirror) -> Mirror:
            return replace(found.moved(Event.RESTORE, now_ms()), restore=restore)

        return self._store.change_mirror(self._reverse, self._topic, edit)

    def _settled_ends(self, partitions: int) -> tuple[int, ...]:
        """Where the fenced logs end: two readings that agree, since each broker learns of a config by itself."""
        deadline = time.monotonic() + 10 * _QUIET_S
        before = None
        while time.monotonic() < deadline:
            ends = self._old.log_ends(self._topic, partitions)
            if ends == before:
                self._refuse_change(ends)
                return refuse_open_transaction(self._old, self._topic, partitions)
            before = ends
            time.sleep(_QUIET_S)
        raise NotReached(f'topic "{self._topic}" is still written to', hint="Stop its producers, then run it again.")

    def _refuse_change(self, ends: tuple[int, ...]) -> None:
        now = self._old.log_ends(self._topic, self._old.topic(self._topic).partitions)
        if now != ends:
            raise Conflict(
                f'topic "{self._topic}" was changed meanwhile: it ends at {list(now)}, not at {list(ends)}',
                hint="Stop its producers, then run it again.",
            )

    def _write(self, spans: Mapping[int, Sequence[range]], directory: Path) -> str:
        """The path of the file, which is read again to its end before it counts; "" where there is nothing to save."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        path = directory.absolute() / f"{self._topic}.{self._link.source_cluster_id}.{stamp}.jsonl"
        header = SavedHeader(
            self._topic, self._link.source_cluster_id, self._link.source_bootstrap, self._link.name, now_ms()
        )
        if not any(span for pair in spans.values() for span in pair):
            return ""
        written = write_records_file(path, header, self._records(spans))
        if RecordsFile(path).check() != written:
            raise StateError(f'"{path}" does not hold what was written to it', hint="Choose another directory.")
        return str(path)

    def _records(self, spans: Mapping[int, Sequence[range]]) -> Iterator[SavedRecord]:
        reader = Reader(self._link.source, self._topic, "read_committed", None)
        try:
            for number, pair in spans.items():
                for span in pair:
                    for offset, shown in reader.read(number, span):
                        yield SavedRecord(
                            self._topic, number, offset, shown.timestamp, shown.key, shown.value, shown.headers
                        )
        finally:
            reader.close()

    # --- the topic anew

    def _make_anew(self, new: Mirror, restore: Restore) -> tuple[str, ...]:
        """Returns warnings."""
        if restore.saved and not Path(restore.saved).exists():
            raise StateError(
                f'the file "{restore.saved}" with the records of topic "{self._topic}" is gone',
                hint="Put it back where it was: the topic is not touched without it.",
            )
        info = self._new.topic(self._mirror.topic)
        if info.topic_id != self._mirror.destination_topic_id:
            raise Conflict(f'topic "{self._mirror.topic}" was made anew at the destination: it is another topic')
        starts = self._new.log_starts(self._mirror.topic, info.partitions)
        self._delete_old(restore, starts)
        configs = self._new.topic_configs(self._mirror.topic)
        plan = mirror_configs(configs, restore.configs)
        wanted = NewMirrorTopic(
            self._topic,
            partitions=info.partitions,
            replication_factor=restore.replication_factor,
            plan=plan,
            source=configs,
            chosen=restore.configs,
            starts={number: start for number, start in enumerate(starts) if start > 0},
        )
        made = the_only(create_mirror_topics(self._old, [wanted], partial(fill_heads, self._link.source)))
        warnings = give_back(self._old, self._topic, restore.groups, info.partitions)
        ready = replace(
            new,
            destination_topic_id=made.topic_id,
            partitions=info.partitions,
            start_offsets=starts,
            chosen=restore.configs,
            held_back=plan.held_back,
            restore=None,
        )
        self._start(ready)
        return warnings

    def _delete_old(self, restore: Restore, starts: Sequence[int]) -> None:
        """The old topic, or one that an earlier call has made and not finished. Raises Conflict for any other."""
        found = self._old.find_topic(self._topic)
        if found is None:
            return
        if found.topic_id == restore.topic_id:
            if self._old.log_ends(self._topic, found.partitions) != restore.ends:
                raise Conflict(
                    f'topic "{self._topic}" was written to after its records were saved in "{restore.saved}"',
                    hint="Find out by whom, and save these records yourself: they are in no other place.",
                )
        elif not self._is_half_made(found, starts):
            raise Conflict(
                f'topic "{self._topic}" was created by somebody else after it was deleted',
                hint="Stop the producers (`auto.create.topics.enable`?), and delete it if it holds nothing of worth.",
            )
        self._old.delete_topic(self._topic)

    def _is_half_made(self, found: TopicInfo, starts: Sequence[int]) -> bool:
        """What a call of ours has made that was killed: the configs of a mirror, and nothing but filler."""
        configs = self._old.topic_configs(self._topic)
        ours = all(configs[key] == TopicConfig(value, Origin.TOPIC) for key, value in FIXED.items())
        ends = self._old.log_ends(self._topic, found.partitions)
        return ours and len(ends) == len(starts) and all(end <= start for end, start in zip(ends, starts, strict=True))

    def _start(self, ready: Mirror) -> None:
        record_started(self._store, (self._link.name, self._mirror.topic), self._reverse, ready, Event.START)
