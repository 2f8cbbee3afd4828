"""What reads bytes that come from a broker: each target takes damaged ones, and may raise what it is allowed to."""

import asyncio
import random
import struct
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from crc32c import crc32c

from fuzz.damage import damaged
from kmirror.engine.reencode import reencode
from kmirror.engine.steps import Reencode
from kmirror.engine.translate import translate
from kmirror.errors import KmirrorError
from kmirror.model import filters, saved_records, settings
from kmirror.ops import config_text
from kmirror.state import fleet_file, links
from kmirror.wire import batch, checkup, dial, fetch, groups, log_ends, produce, records, rpc, transactions
from kmirror.wire.buffers import BufferPool
from kmirror.wire.connection import Connection

CORPUS = Path(__file__).parent / "corpus"

Target = Callable[[bytes, int], None]
"""Takes a frame and the version of its request."""

_CRC_AT, _CRC_FROM = 17, 21
PLACE = ("of-none", 0)


class Broker(Connection):
    """Answers every request with the one frame."""

    def __init__(self, frame: bytes, api_key: int, version: int) -> None:
        super().__init__("broker:9092", BufferPool())
        self.versions = {api_key: (version, version)}
        self._frame = frame

    def send(self, *_: Any, **__: Any) -> "asyncio.Future[memoryview]":
        answer: asyncio.Future[memoryview] = asyncio.get_running_loop().create_future()
        answer.set_result(memoryview(self._frame))
        return answer


def _asked(api_key: int, ask: Callable[[Connection], Coroutine[Any, Any, object]]) -> Target:
    def run(frame: bytes, version: int) -> None:
        async def act() -> None:
            await ask(Broker(frame, api_key, version))

        with suppress(KmirrorError):
            _LOOP.run_until_complete(act())

    return run


def _partitions(frame: bytes, version: int) -> list[fetch.Fetched]:
    """None of a frame that can't be read."""
    try:
        return fetch.decode_fetch(memoryview(bytearray(frame)), version)[2]
    except KmirrorError:
        return []


def _fetched(frame: bytes, version: int) -> None:
    for partition in _partitions(frame, version):
        read_log(partition.records, partition.aborted)


def read_log(data: memoryview, aborted: tuple[tuple[int, int], ...] = ()) -> None:
    """All that kmirror does with the records of a fetch. A wrong checksum ends it early: see `_repaired`."""
    for step in translate(data, 0, aborted):
        if isinstance(step, Reencode):
            _may_be_unreadable(lambda step=step: list(reencode(step)))  # type: ignore[misc]
    batch.epoch_before(data, 10, {})


def _is_split(data: memoryview) -> bool:
    return _may_be_unreadable(lambda: list(batch.split(data)))


def _may_be_unreadable(act: Callable[[], object]) -> bool:
    try:
        act()
    except ValueError:
        return False
    return True


def _unchecked(frame: bytes, version: int) -> None:
    """The records of a damaged batch whose checksum fits: by a broker that means harm."""
    for partition in _partitions(frame, version):
        if not _is_split(partition.records):
            continue
        for raw in batch.split(partition.records):
            if len(raw.data) >= batch.HEADER_BYTES and raw.magic == 2:
                _may_be_unreadable(lambda raw=raw: records.read_records(raw.data))  # type: ignore[misc]
            _may_be_unreadable(lambda raw=raw: batch.decode(raw.data))  # type: ignore[misc]


def _repaired(frame: bytes, version: int) -> None:
    """Damaged batches whose checksums fit, on the way that every fetch goes."""
    for partition in _partitions(frame, version):
        if _is_split(partition.records):
            for raw in batch.split(partition.records):
                if raw.magic == 2 and len(raw.data) > _CRC_FROM:
                    struct.pack_into(">I", raw.data, _CRC_AT, crc32c(raw.data[_CRC_FROM:]))
        read_log(partition.records, partition.aborted)


