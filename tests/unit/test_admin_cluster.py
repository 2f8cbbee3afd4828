"""How the control plane asks again: a client that was refused has to learn first who leads now."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from kmirror.admin.cluster import Answers, ClusterAdmin
from kmirror.errors import AuthorizationFailed, ClusterError, KmirrorError, NotFound, NotReached, Unreachable
from kmirror.model.access import Access
from kmirror.model.rights import ANY, Need

ORDERS = Need("TOPIC", "READ", "orders")


class StaleClient:
    """Is refused by what it knows until it is asked to describe things anew; `knows_after` such questions do."""

    def __init__(self, knows_after: int, says: int = KafkaError._TIMED_OUT) -> None:
        self._says = says
        self.described: list[list[str]] = []
        self.asked = 0
        self._knows_after = knows_after

    def describe_topics(self, topics: TopicCollection, *, request_timeout: float) -> dict[str, "Future[None]"]:
        assert 0 < request_timeout <= 10
        self.described.append(topics.topic_names)
        return {name: answered(KafkaException(KafkaError(self._says))) for name in topics.topic_names}

    def describe_cluster(self, *, request_timeout: float) -> "Future[None]":
        assert 0 < request_timeout <= 10
        self.described.append([])
        return answered(None)

    def ask(self, code: int = KafkaError.FENCED_LEADER_EPOCH) -> int:
        self.asked += 1
        if len(self.described) < self._knows_after:
            raise KafkaException(KafkaError(code))
        return 7


def answered(failure: Exception | None) -> "Future[None]":
    future: Future[None] = Future()
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)
    return future


@pytest.fixture
def of(monkeypatch: pytest.MonkeyPatch) -> Callable[[StaleClient], ClusterAdmin]:
    def make(client: StaleClient, timeout_s: float = 10) -> ClusterAdmin:
        admin = ClusterAdmin(Access("127.0.0.1:1"), "source", timeout_s=timeout_s)
        monkeypatch.setattr(admin._kept, "client", client)
        return admin

    monkeypatch.setattr("kmirror.admin.cluster._PAUSE_S", 0.0)
    return make


def test_leaders_of_the_topic_are_learned_before_each_new_try(of: Callable[[StaleClient], ClusterAdmin]) -> None:
    client = StaleClient(knows_after=2)
    assert of(client).call("read it", lambda _left_s: client.ask(), ORDERS) == 7
    assert (client.asked, client.described) == (3, [["orders"], ["orders"]])


def test_all_topics_are_learned_where_it_is_for_several(of: Callable[[StaleClient], ClusterAdmin]) -> None:
    client = StaleClient(knows_after=1)
    call = of(client).call
    assert call("read it", lambda _left_s: client.ask(), Need("TOPIC", "READ", ANY), ["orders", "bills"]) == 7
    assert client.described == [["orders", "bills"]]


def test_brokers_are_learned_where_no_topic_is_meant(of: Callable[[StaleClient], ClusterAdmin]) -> None:
    client = StaleClient(knows_after=1)
    call = of(client).call
    assert call("alter it", lambda _left_s: client.ask(KafkaError.NOT_CONTROLLER), Need("CLUSTER", "ALTER")) == 7
    assert client.described == [[]]


def test_what_does_not_pass_is_told_at_once(of: Callable[[StaleClient], ClusterAdmin]) -> None:
    client = StaleClient(knows_after=1)
    with pytest.raises(ClusterError, match="says POLICY_VIOLATION"):
        of(client).call("alter it", lambda _left_s: client.ask(KafkaError.POLICY_VIOLATION), ORDERS)
    assert (client.asked, client.described) == (1, [])


def test_topic_whose_partitions_have_no_leader_for_a_moment_is_not_taken_for_an_unknown_one(
    of: Callable[[StaleClient], ClusterAdmin],
) -> None:
    client = StaleClient(knows_after=2)
    assert of(client).call("read it", lambda _left_s: client.ask(KafkaError._NOENT), ORDERS) == 7


def test_topic_without_leaders_is_told_as_that_in_the_end(of: Callable[..., ClusterAdmin]) -> None:
    client = StaleClient(knows_after=1 << 40)
    with pytest.raises(NotReached, match="cannot read it: its partitions have no leader in the source cluster"):
        of(client, timeout_s=0.1).call("read it", lambda _left_s: client.ask(KafkaError._NOENT), ORDERS)


def test_topic_that_is_unknown_is_told_after_one_look(of: Callable[[StaleClient], ClusterAdmin]) -> None:
    client = StaleClient(knows_after=3, says=KafkaError.UNKNOWN_TOPIC_OR_PART)
    admin = of(client)
    with pytest.raises(NotFound):
        admin.call("read it", lambda _left_s: client.ask(KafkaError._NOENT), ORDERS)
    assert (client.asked, client.described) == (1, [["orders"]])
    found = admin.each(["orders"], "read", lambda *_: {"orders": lambda: client.ask(KafkaError._NOENT)}, "READ")
    assert isinstance(found["orders"], NotFound)
    assert (client.asked, client.described) == (2, [["orders"]] * 2)


def test_of_several_topics_the_refused_ones_are_learned_and_asked_again(
    of: Callable[[StaleClient], ClusterAdmin],
) -> None:
    client = StaleClient(knows_after=1)
    rounds: list[Sequence[str]] = []

    def ask(_client: AdminClient, topics: Sequence[str], _left_s: float) -> Answers[int]:
        rounds.append(topics)
        return {topic: (lambda: 1) if topic == "well" else client.ask for topic in topics}

    found: dict[str, int | KmirrorError] = of(client).each(["orders", "well", "bills"], "read", ask, "READ")
    assert found == {"orders": 7, "well": 1, "bills": 7}
    assert rounds == [["orders", "well", "bills"], ["orders", "bills"]]
    assert client.described == [["orders", "bills"]]


def test_client_that_has_no_answer_is_replaced_once_and_outlives_what_others_still_ask_it() -> None:
    admin = ClusterAdmin(Access("127.0.0.1:1"), "source", timeout_s=10)
    first = admin.client

    def ask(_left_s: float) -> None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    with pytest.raises(Unreachable):
        admin.call("read it", ask, ORDERS)
    second = admin.client
    assert second is not first
    admin.renew(first)  # of somebody who asked at the same time
    assert admin.client is second
    silent: dict[str, Callable[[], None]] = {"orders": lambda: ask(0), "bills": lambda: ask(0)}
    found = admin.each(list(silent), "read", lambda *_: silent, "READ")
    assert all(isinstance(error, Unreachable) for error in found.values())
    assert admin.client not in {first, second}
    assert [client for _, client in admin._kept._former] == [first, second]


def test_client_that_was_refused_is_kept() -> None:
    admin = ClusterAdmin(Access("127.0.0.1:1"), "source")
    first = admin.client

    def ask(_left_s: float) -> None:
        raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))

    with pytest.raises(AuthorizationFailed):
        admin.call("read it", ask, ORDERS)
    assert admin.client is first
