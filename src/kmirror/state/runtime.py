"""The runtime files of one link: who runs it, what was last seen, its log. All of them may be deleted at any time."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from kmirror.errors import StateError
from kmirror.model.ledger import LostGap
from kmirror.model.status import LinkStatus, MirrorStatus, link_status_from, plain_mirror, plain_status
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
        self._gaps = self.directory / "gaps.jsonl"
        self._texts: dict[str, tuple[MirrorStatus, str]] = {}
        self.lock = RunLock(self.directory / "lock")

    def create(self) -> Path:
        return private_directory(self.directory)

    def append_gap(self, gap: LostGap) -> None:
        """Adds a line to the ledger and waits for the disk; raises StateError."""
        self.create()
        try:
            fd = os.open(self._gaps, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(json.dumps(asdict(gap)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as e:
            raise StateError(f'cannot write "{self._gaps}": {e.strerror}', hint="Free some disk space.") from e

    def read_gaps(self) -> list[LostGap]:
        """Every line of the ledger, oldest first; raises StateError where it is damaged."""
        try:
            lines = self._gaps.read_text().splitlines()
            return [LostGap(**json.loads(line)) for line in lines]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as e:
            raise StateError(f'cannot read the ledger "{self._gaps}": {e}', hint="Repair it, or move it away.") from e

    def write_status(self, status: LinkStatus) -> None:
        """Replaces status.json; raises OSError. Of a mirror whose status is the very same as before so is the text."""
        self.create()
        known, texts = self._texts, {}
        for topic, mirror in status.mirrors.items():
            text = known.get(topic)
            if text is None or text[0] is not mirror:
                text = mirror, f"{json.dumps(topic)}: {json.dumps(plain_mirror(mirror))}"
            texts[topic] = text
        self._texts = texts
        link = plain_status(replace(status, mirrors={}))
        del link["mirrors"]
        mirrors = ", ".join(text for _, text in texts.values())
        write_atomic(self._status, f'{json.dumps(link)[:-1]}, "mirrors": {{{mirrors}}}}}'.encode(), durable=False)

    def read_status(self) -> LinkStatus | None:
        """What was last seen; None where nothing is left of it."""
        try:
            return link_status_from(json.loads(self._status.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None  # advice, never truth: a damaged one is as good as none
