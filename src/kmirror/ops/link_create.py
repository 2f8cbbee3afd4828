"""Making a link: its properties are checked, both clusters are asked who they are, then it is stored."""

import base64
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from kmirror.admin.cluster import ClusterAdmin
from kmirror.errors import ClusterError, Conflict, UsageError
from kmirror.model.access import access_of
from kmirror.model.link import DESTINATION_PREFIX, GapFill, Link, name_fault, transactional_id
from kmirror.model.rights import Need, grant_line
from kmirror.model.setting import SettingError
from kmirror.model.settings import IGNORED, check_together, kept, literal_secrets, settings_from
from kmirror.ops.clock import now_ms
from kmirror.ops.config_text import parse_config
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home
from kmirror.wire.probe import probe_gap_fill
from kmirror.wire.reach import check_reachable

_SOURCE_KEY = "bootstrap.servers"
_DESTINATION_KEY = DESTINATION_PREFIX + _SOURCE_KEY
_ID_TIMEOUT_S = 4.0  # after a connection was accepted: together with that, an answer comes within 10 s


ApiKey = tuple[str, str]
"""Key and secret: name and password of SASL PLAIN over TLS."""


@dataclass(frozen=True, slots=True)
class LinkCreated:
    """`stored` is False for a dry run, `asked` where the clusters were not; `warnings` are sentences."""

    link: Link
    stored: bool
    asked: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Clusters:
    source_id: str
    destination_id: str
    gap_fill: GapFill


def create_link(
    home: Home,
    name: str,
    *,
    source: str | None,
    destination: str | None,
    config: Sequence[str] = (),
    keys: Mapping[str, ApiKey] = MappingProxyType({}),
    dry_run: bool = False,
    validate: bool = True,
) -> LinkCreated:
    """`keys` by the prefix of their side. Raises UsageError, Conflict where the name or the pair of clusters is wrong,
    Unreachable and other ClusterErrors.
    """
    configs = link_configs(source, destination, config, keys)
    made = store_link(home, name, configs, dry_run=dry_run, validate=validate)
    warnings = (*ignored_warning(parse_config(config)), *secrets_warning(made.link.configs))
    return replace(made, warnings=(*warnings, *made.warnings))


def store_link(
    home: Home, name: str, configs: Mapping[str, str], *, dry_run: bool = False, validate: bool = True
) -> LinkCreated:
    """As create_link, of configs that were checked."""
    fault = name_fault(name)
    if fault:
        raise UsageError(f'link name "{name}" {fault}', hint="Choose another name.")
    store = LinkStore(home)
    _refuse_taken(name, store.all())
    warnings: list[str] = []
    link_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    unknown = _Clusters("", "", _wanted(configs) or GapFill.NONE)
    clusters = _ask(configs, name, link_id) if validate else unknown
    if validate and clusters.gap_fill is GapFill.NONE:
        warnings.append(
            "the destination lets this principal write neither markers nor empty transactions: a mirror ends where its "
            f"source has an offset without a record (a transaction, a compacted log). {_grants(configs, name)}"
        )
    link = Link(
        name=name,
        link_id=link_id,
        source_cluster_id=clusters.source_id,
        destination_cluster_id=clusters.destination_id,
        configs=configs,
        gap_fill=clusters.gap_fill,
        created_ms=now_ms(),
    )

    def add(links: dict[str, Link]) -> None:
        _refuse_taken(name, links)
        _refuse_prefix(links, configs, clusters.destination_id)
        links[name] = link

    if not dry_run:
        store.change(add)
    return LinkCreated(link, stored=not dry_run, asked=validate, warnings=tuple(warnings))


def link_configs(
    source: str | None,
    destination: str | None,
    config: Sequence[str],
    keys: Mapping[str, ApiKey] = MappingProxyType({}),
) -> dict[str, str]:
    """All properties of the link to be, flags before files; raises UsageError at the first that is wrong."""
    configs = kept_of(config)
    if source is not None:
        configs[_SOURCE_KEY] = source
    if destination is not None:
        configs[_DESTINATION_KEY] = destination
    for prefix, (key, secret) in keys.items():
        configs.pop(f"{prefix}sasl.jaas.config", None)
        configs[f"{prefix}security.protocol"] = "SASL_SSL"
        configs[f"{prefix}sasl.mechanism"] = "PLAIN"
        configs[f"{prefix}sasl.username"], configs[f"{prefix}sasl.password"] = key, secret
    configs.setdefault("link.mode", "DESTINATION")
    for key, side in ((_SOURCE_KEY, "source"), (_DESTINATION_KEY, "destination")):
        if key not in configs:
            raise UsageError(
                f"the {side} cluster is not given",
                hint=f'Add `--{side}-bootstrap-server HOST:PORT`, or "{key}" to the configuration.',
            )
    try:
        settings_from(configs)
        check_together(configs)
    except SettingError as e:
        raise UsageError(str(e), hint=e.hint) from e
    return configs


