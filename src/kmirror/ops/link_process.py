"""`link start`, `link stop`, `link logs`: the detached process of a link."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kmirror.process.detached import living, running, start_runner, stop_runner
from kmirror.state.links import LinkStore
from kmirror.state.lock import Runner
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles


@dataclass(frozen=True, slots=True)
class Started:
    runner: Runner
    already: bool


def start_link(home: Home, name: str, options: Sequence[str] = ()) -> Started:
    """`options` are further ones of `link run`: they hold for this runner alone.

    Raises NotFound, and with its last words what kept the runner from starting.
    """
    LinkStore(home).get(name)
    found = living(home, name)
    return Started(found or start_runner(home, name, options=options), already=found is not None)


def stop_link(home: Home, name: str) -> bool:
    """False where none ran. A link that was deleted meanwhile may still be stopped."""
    if running(home, name) is None:
        LinkStore(home).get(name)
        return False
    return stop_runner(home, name)


def log_path(home: Home, name: str) -> Path:
    """Where the runner of this link logs; raises NotFound."""
    return RunFiles(home, LinkStore(home).get(name).name).log
