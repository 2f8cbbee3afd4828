"""The other direction: names, configurations, and what a topic must change to become a mirror."""

from hypothesis import given
from hypothesis import strategies as st

from kmirror.admin.adoption import adoption_configs
from kmirror.admin.cluster import Origin, TopicConfig
from kmirror.ops.reverse_link import reverse_name, reversed_configs

NAMES = st.text("abc-", min_size=1, max_size=12) | st.sampled_from(["east-west", "east-west-reverse", "-reverse"])


@given(NAMES)
def test_the_reverse_of_the_reverse_is_the_link(name: str) -> None:
    other = reverse_name(name)
    assert other not in {"", name}
    assert reverse_name(other) == name or name.endswith("-reverse")


def test_the_reverse_of_a_reverse_link_is_what_it_was_made_from() -> None:
    assert reverse_name("east-west") == "east-west-reverse"
    assert reverse_name("east-west-reverse") == "east-west"


CONFIGS = {
    "bootstrap.servers": "east:9092",
    "destination.bootstrap.servers": "west:9092",
    "destination.security.protocol": "PLAINTEXT",
    "metadata.max.age.ms": "500",
    "consumer.offset.sync.enable": "true",
    "link.mode": "DESTINATION",
}


def test_clusters_are_swapped_and_all_else_stays() -> None:
    swapped = reversed_configs(CONFIGS)
    assert swapped == {
        "bootstrap.servers": "west:9092",
        "destination.bootstrap.servers": "east:9092",
        "security.protocol": "PLAINTEXT",
        "metadata.max.age.ms": "500",
        "consumer.offset.sync.enable": "true",
        "link.mode": "DESTINATION",
    }
    assert reversed_configs(swapped) == CONFIGS


def test_what_names_and_chooses_mirrors_does_not_turn_round() -> None:
    one_way = {
        "cluster.link.prefix": "east-",
        "cluster.link.paused": "true",
        "auto.create.mirror.topics.enable": "true",
        "auto.create.mirror.topics.filters": "{}",
        "mirror.start.offset.spec": "latest",
        "metrics.address": "9404",
    }
    assert reversed_configs(CONFIGS | one_way) == reversed_configs(CONFIGS)


def configs(**values: str) -> dict[str, TopicConfig]:
    kafka = {
        "cleanup.policy": "delete",
        "compression.type": "producer",
        "max.message.bytes": "1048588",
        "message.timestamp.after.max.ms": "3600000",
        "message.timestamp.before.max.ms": str(2**63 - 1),
        "message.timestamp.type": "CreateTime",
        "retention.ms": "604800000",
    }
    given_ = {name.replace("_", "."): value for name, value in values.items()}
    return {
        name: TopicConfig(given_.get(name, value), Origin.TOPIC if name in given_ else Origin.KAFKA)
        for name, value in kafka.items()
    }


def test_an_adopted_topic_keeps_its_retention_and_gets_what_a_mirror_needs() -> None:
    source = configs(retention_ms="1000", compression_type="lz4", message_timestamp_type="LogAppendTime")
    own = configs(retention_ms="-1", compression_type="lz4", message_timestamp_type="LogAppendTime")
    plan = adoption_configs(source, own)
    assert plan.configs == {
        "compression.type": "producer",
        "message.timestamp.after.max.ms": str(2**63 - 1),
        "message.timestamp.type": "CreateTime",
    }
    assert plan.held_back["compression.type"] == "lz4"
    assert plan.held_back["message.timestamp.type"] == "LogAppendTime"
    assert plan.held_back["message.timestamp.after.max.ms"] == ""


def test_what_a_source_has_by_default_is_set_where_the_adopted_topic_has_it_otherwise() -> None:
    plan = adoption_configs(configs(), configs(cleanup_policy="compact", max_message_bytes="10"))
    assert plan.configs["cleanup.policy"] == "delete"
    assert plan.configs["max.message.bytes"] == "1048588"
