"""What a run does, as pure data made from its seed: topics, bursts of traffic, faults, and when each of them comes.

The same seed gives the same schedule for ever; what the machine makes of it (which byte a cut meets) is up to chance.
"""

import random
from dataclasses import dataclass, replace
from enum import StrEnum

from support.traffic import CODECS

TRAFFIC_S = 9.0
"""How long traffic and faults go on; then all is healed."""


class Shape(StrEnum):
    PLAIN = "plain"
    TRANSACTIONS = "transactions"
    COMPACTED = "compacted"
    DELETED = "deleted"
    GROWING = "growing"
    APPEND_TIME = "append-time"


class Kind(StrEnum):
    """Faults, and what users do at a bad moment."""

    RUNNER_KILL = "runner kill -9"
    RUNNER_FREEZE = "runner SIGSTOP"
    RUNNER_TERM = "runner SIGTERM"
    RUNTIME_WIPE = "runtime files deleted"
    SECOND_RUNNER = "second runner"
    TAKEOVER = "frozen runner taken over, then thawed"
    BROKER_KILL = "broker kill -9"
    BROKER_FREEZE = "broker SIGSTOP"
    BROKER_STOP = "broker SIGTERM"
    CUT_ALL = "all connections cut"
    DELAY = "bytes delayed"
    BLACK_HOLE = "bytes held, then cut"
    FRAME = "frame"
    PROMOTE = "promote"
    FAILOVER = "failover"


class Cut(StrEnum):
    """What happens to one frame on its way."""

    BEFORE = "cut before it"
    MIDDLE = "cut in it"
    TRUNCATED = "truncated and closed"
    AFTER = "passed, then cut"
    LATE = "cut, and its bytes arrive late"
    TWICE = "duplicated"
    TORN_TWICE = "half of it duplicated"


class Which(StrEnum):
    """The frames that a cut looks for."""

    ANY = "any"
    PRODUCE = "produce"
    MARKERS = "markers"
    FETCH = "fetch"


@dataclass(frozen=True, slots=True)
class TopicPlan:
    shape: Shape
    partitions: int
    grows_to: int


@dataclass(frozen=True, slots=True)
class Burst:
    at_s: float
    topic: int
    writer: int
    """Transactional producers of one topic, which interleave; -1: no transaction."""
    action: str
    """records, begin, commit, abort, delete, grow."""
    partition: int = 0
    count: int = 0
    size: int = 0
    codec: str = "none"
    batch_records: int = 1000
    salt: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    at_s: float
    kind: Kind
    side: str = ""
    """source or destination, where it is about a cluster."""
    node: int = 0
    lasts_s: float = 0.0
    mirror: int = 0
    cut: Cut | None = None
    which: Which = Which.ANY
    answer: bool = False
    """The cut looks for answers, not requests."""
    share: float = 0.5
    """Where in the frame it is cut."""


@dataclass(frozen=True, slots=True)
class Schedule:
    seed: int
    topics: tuple[TopicPlan, ...]
    bursts: tuple[Burst, ...]
    faults: tuple[Fault, ...]
    gap_fill_max: int
    fetch_bytes: int
    gap_fill_mode: str = "auto"
    workers: int = 1

    @property
    def late_markers(self) -> bool:
        """Marker requests may arrive longer after their connection was given up than kmirror waits for them."""
        return any(f.cut is Cut.LATE and f.lasts_s > 0.8 and f.which is not Which.PRODUCE for f in self.faults)


_WEIGHTS = {
    Kind.RUNNER_KILL: 5,
    Kind.RUNNER_FREEZE: 3,
    Kind.RUNNER_TERM: 1,
    Kind.RUNTIME_WIPE: 2,
    Kind.SECOND_RUNNER: 2,
    Kind.TAKEOVER: 2,
    Kind.BROKER_KILL: 1,
    Kind.BROKER_FREEZE: 4,
    Kind.BROKER_STOP: 1,
    Kind.CUT_ALL: 3,
    Kind.DELAY: 3,
    Kind.BLACK_HOLE: 2,
    Kind.FRAME: 14,
    Kind.PROMOTE: 1,
    Kind.FAILOVER: 1,
}


_LARGE = 30_000
_LARGEST = 150_000
"""Of most runs no batch is so large that it waits in a pipe; in the others many are."""
_LARGE_SHARE = 0.4


def make(seed: int, *, topics: int = 5, brokers: int = 1) -> Schedule:
    draw = random.Random(f"kmirror-hunt-{seed}")
    plans = tuple(_topic(draw, number) for number in range(max(4, topics)))
    bursts = [burst for number, plan in enumerate(plans) for burst in _traffic(draw, number, plan)]
    if random.Random(f"kmirror-hunt-large-{seed}").random() < _LARGE_SHARE:
        bursts = [replace(burst, size=_LARGEST) if burst.size == _LARGE else burst for burst in bursts]
    faults = _faults(draw, len(plans), brokers)
    return Schedule(
        seed,
        plans,
        tuple(sorted(bursts, key=lambda burst: burst.at_s)),
        tuple(sorted(faults, key=lambda fault: fault.at_s)),
        draw.choice([5_000_000, 5_000_000, 100]),
        draw.choice([1_048_576, 1_048_576, 40_000]),
        workers=random.Random(f"kmirror-hunt-workers-{seed}").choice([1, 1, 1, 2]),
    )


