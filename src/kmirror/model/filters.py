"""Filters of names: Cluster Linking's JSON, `{"topicFilters": [{"name", "patternType", "filterType"}]}`.

A name is chosen if an INCLUDE matches it and no EXCLUDE does. The order does not matter; there are no wildcards but
`*` with LITERAL, which is every name.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

TOPIC_FILTERS: Final = "topicFilters"
GROUP_FILTERS: Final = "groupFilters"
ACL_FILTERS: Final = "aclFilters"
_EVERY: Final = "*"

E = TypeVar("E", bound=StrEnum)


class PatternType(StrEnum):
    LITERAL = "LITERAL"
    PREFIXED = "PREFIXED"


class FilterType(StrEnum):
    INCLUDE = "INCLUDE"
    EXCLUDE = "EXCLUDE"


@dataclass(frozen=True, slots=True)
class NameFilter:
    name: str
    pattern: PatternType
    kind: FilterType

    def matches(self, name: str) -> bool:
        if self.pattern is PatternType.PREFIXED:
            return name.startswith(self.name)
        return self.name in {_EVERY, name}


@dataclass(frozen=True, slots=True)
class NameFilters:
    """All filters of one key. Without any nothing is chosen."""

    filters: tuple[NameFilter, ...] = ()

    def chooses(self, name: str) -> bool:
        kinds = {f.kind for f in self.filters if f.matches(name)}
        return kinds == {FilterType.INCLUDE}


@dataclass(frozen=True, slots=True)
class AclFilter:
    """Which ACLs are meant, in Kafka's words in upper case (ANY, TOPIC, LITERAL, READ, ALLOW ...); None: any."""

    resource_type: str = "ANY"
    pattern_type: str = "ANY"
    name: str | None = None
    principal: str | None = None
    host: str | None = None
    operation: str = "ANY"
    permission_type: str = "ANY"


_RESOURCES: Final = {"ANY": "ANY", "CLUSTER": "CLUSTER", "GROUP": "GROUP", "TOPIC": "TOPIC"} | dict.fromkeys(
    ("TRANSACTIONALID", "TRANSACTIONAL_ID"), "TRANSACTIONAL_ID"
)
_PATTERNS: Final = {name: name for name in ("ANY", "MATCH", "LITERAL", "PREFIXED")}
_PERMISSIONS: Final = {name: name for name in ("ANY", "ALLOW", "DENY")}
_OPERATION_WORDS: Final = (
    "ANY ALL READ WRITE CREATE DELETE ALTER DESCRIBE CLUSTER_ACTION DESCRIBE_CONFIGS ALTER_CONFIGS IDEMPOTENT_WRITE "
    "CREATE_TOKENS DESCRIBE_TOKENS"
)
_OPERATIONS: Final = {spelled: name for name in _OPERATION_WORDS.split() for spelled in (name, name.replace("_", ""))}


def parse_filters(text: str, kind: str) -> NameFilters:
    """The filters of `kind` (TOPIC_FILTERS, GROUP_FILTERS); an empty text has none. Raises ValueError."""
    return NameFilters(tuple(_name_filter(item) for item in _items(text, kind)))


def parse_acl_filters(text: str) -> tuple[AclFilter, ...]:
    """As parse_filters, for ACL_FILTERS: `[{"resourceFilter": {...}, "accessFilter": {...}}]`."""
    return tuple(_acl_filter(item) for item in _items(text, ACL_FILTERS))


def _items(text: str, kind: str) -> list[Mapping[str, Any]]:
    if not text.strip():
        return []
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ValueError(f"is not JSON: {e}") from None
    if not isinstance(data, dict) or data.keys() != {kind} or not isinstance(data[kind], list):
        raise ValueError(f'is not {{"{kind}": [...]}}')
    items: list[Mapping[str, Any]] = data[kind]
    for item in items:
        if not isinstance(item, dict):
            raise ValueError(f"has {json.dumps(item)}, which is no filter")  # noqa: TRY004  # it is input
    return items


def _name_filter(item: Mapping[str, Any]) -> NameFilter:
    _only(item, {"name", "patternType", "filterType"})
    name = item.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f'has a filter without a "name": {json.dumps(item)}')
    return NameFilter(name, _enum(item, "patternType", PatternType), _enum(item, "filterType", FilterType))


def _enum(item: Mapping[str, Any], key: str, kind: type[E]) -> E:
    try:
        return kind(str(item[key]).upper())
    except (KeyError, ValueError):
        raise ValueError(f'has a filter whose "{key}" is not {" or ".join(kind)}: {json.dumps(item)}') from None


def _acl_filter(item: Mapping[str, Any]) -> AclFilter:
    _only(item, {"resourceFilter", "accessFilter"})
    resource, access = (item.get(key, {}) for key in ("resourceFilter", "accessFilter"))
    if not isinstance(resource, dict) or not isinstance(access, dict):
        raise ValueError(f"has a filter that is no pair of resourceFilter and accessFilter: {json.dumps(item)}")  # noqa: TRY004
    _only(resource, {"resourceType", "patternType", "name"})
    _only(access, {"operation", "permissionType", "principal", "host"})
    return AclFilter(
        resource_type=_word(resource, "resourceType", _RESOURCES),
        pattern_type=_word(resource, "patternType", _PATTERNS),
        name=_text(resource, "name"),
        principal=_text(access, "principal"),
        host=_text(access, "host"),
        operation=_word(access, "operation", _OPERATIONS),
        permission_type=_word(access, "permissionType", _PERMISSIONS),
    )


def _only(item: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(item.keys() - known)
    if unknown:
        raise ValueError(f'has a filter with an unknown "{unknown[0]}": {json.dumps(item)}')


def _word(item: Mapping[str, Any], key: str, words: Mapping[str, str]) -> str:
    found = words.get(str(item.get(key, "ANY")).upper())
    if found is None:
        raise ValueError(f'has a filter with the unknown "{key}" {json.dumps(item[key])}')
    return found


def _text(item: Mapping[str, Any], key: str) -> str | None:
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f'has a filter whose "{key}" is no text: {json.dumps(item)}')
    return value or None
