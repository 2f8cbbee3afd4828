"""`kmirror doctor`, this machine: files, folders, runners and what they tell. Asks no cluster."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kmirror.model.checkup import Finding, fail, ok, warn
from kmirror.model.link import Link
from kmirror.model.states import LIVE, MirrorState
from kmirror.model.tasks import TaskState
from kmirror.ops.mirror_rows import error_text
from kmirror.ops.seen import Seen
from kmirror.ops.task_view import list_tasks
from kmirror.ops.transition_errors import reasons
from kmirror.state.paths import Home

_PRIVATE: Final = 0o077
"""Of what may hold secrets."""
_OURS: Final = 0o022
"""Of the folder above those of the links, each of which is private: others may look, and change nothing."""
_LITTLE_BYTES: Final = 1 << 30
_TOO_LITTLE_BYTES: Final = 64 << 20
"""A runner's logs may take 60 MB (10 MB in each of six files)."""


def check_folders(home: Home) -> Iterator[Finding]:
    """Where links.toml, and where logs, locks and the ledger are."""
    for path, denied in ((home.config, _PRIVATE), (home.runtime, _OURS)):
        yield from _folder(path, denied)
    if home.links_file.exists():
        yield _mode(home.links_file, _PRIVATE)


def _folder(path: Path, denied: int) -> Iterator[Finding]:
    there = next(p for p in (path, *path.parents) if p.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        yield fail("folder", str(path), "this user may not write there", f"chown or chmod {there}, or set KMIRROR_HOME")
    elif path.exists():
        yield _mode(path, denied)
    else:
        yield ok("folder", str(path), "is made when it is needed")
    free = shutil.disk_usage(there).free
    text = f"{free / (1 << 30):,.1f} GiB are free"
    if free < _TOO_LITTLE_BYTES:
        yield fail("disk", str(path), text, "free some disk space: status and logs can't be written")
    elif free < _LITTLE_BYTES:
        yield warn("disk", str(path), text, "free some disk space")
    else:
        yield ok("disk", str(path), text)


def _mode(path: Path, denied: int) -> Finding:
    """`denied` are the bits of the mode that may not be set."""
    found = path.stat()
    if found.st_uid != os.geteuid():
        return warn("folder", str(path), f"belongs to user {found.st_uid}", "run kmirror as that user")
    if stat.S_IMODE(found.st_mode) & denied:
        return warn(
            "folder",
            str(path),
            f"mode {stat.S_IMODE(found.st_mode):o} lets others in",
            f"chmod {'go=' if denied == _PRIVATE else 'go-w'} {path}",
        )
    return ok("folder", str(path), "is this user's alone")


def check_left_over(home: Home, names: frozenset[str]) -> Iterator[Finding]:
    """Runtime folders of links that are no more."""
    if not home.runtime.is_dir():
        return
    for path in sorted(home.runtime.iterdir()):
        if path.is_dir() and path.name not in names:
            yield warn("folder", str(path), "belongs to no link", f"rm -r {path}, if no other kmirror uses it")


def check_runner(home: Home, seen: Seen) -> Iterator[Finding]:
    """Who copies, what it tells, and whether its tasks work."""
    name = seen.link.name
    live = sum(mirror.state in LIVE for mirror in seen.link.mirrors.values())
    if seen.silent:
        yield fail("runner", name, "it does not answer: frozen, or stuck", f"kmirror link logs {name}")
    elif seen.runner:
        yield ok("runner", name, f"runs with pid {seen.runner.pid}")
    elif live:
        yield fail("runner", name, f"none runs, and {live} mirrors are to be copied", f"kmirror link start {name}")
    else:
        yield ok("runner", name, "none runs, and none is needed")
    if seen.link.paused:
        yield warn("link", name, "is paused: nothing is copied", f"kmirror link resume {name}")
    if seen.fresh and seen.fresh.trouble:
        yield fail("link", name, seen.fresh.trouble.message, f"kmirror link describe {name}")
    for row in list_tasks(home, name).rows:
        if row.state in {TaskState.IN_ERROR, TaskState.LINK_UNAVAILABLE}:
            told = "; ".join(f"{e.error_code}: {e.error_message}" for e in row.errors)
            yield warn("task", row.task_name, told, f"kmirror link task list {name}")


def check_mirrors(seen: Seen) -> Iterator[Finding]:
    """Those that failed, are held up, or can't be copied now; the others are counted."""
    well = 0
    for mirror in seen.link.mirrors.values():
        shown = seen.shown_state(mirror)
        held_up = list(reasons(seen, mirror)) if shown is not MirrorState.FAILED else []
        if shown is MirrorState.FAILED:
            why = error_text(mirror.error) if mirror.error else "see its partitions"
            action = f"kmirror mirror describe {mirror.topic} --link {seen.link.name}"
            yield fail("mirror", mirror.topic, f"FAILED: {why}", action)
        elif held_up:
            more = f" (and {len(held_up) - 1} more)" if len(held_up) > 1 else ""
            yield warn(
                "mirror",
                mirror.topic,
                f"{shown}: {held_up[0].error_message}{more}",
                f"kmirror mirror state-transition-error list {mirror.topic} --link {seen.link.name}",
            )
        elif shown in {MirrorState.SOURCE_UNAVAILABLE, MirrorState.LINK_FAILED}:
            action = f"kmirror mirror describe {mirror.topic} --link {seen.link.name}"
            yield fail("mirror", mirror.topic, f"{shown}", action)
        else:
            well += 1
    if well:
        yield ok("mirror", "all" if well == len(seen.link.mirrors) else "the others", f"{well} are well")


def stamped(link: Link, findings: Iterator[Finding]) -> Iterator[Finding]:
    """With the name of the link that they are about."""
    for f in findings:
        yield Finding(f.check, f.subject, f.result, f.message, f.action, link.name)
