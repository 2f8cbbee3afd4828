"""The configurations of a link: which keys there are, what each may hold, and what holds where a key is not given.

Keys are Cluster Linking's where it has them, so that a properties file made for it moves over as it is.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from kmirror.model import setting_checks as check
from kmirror.model.filters import ACL_FILTERS, GROUP_FILTERS, TOPIC_FILTERS
from kmirror.model.link import DESTINATION_PREFIX
from kmirror.model.secrets import HIDDEN, has_reference, is_reference
from kmirror.model.security import KEYS, parse_security
from kmirror.model.setting import Setting, SettingError
from kmirror.model.start_spec import EARLIEST
from kmirror.model.topic_configs import ALWAYS, OPTIONAL

_MIB: Final = 1024 * 1024
UNLIMITED: Final = 2**63 - 1
"""Of `cluster.link.io.max.bytes.per.second`: Kafka's own word for it (Long.MAX_VALUE)."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """A link's configurations as the engine takes them."""

    fetch_buffer_bytes: int
    partition_fetch_bytes: int
    response_fetch_bytes: int
    fetch_wait_ms: int
    metadata_max_age_s: float
    request_timeout_s: float
    gap_fill_mode: str
    gap_fill_max: int
    retry_timeout_s: float
    rack: str
    coalesce: bool
    io_max_bytes_per_s: int = field(default=UNLIMITED, compare=False)
    """Not compared: a running engine takes another one."""


_PERIOD: Final = check.number(1000)

SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        "bootstrap.servers": Setting("", "Brokers of the source cluster.", check.servers, required=True),
        DESTINATION_PREFIX + "bootstrap.servers": Setting(
            "", "Brokers of the destination cluster.", check.servers, required=True
        ),
        "link.mode": Setting(
            "DESTINATION", "The destination holds the link.", check.one_of("DESTINATION"), mutable=False
        ),
        "connection.mode": Setting("OUTBOUND", "kmirror dials both clusters.", check.one_of("OUTBOUND"), mutable=False),
        **KEYS,
        **{DESTINATION_PREFIX + key: setting for key, setting in KEYS.items()},
        "cluster.link.paused": Setting("false", "Nothing is copied or synced while it is true.", check.boolean),
        "cluster.link.prefix": Setting(
            "", "Mirrors are named by it and the source topic; at most 12 characters.", check.prefix, mutable=False
        ),
        "consumer.offset.sync.enable": Setting(
            "false", "Committed offsets of consumer groups follow the source's.", check.boolean
        ),
        "consumer.offset.sync.ms": Setting("30000", "How often they are synced.", _PERIOD),
        "consumer.offset.group.filters": Setting(
            "", "Of which groups, as JSON groupFilters.", check.filters(GROUP_FILTERS)
        ),
        "consumer.group.prefix.enable": Setting(
            "false", "Groups get the link's prefix at the destination.", check.boolean
        ),
        "topic.config.sync.ms": Setting(
            "5000",
            "How often configs of mirror topics are synced; not more often than every 50 ms for each of them.",
            _PERIOD,
        ),
        "topic.config.sync.include": Setting(
            ",".join(sorted(ALWAYS | OPTIONAL)),
            "Which configs of the source topic a mirror follows.",
            check.synced_keys,
        ),
        "auto.create.mirror.topics.enable": Setting(
            "false", "Mirrors are made for the source topics that the filters choose.", check.boolean
        ),
        "auto.create.mirror.topics.filters": Setting(
            "", "For which topics, as JSON topicFilters.", check.filters(TOPIC_FILTERS)
        ),
        "acl.sync.enable": Setting("false", "ACLs follow the source's.", check.boolean),
        "acl.sync.ms": Setting("5000", "How often they are synced.", _PERIOD),
        "acl.filters": Setting("", "Which ACLs, as JSON aclFilters.", check.acl_filters),
        "log.start.sync.enable": Setting(
            "false", "Log starts of mirrors follow the source's, by DeleteRecords.", check.boolean
        ),
        "log.start.sync.ms": Setting("30000", "How often they are synced.", _PERIOD),
        "gap.fill.mode": Setting(
            "auto",
            "How offsets without a visible record are taken at the destination: by markers, by empty transactions "
            "(slower, but no right on the cluster is needed), or by whichever is allowed.",
            check.one_of("auto", "markers", "transactions"),
        ),
        "gap.fill.max": Setting(
            "5000000", "Offsets lost to retention that are filled; more end the mirror.", check.number(0, 2**62)
        ),
        "mirror.start.offset.spec": Setting(
            EARLIEST, "Where new mirrors begin: earliest, latest or an ISO 8601 time.", check.start_spec
        ),
        "fetch.buffer.bytes": Setting(
            str(64 * _MIB), "Bytes fetched and not yet acknowledged, of all partitions.", check.number(_MIB, 2**40)
        ),
        "replica.fetch.max.bytes": Setting(
            str(_MIB),
            "Bytes of one partition in a fetch. Of large batches that wait in kernel pipes, and take no memory, up to "
            "its share of 8 MB; from a source that is far its share of the fetch.",
            check.number(1),
        ),
        "replica.fetch.response.max.bytes": Setting(str(8 * _MIB), "Bytes of one fetch.", check.number(1)),
        "client.rack": Setting(
            "",
            "Where the runner is: a source that has a replica there (`broker.rack`) has it fetch from that one, where "
            "`replica.selector.class` does so (KIP-392).",
            check.text,
        ),
        "cluster.link.io.max.bytes.per.second": Setting(
            str(UNLIMITED), "Bytes a second that are fetched, of all partitions together.", check.rate(UNLIMITED)
        ),
        "replica.fetch.wait.max.ms": Setting(
            "500", "How long a fetch waits at the source for records.", check.number(1)
        ),
        "batch.coalesce.enable": Setting(
            "true",
            "Small batches that wait to be copied are merged into larger ones; false keeps each as it is.",
            check.boolean,
        ),
        "metadata.max.age.ms": Setting(
            "30000", "How often topics, leaders and partition counts are looked up.", check.number(100)
        ),
        "cluster.link.retry.timeout.ms": Setting(
            "300000", "How long a topic may be missing until its mirror is FAILED.", check.number(1000)
        ),
        "request.timeout.ms": Setting("30000", "How long an answer of a broker is waited for.", check.number(1000)),
        "metrics.address": Setting(
            "", "Where the runner tells metrics and health, host:port or a port; nowhere if empty.", check.listen
        ),
        "log.format": Setting("text", "How lines of the runner's log look.", check.one_of("text", "json")),
    }
)
"""Every key of this version, in the order in which the documentation lists them."""

_STORE_PASSWORDS: Final = frozenset({"ssl.truststore.password", "ssl.keystore.password"})
_IGNORED_WORDS: Final = """
availability.check.consecutive.failure.threshold availability.check.ms client.dns.lookup connections.max.idle.ms
dest.cluster.id link.prefix local.listener.name
num.cluster.link.fetchers remote.link.connection.mode replica.fetch.backoff.ms replica.fetch.min.bytes
replica.socket.receive.buffer.bytes replica.socket.timeout.ms retry.backoff.ms
socket.connection.setup.timeout.max.ms socket.connection.setup.timeout.ms
"""
IGNORED: Final = frozenset(_IGNORED_WORDS.split())
"""Keys of Cluster Linking that say how a broker does it, or are derived: taken from a file, and not kept."""

_SOURCE_PREFIX: Final = "source."
_LOCAL_PREFIX: Final = "local."
"""Cluster Linking's prefix for the cluster that holds the link: here that is the destination."""

