"""`link configuration list`, `update` and `delete-key`. What is changed is taken by a running link at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kmirror.admin.cluster import ClusterAdmin
from kmirror.errors import Conflict, UsageError
from kmirror.model.link import Link
from kmirror.model.setting import SettingError
from kmirror.model.settings import (
    FEATURES,
    SETTINGS,
    check_setting,
    check_together,
    is_on,
    name_of,
    shown,
    value_of,
)
from kmirror.ops.config_text import parse_config
from kmirror.ops.link_create import ignored_warning, kept_of, secrets_warning
from kmirror.process.control import nudge
from kmirror.state.links import LinkStore, link_not_found
from kmirror.state.paths import Home
from kmirror.wire.reach import check_reachable

_GIVEN = "DYNAMIC_CLUSTER_LINK_CONFIG"
_DEFAULT = "DEFAULT_CONFIG"


@dataclass(frozen=True, slots=True)
class ConfigRow:
    """Cluster Linking's JSON keys; `source` is its name of where the value comes from."""

    config_name: str
    config_value: str
    read_only: bool
    sensitive: bool
    source: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """None: the default."""

    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class ConfigUpdate:
    """`changes` by key, those that follow from another one too; `warnings` are sentences."""

    changes: Mapping[str, ConfigChange]
    warnings: tuple[str, ...] = ()


def list_configs(home: Home, name: str) -> list[ConfigRow]:
    """Every configuration with its value, sorted by name; raises NotFound."""
    link = LinkStore(home).get(name)
    rows = [
        ConfigRow(
            config_name=key,
            config_value=shown(key, value_of(link.configs, key)),
            read_only=not setting.mutable,
            sensitive=setting.sensitive,
            source=_GIVEN if key in link.configs else _DEFAULT,
        )
        for key, setting in SETTINGS.items()
    ]
    rows.append(ConfigRow("dest.cluster.id", link.destination_cluster_id, True, False, ""))
    return sorted(rows, key=lambda row: row.config_name)


def update_configs(home: Home, name: str, config: Sequence[str], *, dry_run: bool, validate: bool) -> ConfigUpdate:
    """Sets the keys that are given, and no other. Raises NotFound, UsageError, Conflict, Unreachable; then nothing is.

    `validate`: new addresses are asked whether they lead to the cluster that the link was made with.
    """
    given = parse_config(config)
    if not given:
        raise UsageError("no configuration is given", hint="Add `--config key=value,..` or `--config FILE`.")
    wanted: dict[str, str | None] = dict(kept_of(config))
    warnings = (*ignored_warning(given), *secrets_warning(kept_of(config)))
    return replace(change_configs(home, name, wanted, dry_run=dry_run, validate=validate), warnings=warnings)


def delete_configs(home: Home, name: str, keys: Sequence[str], *, dry_run: bool) -> ConfigUpdate:
    """Takes back to their defaults; raises as update_configs."""
    return change_configs(home, name, dict.fromkeys(map(name_of, keys)), dry_run=dry_run, validate=False)


def set_config(home: Home, name: str, key: str, value: str) -> ConfigUpdate:
    return change_configs(home, name, {key: value}, dry_run=False, validate=False)


def change_configs(
    home: Home, name: str, wanted: Mapping[str, str | None], *, dry_run: bool, validate: bool
) -> ConfigUpdate:
    """`wanted` is key to value, None: the default. Raises as update_configs."""
    store = LinkStore(home)
    link = store.get(name)
    changes = changed_configs(link.configs, wanted)
    if validate:
        _check_clusters(link, changes)
    if dry_run or not changes:
        return ConfigUpdate(changes)
    made: list[Mapping[str, ConfigChange]] = []

    def edit(links: dict[str, Link]) -> None:
        if name not in links:
            raise link_not_found(name)
        configs = links[name].configs
        made.append(changed_configs(configs, wanted))  # anew: somebody may have been faster
        links[name] = replace(links[name], configs=after_changes(configs, made[0]))

    store.change(edit)
    nudge(home, name)
    return ConfigUpdate(made[0])


def changed_configs(configs: Mapping[str, str], wanted: Mapping[str, str | None]) -> dict[str, ConfigChange]:
    """What `wanted` (key to value, None: the default) changes; raises UsageError where it may not.

    A feature that is disabled loses its filters: enabled again, it is not to do what somebody has long forgotten.
    """
    try:
        for key, value in wanted.items():
            _check_key(key, value, configs)
    except SettingError as e:
        raise UsageError(str(e), hint=e.hint) from e
    changes = {k: ConfigChange(configs.get(k), v) for k, v in wanted.items() if configs.get(k) != v}
    after = after_changes(configs, changes)
    for feature, filters in FEATURES.items():
        if feature in changes and not is_on(after, feature) and filters in after:
            changes.pop(filters, None)
            if filters in configs:
                changes[filters] = ConfigChange(configs[filters], None)
    try:
        check_together(after_changes(configs, changes))
    except SettingError as e:
        raise UsageError(str(e), hint=e.hint) from e
    return changes


def after_changes(configs: Mapping[str, str], changes: Mapping[str, ConfigChange]) -> dict[str, str]:
    merged = {**configs, **{key: change.new for key, change in changes.items()}}
    return {key: value for key, value in merged.items() if value is not None}


def _check_key(key: str, value: str | None, configs: Mapping[str, str]) -> None:
    """Raises SettingError. An immutable key may be given with the value that it has: a file is applied as a whole."""
    if value is not None or key not in SETTINGS:
        check_setting(key, value or "")
    setting = SETTINGS[key]
    if value is None and setting.required:
        raise SettingError(f'configuration "{key}" cannot be deleted: a link needs it', "Update it instead.")
    held, new = value_of(configs, key), setting.default if value is None else value
    if not setting.mutable and new != held:
        raise SettingError(
            f'configuration "{key}" cannot be changed, it is "{held}" since the link was made',
            "Make another link for that.",
        )


def _check_clusters(link: Link, changes: Mapping[str, ConfigChange]) -> None:
    """Raises Conflict where a side is reached otherwise and is another cluster, ClusterError where it can't be."""
    after = replace(link, configs=after_changes(link.configs, changes))
    sides = (
        ("source", link.source, after.source, link.source_cluster_id),
        ("destination", link.destination, after.destination, link.destination_cluster_id),
    )
    for side, before, access, expected in sides:
        if access == before:
            continue
        check_reachable(access, side)
        found = ClusterAdmin(access, side).cluster_id()
        if expected and found != expected:
            raise Conflict(
                f"{access} is cluster {found}, not {expected} with which the link was made",
                hint="Give addresses of the same cluster, or make another link.",
            )
