"""`link pause` and `link resume`: `cluster.link.paused`, and the wait until the runner has taken it."""

import time
from dataclasses import dataclass
from typing import Final

from kmirror.errors import NotReached
from kmirror.model.states import LIVE
from kmirror.model.status import LinkState
from kmirror.ops.clock import now_ms
from kmirror.ops.link_config import set_config
from kmirror.process.control import observe
from kmirror.process.detached import running, start_runner
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home

_KEY: Final = "cluster.link.paused"
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class LinkPause:
    """`already`: it was so before. `runner_pid` is None where none runs."""

    already: bool
    runner_pid: int | None


def pause_link(home: Home, name: str, *, timeout_s: float) -> LinkPause:
    """Nothing is copied or synced when this returns, but what was on its way. Raises NotFound, NotReached."""
    update = set_config(home, name, _KEY, "true")
    _await(home, name, timeout_s, paused=True)
    runner = running(home, name)
    return LinkPause(not update.changes, runner.pid if runner else None)


def resume_link(home: Home, name: str, *, timeout_s: float) -> LinkPause:
    """As pause_link; starts the runner if none runs and there is something to copy."""
    already = not LinkStore(home).get(name).paused
    set_config(home, name, _KEY, "false")
    live = any(mirror.state in LIVE for mirror in LinkStore(home).get(name).mirrors.values())
    if live:
        start_runner(home, name)
    _await(home, name, timeout_s, paused=False)
    runner = running(home, name)
    return LinkPause(already, runner.pid if runner else None)


def _await(home: Home, name: str, timeout_s: float, *, paused: bool) -> None:
    """Until the runner shows it; at once where none runs."""
    deadline = time.monotonic() + timeout_s
    asked_ms = now_ms()
    while running(home, name) is not None:
        status = observe(home, name)
        if status and status.updated_ms >= asked_ms and (status.state is LinkState.PAUSED) == paused:
            return
        if time.monotonic() > deadline:
            raise NotReached(
                f'the runner of link "{name}" has not taken it after {timeout_s:g} s',
                hint=f"See what it does with `kmirror link logs {name}`.",
            )
        time.sleep(_POLL_S)
