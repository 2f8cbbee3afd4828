"""Filters: which names they choose, by the rule in its plainest words, and what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.model.filters import (
    ACL_FILTERS,
    GROUP_FILTERS,
    TOPIC_FILTERS,
    AclFilter,
    FilterType,
    NameFilter,
    NameFilters,
    PatternType,
    parse_acl_filters,
    parse_filters,
)

NAME = st.text("ab-*", min_size=1, max_size=3)
FILTER = st.builds(NameFilter, NAME, st.sampled_from(PatternType), st.sampled_from(FilterType))


def rendered(filters, kind=TOPIC_FILTERS):
    return json.dumps({kind: [{"name": f.name, "patternType": f.pattern, "filterType": f.kind} for f in filters]})


@given(st.lists(FILTER, max_size=4).map(tuple), NAME)
def test_what_is_chosen(filters, name):
    def fits(f):
        if f.pattern is PatternType.LITERAL and f.name == "*":
            return True
        return name == f.name if f.pattern is PatternType.LITERAL else name[: len(f.name)] == f.name

    included = any(fits(f) for f in filters if f.kind is FilterType.INCLUDE)
    excluded = any(fits(f) for f in filters if f.kind is FilterType.EXCLUDE)
    assert NameFilters(filters).chooses(name) == (included and not excluded)


@given(st.lists(FILTER, max_size=4).map(tuple), st.randoms(), NAME)
def test_the_order_does_not_matter(filters, random, name):
    other = list(filters)
    random.shuffle(other)
    assert NameFilters(filters).chooses(name) == NameFilters(tuple(other)).chooses(name)


@given(st.lists(FILTER, max_size=4).map(tuple), st.sampled_from([TOPIC_FILTERS, GROUP_FILTERS]))
def test_json_is_read_back(filters, kind):
    assert parse_filters(rendered(filters, kind), kind) == NameFilters(filters)


def test_nothing_is_chosen_without_filters():
    assert not parse_filters("", TOPIC_FILTERS).chooses("orders")


def test_words_in_any_case():
    found = parse_filters(
        '{"topicFilters":[{"name":"a","patternType":"prefixed","filterType":"include"}]}', TOPIC_FILTERS
    )
    assert found.chooses("ab")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON"),
        ("[]", 'is not {"topicFilters": [...]}'),
        ('{"groupFilters":[]}', 'is not {"topicFilters": [...]}'),
        ('{"topicFilters":{}}', 'is not {"topicFilters": [...]}'),
        ('{"topicFilters":["a"]}', "which is no filter"),
        ('{"topicFilters":[{"patternType":"LITERAL","filterType":"INCLUDE"}]}', 'without a "name"'),
        ('{"topicFilters":[{"name":"","patternType":"LITERAL","filterType":"INCLUDE"}]}', 'without a "name"'),
        ('{"topicFilters":[{"name":"a","patternType":"REGEX","filterType":"INCLUDE"}]}', "not LITERAL or PREFIXED"),
        ('{"topicFilters":[{"name":"a","patternType":"LITERAL"}]}', "not INCLUDE or EXCLUDE"),
        ('{"topicFilters":[{"name":"a","patternTyp":"LITERAL","filterType":"INCLUDE"}]}', 'unknown "patternTyp"'),
    ],
)
def test_what_is_no_filter(text, told):
    with pytest.raises(ValueError) as e:
        parse_filters(text, TOPIC_FILTERS)
    assert told in str(e.value)


def acl(resource, access):
    return json.dumps({ACL_FILTERS: [{"resourceFilter": resource, "accessFilter": access}]})


def test_acl_filters():
    text = acl(
        {"resourceType": "transactionalId", "patternType": "prefixed", "name": "pay-"},
        {"operation": "describe_configs", "permissionType": "allow", "principal": "User:a", "host": "*"},
    )

    assert parse_acl_filters(text) == (
        AclFilter("TRANSACTIONAL_ID", "PREFIXED", "pay-", "User:a", "*", "DESCRIBE_CONFIGS", "ALLOW"),
    )
    assert parse_acl_filters(acl({"resourceType": "any"}, {"operation": "DescribeConfigs"})) == (
        AclFilter(operation="DESCRIBE_CONFIGS"),
    )
    assert parse_acl_filters(acl({}, {})) == (AclFilter(),)


@pytest.mark.parametrize(
    ("resource", "access", "told"),
    [
        ({"resourceType": "table"}, {}, 'the unknown "resourceType" "table"'),
        ({}, {"operation": "look"}, 'the unknown "operation" "look"'),
        ({"nam": "x"}, {}, 'unknown "nam"'),
        ({"name": 1}, {}, "is no text"),
        ([], {}, "is no pair"),
    ],
)
def test_what_is_no_acl_filter(resource, access, told):
    with pytest.raises(ValueError) as e:
        parse_acl_filters(acl(resource, access))
    assert told in str(e.value)