def _topic(draw: random.Random, number: int) -> TopicPlan:
    # The first ones are always there: plain, transactions, compacted.
    shape = list(Shape)[number] if number < 3 else draw.choice(list(Shape))
    partitions = draw.randint(1, 3)
    return TopicPlan(shape, partitions, partitions + draw.randint(1, 2) if shape is Shape.GROWING else partitions)


def _traffic(draw: random.Random, number: int, plan: TopicPlan) -> list[Burst]:
    out: list[Burst] = []
    at = draw.uniform(0, 0.5)
    pace = draw.choice([0.03, 0.1, 0.3])
    grown_at = draw.uniform(1, TRAFFIC_S - 3)
    open_: dict[int, bool] = {}
    while at < TRAFFIC_S:
        partitions = plan.grows_to if at > grown_at + 1.5 else plan.partitions
        salt = draw.getrandbits(32)
        partition = draw.randrange(partitions)
        if plan.shape is Shape.TRANSACTIONS and draw.random() < 0.8:
            out.append(_transactional(draw, Burst(at, number, -1, "", partition, salt=salt), open_))
        elif plan.shape is Shape.DELETED and draw.random() < 0.08:
            out.append(Burst(at, number, -1, "delete", partition, salt=salt))
        else:
            out.append(_records(draw, Burst(at, number, -1, "", partition, salt=salt)))
        at += draw.expovariate(1 / pace)
    if plan.shape is Shape.GROWING:
        out.append(Burst(grown_at, number, -1, "grow", count=plan.grows_to))
    return out


def _records(draw: random.Random, burst: Burst) -> Burst:
    count, size = draw.choice([(1, 50), (1, 50), (10, 100), (200, 100), (40, 2_000), (5, _LARGE)])
    batch = draw.choice([1, 3, 1000] if count <= 10 else [20, 1000])
    return replace(burst, action="records", count=count, size=size, codec=draw.choice(CODECS), batch_records=batch)


def _transactional(draw: random.Random, burst: Burst, open_: dict[int, bool]) -> Burst:
    writer = draw.randrange(3)
    if not open_.get(writer):
        open_[writer] = True
        return replace(burst, writer=writer, action="begin")
    if draw.random() < 0.45:
        open_[writer] = False
        return replace(burst, writer=writer, action=draw.choice(["commit", "abort"]))
    return _records(draw, replace(burst, writer=writer))


def _faults(draw: random.Random, topics: int, brokers: int) -> list[Fault]:
    # Few sorts in each run, so that some runs dig deep in one place; the rest is the mixture.
    kinds = list(_WEIGHTS)
    chosen = draw.choices(kinds, [_WEIGHTS[kind] for kind in kinds], k=draw.randint(2, 5))
    out = [_fault(draw, draw.choice(chosen), topics, brokers) for _ in range(draw.randint(3, 12))]
    # A broker that dies takes seconds to return: once or twice a run, else the run is only waiting.
    heavy = [fault for fault in out if fault.kind in (Kind.BROKER_KILL, Kind.BROKER_STOP)]
    stops = [fault for fault in out if fault.kind in (Kind.PROMOTE, Kind.FAILOVER)]
    # Who knows nothing of a promote goes on to write: that is no fault of the mirror's.
    others = {Kind.SECOND_RUNNER, Kind.TAKEOVER, Kind.RUNTIME_WIPE}
    alone = others.isdisjoint(fault.kind for fault in out)
    surplus = {id(fault) for fault in [*heavy[2:], *stops[1 if alone else 0 :]]}
    return [fault for fault in out if id(fault) not in surplus]


def _fault(draw: random.Random, kind: Kind, topics: int, brokers: int) -> Fault:
    at = draw.uniform(0.5, TRAFFIC_S)
    side = draw.choice(["source", "destination", "destination"])
    lasts = round(draw.choice([draw.uniform(0.1, 1), draw.uniform(0.5, 4)]), 2)
    cut, which, answer = None, Which.ANY, False
    if kind is Kind.FRAME:
        cut = draw.choice(list(Cut))
        answer = draw.random() < 0.4 and cut is not Cut.LATE
        which = draw.choice(
            [Which.ANY, Which.FETCH] if side == "source" else [Which.ANY, *[Which.PRODUCE] * 2, *[Which.MARKERS] * 3]
        )
        if which is Which.MARKERS and not answer and cut in {Cut.TWICE, Cut.TORN_TWICE}:
            which = Which.PRODUCE  # see proxy.py: marker requests are never doubled
        lasts = round(draw.choice([0.3, 0.7, draw.uniform(1, 4)]), 2)
    return Fault(
        round(at, 2),
        kind,
        side,
        draw.randrange(brokers),
        lasts,
        draw.randrange(topics),
        cut,
        which,
        answer,
        round(draw.random(), 2),
    )
