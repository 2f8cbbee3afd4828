"""The configurations of a link: which keys there are, what each may hold, and what holds where a key is not given.

Keys are Cluster Linking's where it has them, so that a properties file made for it moves over as it is.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from kmirror.model.bootstrap import parse_bootstrap
from kmirror.model.link import DESTINATION_PREFIX
from kmirror.model.listen import parse_listen
from kmirror.model.start_spec import EARLIEST, parse_start_spec

_MIB: Final = 1024 * 1024
_INT_MAX: Final = 2**31 - 1  # sizes and times travel as 32-bit numbers in Kafka's protocol


class SettingError(ValueError):
    """A key that does not exist, or a value it may not hold. `hint` as in kmirror.errors."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Setting:
    """One key. `check` raises ValueError with what the value is not."""

    default: str
    meaning: str
    check: Callable[[str], None]


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
    start_offset_spec: str


def _number(least: int, most: int = _INT_MAX) -> Callable[[str], None]:
    def check(value: str) -> None:
        if not (value.isascii() and value.isdigit()):
            raise ValueError("is not a whole number")
        if not least <= int(value) <= most:
            raise ValueError(f"is not between {least} and {most}")

    return check


def _one_of(*values: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        if value not in values:
            named = " or ".join(f'"{v}"' for v in values)
            raise ValueError(f"is not {named}" + ("" if len(values) > 1 else ", the only one of this version"))

    return check


def _servers(value: str) -> None:
    parse_bootstrap(value)


def _listen(value: str) -> None:
    if value:
        parse_listen(value)


def _start_spec(value: str) -> None:
    parse_start_spec(value)


_SECURITY: Final = Setting("PLAINTEXT", "How the cluster is reached.", _one_of("PLAINTEXT"))

SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        "bootstrap.servers": Setting("", "Brokers of the source cluster.", _servers),
        DESTINATION_PREFIX + "bootstrap.servers": Setting("", "Brokers of the destination cluster.", _servers),
        "link.mode": Setting("DESTINATION", "The destination holds the link.", _one_of("DESTINATION")),
        "connection.mode": Setting("OUTBOUND", "kmirror dials both clusters.", _one_of("OUTBOUND")),
        "security.protocol": _SECURITY,
        DESTINATION_PREFIX + "security.protocol": _SECURITY,
        "gap.fill.mode": Setting(
            "auto",
            "How offsets without a visible record are taken at the destination: by markers, by empty transactions "
            "(slower, but no right on the cluster is needed), or by whichever is allowed.",
            _one_of("auto", "markers", "transactions"),
        ),
        "gap.fill.max": Setting(
            "5000000", "Offsets lost to retention that are filled; more end the mirror.", _number(0, 2**62)
        ),
        "mirror.start.offset.spec": Setting(
            EARLIEST, "Where new mirrors begin: earliest, latest or an ISO 8601 time.", _start_spec
        ),
        "fetch.buffer.bytes": Setting(
            str(64 * _MIB), "Bytes fetched and not yet acknowledged, of all partitions.", _number(_MIB, 2**40)
        ),
        "replica.fetch.max.bytes": Setting(str(_MIB), "Bytes of one partition in a fetch.", _number(1)),
        "replica.fetch.response.max.bytes": Setting(str(8 * _MIB), "Bytes of one fetch.", _number(1)),
        "replica.fetch.wait.max.ms": Setting("500", "How long a fetch waits at the source for records.", _number(1)),
        "metadata.max.age.ms": Setting("30000", "How often leaders and partition counts are looked up.", _number(100)),
        "request.timeout.ms": Setting("30000", "How long an answer of a broker is waited for.", _number(1000)),
        "metrics.address": Setting(
            "", "Where the runner tells metrics and health, host:port or a port; nowhere if empty.", _listen
        ),
    }
)
"""Every key of this version, in the order in which the documentation lists them."""

_ELSEWHERE_WORDS: Final = """
acl.filters acl.sync.enable acl.sync.ms auto.create.mirror.topics.enable auto.create.mirror.topics.filters
availability.check.consecutive.failure.threshold availability.check.ms client.dns.lookup cluster.link.paused
cluster.link.prefix cluster.link.retry.timeout.ms connections.max.idle.ms consumer.group.prefix.enable
consumer.offset.group.filters consumer.offset.sync.enable consumer.offset.sync.ms local.listener.name
num.cluster.link.fetchers replica.fetch.backoff.ms replica.fetch.min.bytes
replica.socket.receive.buffer.bytes replica.socket.timeout.ms retry.backoff.ms sasl.jaas.config sasl.mechanism
socket.connection.setup.timeout.max.ms socket.connection.setup.timeout.ms topic.config.sync.include
topic.config.sync.ms
"""
_ELSEWHERE: Final = frozenset(_ELSEWHERE_WORDS.split())
"""Keys of Cluster Linking that this version does not have."""

_ELSEWHERE_PREFIXES: Final = ("ssl.", "sasl.", "local.")


def check_setting(key: str, value: str) -> None:
    """Raises SettingError where `key` does not exist or may not hold `value`."""
    setting = SETTINGS.get(key)
    if setting is None:
        raise _unknown(key)
    try:
        setting.check(value)
    except ValueError as e:
        if setting.check is _servers:
            message = f'invalid value for configuration "{key}": {e}'
            raise SettingError(message, 'Write it as "host:port" or "host:port,host:port".') from e
        raise SettingError(f'invalid value for configuration "{key}": "{value}" {e}') from e


def _unknown(key: str) -> SettingError:
    bare = key.removeprefix(DESTINATION_PREFIX)
    if bare in _ELSEWHERE or bare.startswith(_ELSEWHERE_PREFIXES):
        return SettingError(f'configuration "{key}" is not supported by this version', f'Remove "{key}".')
    near = difflib.get_close_matches(key, SETTINGS, n=1)
    hint = f'Did you mean "{near[0]}"?' if near else f"The configurations of a link are: {', '.join(SETTINGS)}."
    return SettingError(f'unknown configuration "{key}"', hint)


def settings_from(configs: Mapping[str, str]) -> LinkSettings:
    """The settings of a link with these configs; raises SettingError (a ValueError) at the first that is wrong."""
    for key, value in configs.items():
        check_setting(key, value)
    held = {key: configs.get(key, setting.default) for key, setting in SETTINGS.items()}
    return LinkSettings(
        fetch_buffer_bytes=int(held["fetch.buffer.bytes"]),
        partition_fetch_bytes=int(held["replica.fetch.max.bytes"]),
        response_fetch_bytes=int(held["replica.fetch.response.max.bytes"]),
        fetch_wait_ms=int(held["replica.fetch.wait.max.ms"]),
        metadata_max_age_s=int(held["metadata.max.age.ms"]) / 1000,
        request_timeout_s=int(held["request.timeout.ms"]) / 1000,
        gap_fill_mode=held["gap.fill.mode"],
        gap_fill_max=int(held["gap.fill.max"]),
        start_offset_spec=held["mirror.start.offset.spec"],
    )
