"""acls.json: the ACLs that AclSync created at the destination, and those that it last saw at the source.

A runtime file. Where it is lost, what was created so far is taken for the destination's own, and never deleted.
"""

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field

from kmirror.errors import StateError
from kmirror.model.acls import Acl
from kmirror.state.atomic import write_atomic
from kmirror.state.runtime import RunFiles

_NAME = "acls.json"


@dataclass(frozen=True, slots=True)
class KnownAcls:
    """`ours`: what kmirror created, each with the source's ACL it came from."""

    ours: Mapping[Acl, Acl] = field(default_factory=dict)
    source: frozenset[Acl] = frozenset()


def read_acls(files: RunFiles) -> KnownAcls:
    """Raises StateError where the file is damaged: what it said decides what may be deleted."""
    path = files.directory / _NAME
    try:
        data = json.loads(path.read_bytes())
        ours = {Acl(*acl): Acl(*origin) for acl, origin in data["ours"]}
        return KnownAcls(ours, frozenset(Acl(*acl) for acl in data["source"]))
    except FileNotFoundError:
        return KnownAcls()
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise StateError(
            f'cannot read "{path}": {e}',
            hint="Delete it: the ACLs that were created so far are then taken for the destination's own.",
        ) from e


def write_acls(files: RunFiles, known: KnownAcls) -> None:
    """Replaces the file and waits for the disk; raises StateError."""
    files.create()
    path = files.directory / _NAME
    ours = [[astuple(acl), astuple(origin)] for acl, origin in sorted(known.ours.items())]
    data = {"ours": ours, "source": [astuple(acl) for acl in sorted(known.source)]}
    try:
        write_atomic(path, json.dumps(data, separators=(",", ":")).encode())
    except OSError as e:
        raise StateError(f'cannot write "{path}": {e.strerror}', hint="Free some disk space.") from e
