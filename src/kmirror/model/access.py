"""How a cluster is reached: its bootstrap servers, and the security properties as they were given."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmirror.model.security import KEYS


@dataclass(frozen=True, slots=True)
class Access:
    """`properties` are those of `model/security.py`, sorted; without any, the cluster is reached in plain.

    Secrets in them may be references, which whoever connects resolves.
    """

    bootstrap: str
    properties: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return self.bootstrap


def access_of(configs: Mapping[str, str], prefix: str = "") -> Access:
    """Of the side whose keys begin with `prefix`; "bootstrap.servers" has to be there."""
    properties = ((key, configs[prefix + key]) for key in sorted(KEYS) if prefix + key in configs)
    return Access(configs[f"{prefix}bootstrap.servers"], tuple(properties))
