"""The file of `kmirror apply` and `kmirror export`: links, their configurations and their mirrors, in TOML."""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import tomli_w

from kmirror.model.fleet import WantedLink, WantedMirror
from kmirror.model.link import name_fault
from kmirror.model.secrets import HIDDEN
from kmirror.model.setting import SettingError
from kmirror.model.settings import SETTINGS, check_setting, check_together, name_of

_PREFIX: Final = "cluster.link.prefix"
_REQUIRED: Final = ("bootstrap.servers", "destination.bootstrap.servers")
_STATES: Final = ("ACTIVE", "PAUSED")
_MOST_REPLICAS: Final = 32767  # a 16-bit number in Kafka's protocol


class FleetFileError(ValueError):
    """What is wrong with the file; each of `faults` names its place."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


def parse_fleet(text: bytes) -> dict[str, WantedLink]:
    """By name; raises FleetFileError with everything that is wrong."""
    try:
        data = tomllib.loads(text.decode())
    except UnicodeDecodeError as e:
        raise FleetFileError([f"byte {e.start}: it is not text in UTF-8"]) from e
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise FleetFileError([str(e)]) from e
    faults: list[str] = []
    links = data.pop("links", {})
    faults += [f'"{key}": unknown, the only key here is "links"' for key in data]
    found = {}
    for name, item in _tables(links, "links", faults):
        found[name] = _link(name, item, f"links.{_quoted(name)}", faults)
    if faults:
        raise FleetFileError(faults)
    return found


def render_fleet(links: Mapping[str, WantedLink]) -> str:
    document = {"links": {name: _link_table(link) for name, link in sorted(links.items())}}
    return tomli_w.dumps(document)


def _link(name: str, item: Mapping[str, Any], place: str, faults: list[str]) -> WantedLink:
    fault = name_fault(name)
    if fault:
        faults.append(f'{place}: link name "{name}" {fault}')
    faults += [f'{place}: "{key}" is unknown, known are configs and mirrors' for key in item.keys() - _LINK_KEYS]
    configs = _configs(item.get("configs", {}), f"{place}.configs", faults, _check_setting)
    configs = {name_of(key): value for key, value in configs.items()}
    faults += [f'{place}.configs: "{key}" is missing' for key in _REQUIRED if key not in configs]
    try:
        check_together(configs)
    except SettingError as e:
        faults.append(f"{place}.configs: {e}")
    prefix = configs.get(_PREFIX, "")
    mirrors = {}
    for topic, wanted in _tables(item.get("mirrors", {}), f"{place}.mirrors", faults):
        mirrors[topic] = _mirror(topic, wanted, prefix, f"{place}.mirrors.{_quoted(topic)}", faults)
    return WantedLink(name, {"link.mode": "DESTINATION", **configs}, mirrors)


def _check_setting(key: str, value: str) -> None:
    """As check_setting, of any name of a key; a secret that an export did not show stays what it is."""
    known = SETTINGS.get(name_of(key))
    if not (known and known.sensitive and value == HIDDEN):
        check_setting(name_of(key), value)


_LINK_KEYS: Final = frozenset({"configs", "mirrors"})
_MIRROR_KEYS: Final = frozenset({"source_topic", "state", "replication_factor", "configs"})


def _mirror(topic: str, item: Mapping[str, Any], prefix: str, place: str, faults: list[str]) -> WantedMirror:
    known = ", ".join(sorted(_MIRROR_KEYS))
    faults += [f'{place}: "{key}" is unknown, known are {known}' for key in item.keys() - _MIRROR_KEYS]
    source = item.get("source_topic", topic.removeprefix(prefix))
    for name, where in ((topic, place), (source, f"{place}.source_topic")):
        fault = name_fault(name) if isinstance(name, str) else "is not text"
        if fault:
            faults.append(f'{where}: topic name "{name}" {fault}')
        elif name.startswith("__"):
            faults.append(f'{where}: topic "{name}" is internal')
    state = item.get("state", _STATES[0])
    if state not in _STATES:
        faults.append(f"{place}.state: {state!r} is not {' or '.join(_STATES)}")
    factor = item.get("replication_factor")
    if factor is not None and (type(factor) is not int or not 0 < factor <= _MOST_REPLICAS):
        faults.append(f"{place}.replication_factor: {factor!r} is not a whole number from 1 on")
    configs = _configs(item.get("configs", {}), f"{place}.configs", faults)
    return WantedMirror(topic, source if isinstance(source, str) else "", state == _STATES[1], factor, configs)


def _configs(
    found: Any, place: str, faults: list[str], check: Callable[[str, str], None] = lambda _key, _value: None
) -> dict[str, str]:
    if not isinstance(found, dict):
        faults.append(f"{place}: is not a table")
        return {}
    configs = {}
    for key, value in found.items():
        if isinstance(value, dict):
            faults.append(
                f'{place}: "{key}" is a table: write a key with dots in quotes, "{key}.{next(iter(value), "")}"'
            )
            continue
        text = _text(value)
        if text is None:
            faults.append(f'{place}."{key}": is not text, a whole number, true or false')
            continue
        try:
            check(key, text)
        except SettingError as e:
            faults.append(f"{place}: {e}" + (f" ({e.hint})" if e.hint else ""))
        configs[key] = text
    return configs


def _text(value: Any) -> str | None:
    """Kafka's configs are text; TOML has numbers too, which people will write."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else None


def _tables(found: Any, place: str, faults: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(found, dict):
        faults.append(f"{place}: is not a table")
        return
    for name, item in found.items():
        if isinstance(item, dict):
            yield name, item
        else:
            faults.append(f"{place}.{_quoted(name)}: is not a table")


def _quoted(key: str) -> str:
    bare = key.replace("-", "").replace("_", "").isalnum() and key.isascii()
    return key if bare else f'"{key}"'


def _link_table(link: WantedLink) -> dict[str, Any]:
    table: dict[str, Any] = {"configs": dict(sorted(link.configs.items()))}
    prefix = link.configs.get(_PREFIX, "")
    mirrors = {topic: _mirror_table(mirror, prefix) for topic, mirror in sorted(link.mirrors.items())}
    return table | ({"mirrors": mirrors} if mirrors else {})


def _mirror_table(mirror: WantedMirror, prefix: str) -> dict[str, Any]:
    """What is as it is by itself is left out."""
    table: dict[str, Any] = {}
    if mirror.source_topic != mirror.topic.removeprefix(prefix):
        table["source_topic"] = mirror.source_topic
    if mirror.paused:
        table["state"] = _STATES[1]
    if mirror.replication_factor is not None:
        table["replication_factor"] = mirror.replication_factor
    if mirror.configs:
        table["configs"] = dict(sorted(mirror.configs.items()))
    return table
