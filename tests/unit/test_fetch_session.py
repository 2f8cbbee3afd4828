"""The client's side of a fetch session, against a model of the broker's (FetchManager, FetchSession of Kafka)."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kmirror.wire import fetch_session
from kmirror.wire.errors import (
    FETCH_SESSION_ID_NOT_FOUND,
    FETCH_SESSION_TOPIC_ID_ERROR,
    INVALID_FETCH_SESSION_EPOCH,
    UNKNOWN_TOPIC_ID,
)
from kmirror.wire.fetch import FetchPartition
from kmirror.wire.fetch_session import FetchSession, SessionRequest

Place = tuple[str, int]
PLACES = st.tuples(st.sampled_from("ab"), st.integers(0, 2))


def place(p: FetchPartition) -> Place:
    return p.topic, p.partition


def item(key: Place, offset: int = 0, most: int = 100) -> FetchPartition:
    return FetchPartition(key[0], key[0].encode() * 16, key[1], offset, most)


@dataclass
class Broker:
    """As FetchManager.newContext, and the answer: (error, session id, what is fetched by this request)."""

    sessions: dict[int, tuple[int, dict[Place, FetchPartition]]] = field(default_factory=dict)
    gives: bool = True
    made: int = 100

    def take(self, request: SessionRequest) -> tuple[int, int, dict[Place, FetchPartition]]:
        session_id, epoch = request.session
        if epoch in {0, -1}:
            self.sessions.pop(session_id, None)
            asked = {place(p): p for p in request.partitions}
            if epoch == -1 or not self.gives or not asked:
                return 0, 0, asked
            self.made += 1
            self.sessions[self.made] = (1, asked)
            return 0, self.made, asked
        if session_id not in self.sessions:
            return FETCH_SESSION_ID_NOT_FOUND, 0, {}
        expected, known = self.sessions[session_id]
        if epoch != expected:
            return INVALID_FETCH_SESSION_EPOCH, 0, {}
        known.update({place(p): p for p in request.partitions})
        for p in request.forgotten:
            assert known.pop(place(p)), "what is forgotten was known"
        if not known:
            del self.sessions[session_id]
            return 0, 0, {}
        self.sessions[session_id] = (1 if expected == 2**31 - 1 else expected + 1, known)
        return 0, session_id, known


class Session(RuleBasedStateMachine):
    """Whatever happens, a request that is answered fetches exactly what is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = Broker()
        self.session = FetchSession()
        self.wanted: dict[Place, FetchPartition] = {}

    @rule(key=PLACES, offset=st.integers(0, 3), most=st.integers(1, 2))
    def want(self, key: Place, offset: int, most: int) -> None:
        self.wanted[key] = item(key, offset, most)
        self.session.want(key, self.wanted[key])

    @rule(key=PLACES)
    def drop(self, key: Place) -> None:
        self.wanted.pop(key, None)
        self.session.drop(key)

    @precondition(lambda self: self.wanted)
    @rule()
    def fetch(self) -> None:
        for tries in range(3):
            request = self.session.next_request()
            error, session_id, fetched = self.broker.take(request)
            again = self.session.answered(error, session_id)
            if not error:
                assert fetched == self.wanted
                return
            assert again, "the broker's faults are of sessions alone"
            assert tries == 0, "a full request has no session that could be unknown"
        raise AssertionError

    @precondition(lambda self: self.wanted)
    @rule(arrived=st.booleans())
    def fetch_and_lose_the_answer(self, *, arrived: bool) -> None:
        request = self.session.next_request()
        if arrived:
            self.broker.take(request)
        self.session.lost()

    @rule()
    def evict(self) -> None:
        """As the broker's cache does it, or a restart."""
        self.broker.sessions.clear()

    @rule(gives=st.booleans())
    def have_room(self, *, gives: bool) -> None:
        self.broker.gives = gives

    @rule()
    def restart(self) -> None:
        self.session.restart()

    @rule()
    def throttle(self) -> None:
        """The epoch of a session moves on with an empty answer; a full request gets no session of it."""
        if not self.wanted:
            return
        request = self.session.next_request()
        error, session_id, _ = self.broker.take(request)
        if request.is_full:
            self.broker.sessions.pop(session_id, None)
        self.session.answered(error, 0 if request.is_full else session_id)

    @rule()
    def end(self) -> None:
        request = self.session.final_request()
        if request:
            assert self.broker.take(request) == (0, 0, {})
        assert self.session.final_request() is None

    @invariant()
    def one_session_at_most(self) -> None:
        """But for those whose beginning was never answered: these the broker's cache drops in time."""
        assert sum(epoch > 1 for epoch, _ in self.broker.sessions.values()) <= 1


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def begun(*keys: Place) -> tuple[FetchSession, Broker]:
    session, broker = FetchSession(), Broker()
    for key in keys:
        session.want(key, item(key))
    error, session_id, _ = broker.take(session.next_request())
    assert not session.answered(error, session_id)
    return session, broker


A, B, C = ("a", 0), ("a", 1), ("b", 0)


def test_only_what_changed_is_told() -> None:
    session, _ = begun(A, B, C)
    session.want(B, item(B, 7))
    session.want(C, item(C))  # as it was
    session.drop(A)
    request = session.next_request()
    assert (request.partitions, request.forgotten) == ([item(B, 7)], [item(A)])
    assert request.session == (101, 1)
    assert not session.answered(0, 101)
    quiet = session.next_request()
    assert (quiet.session, list(quiet.partitions), list(quiet.forgotten)) == ((101, 2), [], [])


def test_a_partition_that_goes_and_comes_between_two_requests_is_not_told() -> None:
    session, _ = begun(A, B)
    session.drop(A)
    session.want(A, item(A))
    request = session.next_request()
    assert (list(request.partitions), list(request.forgotten)) == ([], [])


def test_without_a_session_each_request_is_full_and_begins_with_another_partition() -> None:
    session, broker = FetchSession(), Broker(gives=False)
    for key in (A, B, C):
        session.want(key, item(key))
    firsts = set()
    for _ in range(3):
        request = session.next_request()
        assert request.session == (0, 0)
        assert {place(p) for p in request.partitions} == {A, B, C}
        firsts.add(place(request.partitions[0]))
        session.answered(*broker.take(request)[:2])
    assert firsts == {A, B, C}


def test_epochs_begin_again_behind_the_last() -> None:
    session, broker = begun(A)
    session._epoch = 2**31 - 1
    broker.sessions[101] = (2**31 - 1, broker.sessions[101][1])
    for expected in (2**31 - 1, 1, 2):
        request = session.next_request()
        assert request.session == (101, expected)
        assert not session.answered(*broker.take(request)[:2])


@given(st.sampled_from([FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR]))
def test_a_fault_of_the_session_begins_another(error: int) -> None:
    session, _ = begun(A)
    session.next_request()
    assert session.answered(error, 0)
    request = session.next_request()
    assert request.is_full
    assert request.session[0] == (0 if error == FETCH_SESSION_ID_NOT_FOUND else 101)
    assert not session.answered(error, 0), "a full request can't be at odds with a session: told, not asked for ever"


def test_another_fault_is_told_and_ends_the_session_too() -> None:
    session, _ = begun(A)
    session.next_request()
    assert not session.answered(UNKNOWN_TOPIC_ID, 0)
    assert session.next_request().session == (101, fetch_session.INITIAL_EPOCH)


def test_an_answer_of_another_session_is_not_believed() -> None:
    session, _ = begun(A)
    session.next_request()
    assert not session.answered(0, 77)
    assert session.next_request().session == (0, 0)