def _text(read: Callable[[bytes], object], *allowed: type[Exception]) -> Target:
    def run(data: bytes, _: int) -> None:
        with suppress(*allowed):
            read(data)

    return run


def _properties(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        for key, value in config_text.parse_config([file.name]).items():
            settings.check_setting(key, value)


def _produced(frame: bytes, version: int) -> None:
    with suppress(KmirrorError):
        produce.decode_produce(memoryview(frame), version)


async def _committed(connection: Connection) -> None:
    await groups._fetch(connection, ["readers"], {}, {})


async def _coordinators(connection: Connection) -> None:
    await groups._coordinators(connection, ["readers"], {})


async def _commit(connection: Connection) -> None:
    await groups._commit(connection, "readers", {})


TARGETS: dict[str, tuple[int | str, Target]] = {
    "fetch": (1, _fetched),
    "records": (1, _unchecked),
    "repaired": (1, _repaired),
    "produce": (0, _produced),
    "list_offset": (2, _asked(2, lambda c: rpc.list_offset(c, *PLACE, at=-1, replica=-1))),
    "log_ends": (2, _asked(2, lambda c: log_ends.log_ends(c, [PLACE]))),
    "metadata": (3, _asked(3, lambda c: rpc.metadata(c, ["x"]))),
    "offset_commit": (8, _asked(8, _commit)),
    "offset_fetch": (9, _asked(9, _committed)),
    "find_coordinator": (10, _asked(10, _coordinators)),
    "transaction_coordinators": (10, _asked(10, lambda c: rpc.transaction_coordinators(c, ["readers", "others"]))),
    "init_producer_id": (22, _asked(22, lambda c: rpc.init_producer_id(c, "x"))),
    "write_txn_markers": (27, _asked(27, lambda c: rpc.try_marker(c, "x"))),
    "producer_state": (61, _asked(61, lambda c: rpc.producer_state(c, *PLACE, 1))),
    "transaction_state": (65, _asked(65, lambda c: rpc.transaction_state(c, "x"))),
    "transaction_stage": (65, _asked(65, lambda c: transactions.transaction_stage(c, "x"))),
    "clock": (55, _asked(55, checkup._clock)),
    "links.toml": ("links", _text(lambda data: links.parse_links(data, Path("links.toml")), KmirrorError)),
    "apply": ("fleet", _text(fleet_file.parse_fleet, fleet_file.FleetFileError)),
    "filters": ("filters", _text(lambda data: filters.parse_filters(data.decode(), "topicFilters"), ValueError)),
    "acl_filters": ("acls", _text(lambda data: filters.parse_acl_filters(data.decode()), ValueError)),
    "properties": ("properties", _text(_properties, KmirrorError, settings.SettingError)),
    "saved_records": (
        "saved",
        _text(lambda data: list(saved_records.read_records(iter(data.splitlines(True)))), ValueError),
    ),
    "versions": (18, _asked(18, lambda c: dial._learn_versions(c, "broker", 5.0))),
    "add_partitions": (24, _asked(24, lambda c: transactions.add_partitions(c, "x", (1, 1), [PLACE]))),
    "end_transaction": (26, _asked(26, lambda c: transactions.end_transaction(c, "x", (1, 1)))),
}
_LOOP = asyncio.new_event_loop()


def corpus(kind: int | str) -> list[tuple[int, bytes]]:
    """(version, frame) of every frame that was captured of a request; of a kind of text the version is 0."""
    files = sorted(CORPUS.glob(f"{kind}-*.bin"))
    return [(int(file.stem.split("-")[1]), file.read_bytes()) for file in files]


def damage_of(name: str) -> Callable[[int], tuple[bytes, int]]:
    """A function from a seed to a damaged frame for a target, and its version."""
    frames = corpus(TARGETS[name][0])
    others = [frame for _, frame in frames]

    def damage(seed: int) -> tuple[bytes, int]:
        noise = random.Random(seed)
        version, frame = noise.choice(frames)
        return damaged(frame, others, noise), version

    return damage