def kept_of(config: Sequence[str]) -> dict[str, str]:
    """What is kept of `--config`, by the names that configurations have here; raises UsageError."""
    found: dict[str, str] = {}
    try:
        for given in config:
            found |= kept(parse_config([given]))
    except SettingError as e:
        raise UsageError(str(e), hint=e.hint) from e
    return found


def _refuse_taken(name: str, links: Mapping[str, Link]) -> None:
    if name in links:
        raise Conflict(
            f'cluster link "{name}" already exists',
            hint=f"See what it is with `kmirror link describe {name}`, or choose another name.",
        )


def _refuse_prefix(links: Mapping[str, Link], configs: Mapping[str, str], destination_id: str) -> None:
    """Two links of one destination whose mirrors could have the same names."""
    prefix = configs.get("cluster.link.prefix")
    for other in links.values():
        if prefix and destination_id and (other.prefix, other.destination_cluster_id) == (prefix, destination_id):
            raise Conflict(
                f'the prefix "{prefix}" is already used by link "{other.name}" to the same cluster',
                hint="Choose another `cluster.link.prefix`.",
            )


def ignored_warning(given: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence that names what was given and is not kept; none where all is."""
    ignored = ", ".join(sorted(given.keys() & IGNORED))
    return (f"these configurations mean nothing outside a broker and are not kept: {ignored}",) if ignored else ()


def secrets_warning(configs: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence that names the secrets which are given as they are; none where they are referred to."""
    literal = ", ".join(literal_secrets(configs))
    if not literal:
        return ()
    better = "better refer to it by ${env:NAME}, ${file:/path} or ${file:/path:key}"
    return (f"a secret is kept in links.toml as it is, readable by this user alone: {literal}; {better}",)


def _wanted(configs: Mapping[str, str]) -> GapFill | None:
    mode = configs.get("gap.fill.mode", "auto")
    return None if mode == "auto" else GapFill(mode)


def _ask(configs: Mapping[str, str], name: str, link_id: str) -> _Clusters:
    source, destination = access_of(configs), access_of(configs, DESTINATION_PREFIX)
    check_reachable(source, "source")
    source_id = ClusterAdmin(source, "source", timeout_s=_ID_TIMEOUT_S).cluster_id()
    check_reachable(destination, "destination")
    destination_id = ClusterAdmin(destination, "destination", timeout_s=_ID_TIMEOUT_S).cluster_id()
    if source_id == destination_id:
        raise Conflict(
            f'source and destination are the same cluster "{source_id}"',
            hint="Give the bootstrap servers of two clusters.",
        )
    possible = probe_gap_fill(destination, transactional_id(name, link_id))
    wanted = _wanted(configs)
    if wanted is not None and wanted not in possible:
        raise ClusterError(
            f"the destination does not let this principal write {_WRITTEN[wanted]}",
            hint=f'Choose "gap.fill.mode=auto", or grant it: `{_grant(wanted, configs, name)}`',
            code="AUTHORIZATION_ERROR",
        )
    best = next((way for way in (GapFill.MARKERS, GapFill.TRANSACTIONS) if way in possible), GapFill.NONE)
    return _Clusters(source_id, destination_id, wanted or best)


_WRITTEN = {GapFill.MARKERS: "transaction markers", GapFill.TRANSACTIONS: "empty transactions"}


def _grants(configs: Mapping[str, str], name: str) -> str:
    ways = " or, slower, ".join(f"`{_grant(way, configs, name)}`" for way in _WRITTEN)
    return f"Grant it one of the two: {ways}"


def _grant(way: GapFill, configs: Mapping[str, str], name: str) -> str:
    """The command that grants what `way` needs."""
    transactions = Need("TRANSACTIONAL_ID", "WRITE", f"kmirror.{name}.")
    need = transactions if way is GapFill.TRANSACTIONS else Need("CLUSTER", "ALTER")
    return grant_line(access_of(configs, DESTINATION_PREFIX), need)