FEATURES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "consumer.offset.sync.enable": "consumer.offset.group.filters",
        "auto.create.mirror.topics.enable": "auto.create.mirror.topics.filters",
        "acl.sync.enable": "acl.filters",
    }
)
"""What needs a filter, without which it would do nothing; its filter goes when it is disabled."""

_ANY_NAME: Final = '[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}]'
_EVERYTHING: Final = MappingProxyType(
    {
        "consumer.offset.group.filters": f'{{"{GROUP_FILTERS}":{_ANY_NAME}}}',
        "auto.create.mirror.topics.filters": f'{{"{TOPIC_FILTERS}":{_ANY_NAME}}}',
        "acl.filters": f'{{"{ACL_FILTERS}":[{{"resourceFilter":{{"resourceType":"any","patternType":"any"}},'
        '"accessFilter":{"operation":"any","permissionType":"any"}}]}',
    }
)


def kept(configs: Mapping[str, str]) -> dict[str, str]:
    """What a link keeps of the properties that are given, by their names here: all but the IGNORED ones.

    Raises SettingError where two names of one configuration are given with different values.
    """
    found: dict[str, str] = {}
    for given, value in configs.items():
        key = name_of(given)
        if given in IGNORED:
            continue
        if found.get(key, value) != value:
            raise SettingError(f'configuration "{key}" is given twice, by different names and with different values')
        found[key] = value
    return found


def name_of(key: str) -> str:
    """The name that a configuration has here: `source.` may be left out, `local.` is Cluster Linking's destination."""
    for prefix, ours in ((_SOURCE_PREFIX, ""), (_LOCAL_PREFIX, DESTINATION_PREFIX)):
        bare = key.removeprefix(prefix)
        if bare != key and ours + bare in SETTINGS:
            return ours + bare
    return key


