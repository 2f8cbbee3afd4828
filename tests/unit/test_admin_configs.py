"""Which configs a mirror topic gets, and what its topic gets back at the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.admin.cluster import Origin, TopicConfig
from kmirror.admin.mirror_configs import OVERRIDDEN, followed_configs, mirror_configs, still_different
from kmirror.admin.mirror_topic import check_replication
from kmirror.errors import UsageError
from kmirror.model.topic_configs import ALWAYS, OPTIONAL

LONGEST = "9223372036854775807"
FIXED = {
    "compression.type": "producer",
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": LONGEST,
    "message.timestamp.after.max.ms": LONGEST,
    "max.message.bytes": "1048588",
}


def kafka(value):
    return TopicConfig(value, Origin.KAFKA)


def broker(value):
    return TopicConfig(value, Origin.BROKER)


def topic(value):
    return TopicConfig(value, Origin.TOPIC)


def test_kafkas_own_defaults_are_not_copied():
    source = {
        "retention.ms": kafka("604800000"),
        "cleanup.policy": kafka("delete"),
        "max.message.bytes": kafka("1048588"),
    }

    plan = mirror_configs(source, {})

    assert plan.configs == FIXED
    assert plan.held_back == dict.fromkeys(FIXED, "")


def test_what_the_topic_or_its_brokers_say_is_copied():
    source = {"retention.ms": topic("5"), "segment.ms": broker("7"), "cleanup.policy": topic("compact")}

    plan = mirror_configs(source, {})

    assert plan.configs == {**FIXED, "retention.ms": "5", "segment.ms": "7", "cleanup.policy": "compact"}


def test_min_insync_replicas_is_copied_from_the_topic_alone():
    assert "min.insync.replicas" not in mirror_configs({"min.insync.replicas": broker("2")}, {}).configs
    assert mirror_configs({"min.insync.replicas": topic("2")}, {}).configs["min.insync.replicas"] == "2"


@pytest.mark.parametrize(
    "key", ["message.format.version", "message.downconversion.enable", "confluent.tier.enable", "remote.storage.enable"]
)
def test_keys_that_are_the_clusters_own_or_gone_from_newer_kafka_stay_behind(key):
    assert mirror_configs({key: topic("x")}, {}).configs == FIXED


def test_what_would_change_records_is_held_back_until_the_end():
    source = {
        "compression.type": topic("zstd"),
        "message.timestamp.type": broker("LogAppendTime"),
        "message.timestamp.after.max.ms": topic("3600000"),
        "max.message.bytes": topic("2000"),
    }

    plan = mirror_configs(source, {})

    assert plan.configs == FIXED
    assert plan.held_back == {
        "compression.type": "zstd",
        "message.timestamp.type": "LogAppendTime",
        "message.timestamp.after.max.ms": "3600000",
        "message.timestamp.before.max.ms": "",
        "max.message.bytes": "2000",
    }


def test_a_larger_message_size_is_the_mirrors_and_stays():
    plan = mirror_configs({"max.message.bytes": topic("9000000")}, {})

    assert plan.configs["max.message.bytes"] == "9000000"
    assert "max.message.bytes" not in plan.held_back


def test_the_size_of_the_brokers_is_kept_even_where_it_is_kafkas_default():
    assert mirror_configs({"max.message.bytes": kafka("1000012")}, {}).configs["max.message.bytes"] == "1048588"


def test_the_users_choice_replaces_what_is_copied():
    plan = mirror_configs({"retention.ms": topic("5")}, {"retention.ms": "6", "local.retention.ms": "1"})

    assert plan.configs == {**FIXED, "retention.ms": "6", "local.retention.ms": "1"}


@pytest.mark.parametrize("key", sorted(ALWAYS | OVERRIDDEN))
def test_what_follows_the_source_is_not_the_users_to_choose(key):
    with pytest.raises(UsageError, match=f'configuration "{key}" cannot be chosen'):
        mirror_configs({}, {key: "x"})


def test_defaults_of_the_destination_that_differ_are_set():
    source = {"retention.ms": kafka("604800000"), "segment.ms": kafka("1"), "min.insync.replicas": kafka("1")}
    mirror = {"retention.ms": broker("3600000"), "segment.ms": kafka("1"), "min.insync.replicas": broker("2")}

    assert still_different(source, mirror, {}) == {"retention.ms": "604800000"}
    assert still_different(source, mirror, {"retention.ms": "3600000"}) == {}
    assert still_different({"compression.type": topic("zstd")}, {"compression.type": topic("producer")}, {}) == {}


def test_more_insync_replicas_than_replicas_are_refused():
    check_replication({"min.insync.replicas": "2"}, 2)
    check_replication({}, 1)
    with pytest.raises(
        UsageError, match=r"min\.insync\.replicas is 3, but the mirror topic would have 2 replicas"
    ) as e:
        check_replication({"min.insync.replicas": "3"}, 2)
    assert "--config min.insync.replicas=2" in e.value.hint


# --- and what it is given as the source changes

MIRROR = {key: topic(value) for key, value in FIXED.items()}
SOURCE = {
    "retention.ms": kafka("604800000"),
    "max.message.bytes": kafka("1048588"),
    "compression.type": kafka("producer"),
}


def test_nothing_is_set_while_nothing_changes():
    plan = followed_configs(SOURCE, {**MIRROR, "retention.ms": kafka("604800000")}, {})

    assert plan.configs == {}
    assert plan.held_back == mirror_configs(SOURCE, {}).held_back


def test_what_the_source_changes_is_set():
    mirror = {**MIRROR, "retention.ms": topic("5"), "cleanup.policy": kafka("delete"), "segment.ms": kafka("7")}
    source = {**SOURCE, "cleanup.policy": topic("compact"), "segment.ms": kafka("7")}

    assert followed_configs(source, mirror, {}).configs == {"cleanup.policy": "compact", "retention.ms": "604800000"}
    chosen = {"retention.ms": "5"}
    assert followed_configs(source, mirror, chosen).configs == {"cleanup.policy": "compact"}
    assert followed_configs(source, mirror, {}, ALWAYS).configs == {"cleanup.policy": "compact"}


def test_what_somebody_did_to_the_mirror_is_put_right():
    mirror = {**MIRROR, "compression.type": topic("gzip"), "message.timestamp.type": topic("LogAppendTime")}

    assert followed_configs(SOURCE, mirror, {}).configs == {
        "compression.type": "producer",
        "message.timestamp.type": "CreateTime",
    }


def test_what_the_mirror_may_not_have_is_held_back_anew():
    source = {**SOURCE, "compression.type": topic("zstd"), "message.timestamp.type": topic("LogAppendTime")}

    plan = followed_configs(source, {**MIRROR, "retention.ms": topic("604800000")}, {})

    assert plan.configs == {}
    assert (plan.held_back["compression.type"], plan.held_back["message.timestamp.type"]) == ("zstd", "LogAppendTime")


def test_a_size_grows_at_once_and_shrinks_at_the_end():
    larger = followed_configs({"max.message.bytes": topic("5000000")}, MIRROR, {})
    assert larger.configs == {"max.message.bytes": "5000000"}
    assert "max.message.bytes" not in larger.held_back

    mirror = {**MIRROR, "max.message.bytes": topic("5000000")}
    smaller = followed_configs({"max.message.bytes": topic("2000")}, mirror, {})
    assert smaller.configs == {}
    assert smaller.held_back["max.message.bytes"] == "2000"
    assert followed_configs({"max.message.bytes": kafka("1048588")}, mirror, {}).held_back["max.message.bytes"] == ""


def test_min_insync_replicas_follow_the_topic_alone():
    mirror = {**MIRROR, "min.insync.replicas": kafka("1")}
    assert followed_configs({"min.insync.replicas": broker("2")}, mirror, {}).configs == {}
    assert followed_configs({"min.insync.replicas": topic("2")}, mirror, {}).configs == {"min.insync.replicas": "2"}


def test_configs_that_an_older_destination_does_not_have_are_left_out():
    mirror = {key: value for key, value in MIRROR.items() if "before" not in key and "after" not in key}
    assert followed_configs({**SOURCE, "segment.ms": topic("1")}, mirror, {}).configs == {}


CONFIGS = st.dictionaries(
    st.sampled_from(sorted((ALWAYS | OPTIONAL) - {"max.message.bytes"})),
    st.builds(TopicConfig, st.sampled_from("123"), st.sampled_from(Origin)),
)


@given(CONFIGS, CONFIGS)
def test_set_once_there_is_nothing_more_to_set(source, mirror):
    first = followed_configs(source, mirror, {})
    again = followed_configs(source, {**mirror, **{k: topic(v) for k, v in first.configs.items()}}, {})
    assert (again.configs, again.held_back) == ({}, first.held_back)
