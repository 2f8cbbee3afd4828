"""One broker of the destination that takes nothing, or little, does not hold up the others."""

from kmirror.engine.slow_brokers import SlowBrokers

ROOM = 1000


def look(slow: SlowBrokers, now_s: float, *, brokers: int = 3, **waiting: int) -> set[int]:
    """`waiting`: `n1=500` for 500 bytes that wait for broker 1. The nodes that are slow then."""
    by_node = {int(name[1:]): size for name, size in waiting.items()}
    before = slow.nodes
    changed = slow.look(by_node, ROOM, brokers=brokers, now_s=now_s)
    assert changed == before ^ slow.nodes
    return set(slow.nodes)


def test_much_that_waits_for_a_moment_is_not_slow() -> None:
    slow = SlowBrokers()
    assert look(slow, 0.0, n1=900) == set()
    assert look(slow, 0.29, n1=900) == set()
    assert look(slow, 0.3, n1=100) == set()
    assert look(slow, 0.31, n1=900) == set(), "the time begins anew"


def test_it_is_slow_until_little_waits() -> None:
    slow = SlowBrokers()
    look(slow, 0.0, n1=501, n2=500)
    assert look(slow, 0.3, n1=501, n2=500) == {1}
    assert look(slow, 5.0, n1=251) == {1}
    assert look(slow, 5.1, n1=250) == set()
    assert look(slow, 9.0, n1=501) == set()


def test_nothing_waits_any_more_when_its_partitions_are_closed() -> None:
    slow = SlowBrokers()
    look(slow, 0.0, n1=600)
    look(slow, 1.0, n1=600)
    assert look(slow, 1.1) == set()


def test_the_only_broker_holds_up_nobody() -> None:
    slow = SlowBrokers()
    look(slow, 0.0, n1=900, brokers=1)
    assert look(slow, 9.0, n1=900, brokers=1) == set()
    assert look(slow, 9.1, n1=900, brokers=2) == {1}
