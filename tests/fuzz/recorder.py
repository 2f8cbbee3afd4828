"""kmirror as it is, but for this: the answers of brokers that it gets are kept, a few of each kind, in a folder."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from kmirror.cli.app import main
from kmirror.wire.connection import Connection

FOLDER = "KMIRROR_FUZZ_FOLDER"
_MOST_BYTES = 6000
_MOST_OF_A_KIND = 4


def record(folder: Path) -> None:
    send = Connection.send

    def sending(self: Connection, api_key: int, version: int, parts: Any, **how: Any) -> "asyncio.Future[memoryview]":
        answer = send(self, api_key, version, parts, **how)
        answer.add_done_callback(lambda done: _keep(folder, api_key, version, done))
        return answer

    Connection.send = sending  # type: ignore[method-assign]


def _keep(folder: Path, api_key: int, version: int, done: "asyncio.Future[memoryview]") -> None:
    if done.cancelled() or done.exception() or len(done.result()) > _MOST_BYTES:
        return
    frame = bytes(done.result())
    of_kind = list(folder.glob(f"{api_key}-{version}-*.bin"))
    if len(of_kind) < _MOST_OF_A_KIND and all(len(known.read_bytes()) != len(frame) for known in of_kind):
        (folder / f"{api_key}-{version}-{len(of_kind)}.bin").write_bytes(frame)


if __name__ == "__main__":
    record(Path(os.environ[FOLDER]))
    sys.exit(main())
