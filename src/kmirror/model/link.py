"""A link: two clusters, the properties to reach them, and the mirrors between them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from kmirror.model.access import Access, access_of
from kmirror.model.mirror import Mirror

DESTINATION_PREFIX: Final = "destination."
"""A link's properties speak of the source, as in Cluster Linking; those with this prefix speak of the destination."""


class GapFill(StrEnum):
    """How an offset without a visible record can be taken at the destination (found out when the link is made)."""

    MARKERS = "markers"
    """WriteTxnMarkers (api 27): one control marker an offset, many in a request."""
    TRANSACTIONS = "transactions"
    """Empty transactions: one offset each, slower, need no right on the cluster."""
    NONE = "none"
    """The destination allows neither."""

    @property
    def pace(self) -> str:
        """How fast, as measured on one machine with one broker."""
        return _PACES[self]


_PACES: Final = {
    GapFill.MARKERS: "about 15,000 offsets a second in a partition",
    GapFill.TRANSACTIONS: "about 120 offsets a second in a partition",
    GapFill.NONE: "",
}


def transactional_id(name: str, link_id: str) -> str:
    """Of a link at its destination; those of its partitions begin with it and a dot."""
    return f"kmirror.{name}.{link_id}"


@dataclass(frozen=True, slots=True)
class Link:
    """What is remembered of a link. `link_id` is made once: two people's links of one name never meet."""

    name: str
    link_id: str
    source_cluster_id: str
    destination_cluster_id: str
    configs: Mapping[str, str]
    gap_fill: GapFill
    created_ms: int
    mirrors: Mapping[str, Mirror] = field(default_factory=dict)
    """By the name of the mirror topic."""
    guards: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By topic the principals for whom kmirror has added, or is about to add, a DENY WRITE: those are to go again."""

    @property
    def source_bootstrap(self) -> str:
        return self.configs["bootstrap.servers"]

    @property
    def destination_bootstrap(self) -> str:
        return self.configs[DESTINATION_PREFIX + "bootstrap.servers"]

    @property
    def source(self) -> Access:
        """How the source is reached."""
        return access_of(self.configs)

    @property
    def destination(self) -> Access:
        return access_of(self.configs, DESTINATION_PREFIX)

    @property
    def paused(self) -> bool:
        return self.configs.get("cluster.link.paused") == "true"

    @property
    def prefix(self) -> str:
        """What the name of every mirror begins with; empty where the link has none."""
        return self.configs.get("cluster.link.prefix", "")

    @property
    def transactional_id(self) -> str:
        """Keeps the link's producer id at the destination, the same on every host and at every start."""
        return transactional_id(self.name, self.link_id)

    def with_mirror(self, mirror: Mirror) -> "Link":
        return replace(self, mirrors={**self.mirrors, mirror.topic: mirror})


_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_NAME_LENGTH: Final = 249  # org.apache.kafka.common.internals.Topic.MAX_NAME_LENGTH


def name_fault(name: str) -> str | None:
    """What is wrong with the name of a topic or link, by Kafka's rule (Topic.validate); None if nothing is."""
    if not name:
        return "is empty"
    if name in {".", ".."}:
        return 'may not be "." or ".."'
    if len(name) > _NAME_LENGTH:
        return f"is longer than {_NAME_LENGTH} characters"
    if not _NAME.fullmatch(name):
        return 'may hold only letters, digits, ".", "_" and "-"'
    return None
