"""`link install-unit`: a systemd unit that runs a link, for this user or for the machine (systemd.service(5))."""

import getpass
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from kmirror.errors import Conflict, StateError
from kmirror.process.detached import running
from kmirror.process.runner import EXIT_SUPERSEDED
from kmirror.state.atomic import write_atomic
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home

_PUBLIC: Final = 0o644


class Scope(StrEnum):
    """Whose service manager runs it."""

    USER = "user"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Unit:
    """`steps` are the commands that make it run, in order."""

    path: Path
    text: str
    steps: tuple[str, ...]


def plan_unit(home: Home, name: str, scope: Scope, command: Sequence[str], options: Sequence[str] = ()) -> Unit:
    """The unit of a link; `command` is this very kmirror, `options` are further ones of `link run`.

    Writes nothing. Raises NotFound.
    """
    link = LinkStore(home).get(name)
    path = _directory(scope) / f"kmirror-{link.name}.service"
    user = getpass.getuser() if scope is Scope.SYSTEM else None
    text = unit_text(name, [*command, "link", "run", name, *options], environment=_environment(), user=user)
    manager = "systemctl --user" if scope is Scope.USER else "systemctl"
    steps = [f"{manager} daemon-reload", f"{manager} enable --now {path.name}"]
    if running(home, name):
        steps.insert(0, f"kmirror link stop {name}")
    if scope is Scope.USER:
        steps.append(f"loginctl enable-linger {getpass.getuser()}")
    return Unit(path, text, tuple(steps))


def install_unit(unit: Unit, *, force: bool) -> bool:
    """Writes it; False where the same is there already. Raises Conflict where another one is, unless forced."""
    try:
        there = unit.path.read_text("utf-8") if unit.path.exists() else None
        if there == unit.text:
            return False
        if there is not None and not force:
            raise Conflict(
                f'"{unit.path}" exists and is different',
                hint="Look at the new one with `--print`, and replace the old one with `--force`.",
            )
        unit.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(unit.path, unit.text.encode())
        unit.path.chmod(_PUBLIC)
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is no text"
        hint = "Run it as root, or install it for your user alone with `--user`. `--print` shows it."
        raise StateError(f'cannot write "{unit.path}": {reason}', hint=hint) from e
    return True


def unit_text(name: str, command: Sequence[str], *, environment: Mapping[str, str], user: str | None) -> str:
    """For a user's own service manager without `user`; for that of the machine with it."""
    lines = [
        "[Unit]",
        f"Description=kmirror link {name}",
        "Wants=network-online.target",
        "After=network-online.target",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        *([f"User={user}"] if user else []),
        *(f"Environment={_quoted(f'{key}={value}')}" for key, value in environment.items()),
        "ExecStart=" + " ".join(_quoted(word, command=True) for word in command),
        "Restart=on-failure",
        "RestartSec=5",
        "# Another runner took the link over: a restart would take it back.",
        f"RestartPreventExitStatus={EXIT_SUPERSEDED}",
        "TimeoutStopSec=15",
        "NoNewPrivileges=yes",
        "",
        "[Install]",
        f"WantedBy={'multi-user.target' if user else 'default.target'}",
    ]
    return "\n".join(lines) + "\n"


def _environment() -> dict[str, str]:
    """What says where links.toml and the runtime files are: the service has to look where this user does."""
    keys = ("KMIRROR_HOME",) if os.environ.get("KMIRROR_HOME") else ("XDG_CONFIG_HOME", "XDG_STATE_HOME")
    return {key: str(Path(os.environ[key]).absolute()) for key in keys if os.environ.get(key)}


def _quoted(word: str, *, command: bool = False) -> str:
    """As systemd.syntax(7) reads it back: `%` begins a specifier, in commands `$` a variable."""
    word = word.replace("%", "%%")
    if command:
        word = word.replace("$", "$$")
    if word and not set(word) & set(" \t\"'\\;"):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'


def _directory(scope: Scope) -> Path:
    if scope is Scope.SYSTEM:
        return Path("/etc/systemd/system")
    configuration = os.environ.get("XDG_CONFIG_HOME")
    return (Path(configuration) if configuration else Path.home() / ".config") / "systemd" / "user"
