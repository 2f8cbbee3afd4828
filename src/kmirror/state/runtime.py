"""The runtime files of one link: who runs it, what was last seen, its log. All of them may be deleted at any time."""

import json
from dataclasses import asdict
from pathlib import Path

from kmirror.model.status import LinkStatus, link_status_from
from kmirror.state.atomic import write_atomic
from kmirror.state.lock import RunLock
from kmirror.state.paths import Home, private_directory


class RunFiles:
    """`<runtime>/<link>/`: lock, status.json, control.sock, kmirror.log, runner.out."""

    def __init__(self, home: Home, link: str) -> None:
        self.directory = home.run_directory(link)
        self.log = self.directory / "kmirror.log"
        self.output = self.directory / "runner.out"
        self.socket = self.directory / "control.sock"
        self._status = self.directory / "status.json"
        self.lock = RunLock(self.directory / "lock")

    def create(self) -> Path:
        return private_directory(self.directory)

    def write_status(self, status: LinkStatus) -> None:
        """Replaces status.json; raises OSError."""
        self.create()
        write_atomic(self._status, json.dumps(asdict(status)).encode(), durable=False)

    def read_status(self) -> LinkStatus | None:
        """What was last seen; None where nothing is left of it."""
        try:
            return link_status_from(json.loads(self._status.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None  # advice, never truth: a damaged one is as good as none
