"""Which configs a mirror topic gets, and what its topic gets back at the end."""

import pytest

from kmirror.admin.cluster import Origin, TopicConfig
from kmirror.admin.mirror_configs import ALWAYS, OVERRIDDEN, mirror_configs, still_different
from kmirror.admin.mirror_topic import check_replication
from kmirror.errors import UsageError

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