def shown(key: str, value: str) -> str:
    """The value as it may be shown: HIDDEN where it holds a secret and not only a reference to one."""
    setting = SETTINGS.get(key)
    secret = setting is not None and setting.sensitive and value and not is_reference(value)
    return HIDDEN if secret else value


def literal_secrets(configs: Mapping[str, str]) -> list[str]:
    """The keys whose value is a secret itself."""
    return [key for key, value in configs.items() if shown(key, value) != value and not has_reference(value)]


def value_of(configs: Mapping[str, str], key: str) -> str:
    """What holds: the value that is given, or the default."""
    return configs.get(key, SETTINGS[key].default)


def is_on(configs: Mapping[str, str], key: str) -> bool:
    return value_of(configs, key) == "true"


def seconds_of(configs: Mapping[str, str], key: str) -> float:
    """Of a key in milliseconds."""
    return int(value_of(configs, key)) / 1000


def check_setting(key: str, value: str) -> None:
    """Raises SettingError where `key` does not exist or may not hold `value`."""
    setting = SETTINGS.get(key)
    if setting is None:
        raise _unknown(key)
    try:
        setting.check(value)
    except ValueError as e:
        if setting.sensitive:
            raise SettingError(f'invalid value for configuration "{key}": it {e}') from e
        if setting.check is check.servers:
            message = f'invalid value for configuration "{key}": {e}'
            raise SettingError(message, 'Write it as "host:port" or "host:port,host:port".') from e
        raise SettingError(f'invalid value for configuration "{key}": "{value}" {e}') from e


def check_together(configs: Mapping[str, str]) -> None:
    """Raises SettingError where keys that are right by themselves don't go together."""
    for prefix in ("", DESTINATION_PREFIX):
        parse_security({key: configs[prefix + key] for key in KEYS if prefix + key in configs}, prefix)
    for feature, filters in FEATURES.items():
        if is_on(configs, feature) and not value_of(configs, filters).strip():
            raise SettingError(
                f'"{feature}" is true, but "{filters}" is not set: nothing would be done',
                f"Set it together with it; this chooses everything: {filters}={_EVERYTHING[filters]}",
            )
    prefixed = bool(value_of(configs, "cluster.link.prefix"))
    if prefixed and is_on(configs, "acl.sync.enable"):
        raise SettingError(
            '"acl.sync.enable" does not go together with "cluster.link.prefix": ACLs would name topics without it',
            "Leave one of them out.",
        )
    if is_on(configs, "consumer.group.prefix.enable") and not prefixed:
        raise SettingError(
            '"consumer.group.prefix.enable" is true, but the link has no "cluster.link.prefix"',
            "Set the prefix when the link is made, or leave this out.",
        )


def _unknown(key: str) -> SettingError:
    bare = key.removeprefix(DESTINATION_PREFIX).removeprefix(_LOCAL_PREFIX).removeprefix(_SOURCE_PREFIX)
    if bare in _STORE_PASSWORDS:
        return SettingError(
            f'configuration "{key}" is not supported: a store in PEM format has no password',
            'Convert the store to PEM (`openssl pkcs12`), and give the password of its key as "ssl.key.password".',
        )
    if bare.startswith(("ssl.", "sasl.")) or key.startswith(_LOCAL_PREFIX):
        return SettingError(
            f'configuration "{key}" is not supported by this version',
            f'Remove "{key}". Supported are: {", ".join(KEYS)}.',
        )
    near = difflib.get_close_matches(key, SETTINGS, n=1)
    hint = f'Did you mean "{near[0]}"?' if near else f"The configurations of a link are: {', '.join(SETTINGS)}."
    return SettingError(f'unknown configuration "{key}"', hint)


def settings_from(configs: Mapping[str, str]) -> LinkSettings:
    """The settings of a link with these configs; raises SettingError (a ValueError) at the first that is wrong."""
    for key, value in configs.items():
        check_setting(key, value)
    held = {key: value_of(configs, key) for key in SETTINGS}
    return LinkSettings(
        fetch_buffer_bytes=int(held["fetch.buffer.bytes"]),
        partition_fetch_bytes=int(held["replica.fetch.max.bytes"]),
        response_fetch_bytes=int(held["replica.fetch.response.max.bytes"]),
        fetch_wait_ms=int(held["replica.fetch.wait.max.ms"]),
        metadata_max_age_s=int(held["metadata.max.age.ms"]) / 1000,
        request_timeout_s=int(held["request.timeout.ms"]) / 1000,
        gap_fill_mode=held["gap.fill.mode"],
        gap_fill_max=int(held["gap.fill.max"]),
        retry_timeout_s=int(held["cluster.link.retry.timeout.ms"]) / 1000,
        rack=held["client.rack"],
        coalesce=held["batch.coalesce.enable"] == "true",
        io_max_bytes_per_s=int(held["cluster.link.io.max.bytes.per.second"]),
    )
