"""Which mirrors are made by themselves, and which never."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kmirror.model.filters import FilterType, NameFilter, NameFilters, PatternType
from kmirror.model.states import MirrorState
from kmirror.tasks.auto_create_plan import mirrored_back, plan_mirrors_of
from support.recorded import a_link, a_mirror

EVERY = NameFilters((NameFilter("*", PatternType.LITERAL, FilterType.INCLUDE),))
TOPIC = st.text("ab_-", min_size=1, max_size=3)


def prefixed(prefix, *mirrors):
    link = a_link("east-west", *mirrors)
    return replace(link, configs={**link.configs, "cluster.link.prefix": prefix})


def test_new_topics_get_a_mirror():
    plan = plan_mirrors_of(prefixed("e-"), EVERY, {"orders", "__consumer_offsets", "_confluent-x"}, {"orders"}, ())

    assert (plan.wanted, plan.refused, plan.chosen) == ({"e-orders": "orders"}, (), 1)


def test_what_the_filters_leave_out():
    filters = NameFilters((*EVERY.filters, NameFilter("b", PatternType.PREFIXED, FilterType.EXCLUDE)))
    assert plan_mirrors_of(prefixed(""), filters, {"a", "b", "bc"}, (), ()).wanted == {"a": "a"}
    assert plan_mirrors_of(prefixed(""), NameFilters(), {"a"}, (), ()).wanted == {}


def test_a_topic_that_was_ever_mirrored_is_left_alone():
    ended = replace(a_mirror("orders", MirrorState.STOPPED), source_topic="orders")
    renamed = replace(a_mirror("copy", MirrorState.FAILED), source_topic="payments")

    plan = plan_mirrors_of(prefixed("", ended, renamed), EVERY, {"orders", "payments"}, {"copy"}, ())

    assert (plan.wanted, plan.refused) == ({}, ())


def test_conflicts_are_named():
    plan = plan_mirrors_of(prefixed("e-"), EVERY, {"orders", "x" * 249}, {"e-orders"}, ())

    assert plan.wanted == {}
    assert [r.code for r in plan.refused] == ["TOPIC_EXISTS_ERROR", "INVALID_TOPIC"]
    assert '"orders"' in plan.refused[0].message
    assert '"e-orders" exists' in plan.refused[0].message


def test_mirrors_of_the_other_way_are_not_mirrored_back():
    link = prefixed("")
    mirrors = {m.topic: m for m in (a_mirror("a"), a_mirror("b", MirrorState.STOPPED))}
    ids = {"source_cluster_id": link.destination_cluster_id, "destination_cluster_id": link.source_cluster_id}
    other = replace(a_link("west-east"), mirrors=mirrors, **ids)

    back = mirrored_back([link, other], link)

    assert back == {"a"}
    assert plan_mirrors_of(link, EVERY, {"a", "b", "c"}, (), back).wanted == {"b": "b", "c": "c"}


@given(st.sets(TOPIC), st.sets(TOPIC), st.sets(TOPIC), st.sampled_from(["", "a", "_"]))
def test_nothing_that_exists_is_touched_and_nothing_is_forgotten(source, destination, known, prefix):
    link = prefixed(prefix, *(replace(a_mirror(prefix + t), source_topic=t) for t in known))

    plan = plan_mirrors_of(link, EVERY, source, destination, ())

    assert plan.wanted.keys().isdisjoint(destination)
    assert plan.wanted.keys().isdisjoint(link.mirrors)
    assert all(name == prefix + topic for name, topic in plan.wanted.items())
    external = {t for t in source if not t.startswith(("__", "_confluent"))}
    assert len(external - known) == len(plan.wanted) + len(plan.refused)
