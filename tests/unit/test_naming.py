"""Names of mirrors on links with a prefix and without."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.model.naming import NamingError, is_internal, source_of

NAME = st.text("abe-", min_size=1, max_size=6)


@given(st.text("e-", max_size=3), NAME)
def test_the_prefix_and_the_source_are_the_name(prefix, source):
    assert source_of(prefix, prefix + source, None) == source
    assert source_of(prefix, prefix + source, source) == source


def test_without_a_prefix_a_mirror_may_have_any_name():
    assert source_of("", "orders-copy", "orders") == "orders"


@pytest.mark.parametrize(
    ("topic", "source", "suggested"),
    [("orders", None, "e-orders"), ("e-", None, "e-e-"), ("orders", "orders", "e-orders"), ("e-x", "y", "e-y")],
)
def test_with_one_it_may_not(topic, source, suggested):
    with pytest.raises(NamingError) as e:
        source_of("e-", topic, source)
    assert e.value.suggested == suggested


def test_internal_topics():
    names = ("__consumer_offsets", "_confluent-metrics", "_schemas", "orders")
    assert [is_internal(name) for name in names] == [True, True, False, False]
