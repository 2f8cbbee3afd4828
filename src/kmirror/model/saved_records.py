"""A file of saved records: one JSON object a line, each with a checksum. docs/failback.md describes the format.

The first line says whose records they are, the last one how many: so a file that was cut, or from which a line is
missing, is never taken for a whole one.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

FORMAT: Final = 1
_CHECKSUM: Final = ',"crc":"'


class SavedRecord(NamedTuple):
    """`timestamp` in ms since the epoch, -1 where the record has none."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class SavedHeader:
    """Whose records they are, why and when (ms since the epoch) they were saved."""

    topic: str
    cluster_id: str
    bootstrap_servers: str
    link: str
    saved_ms: int


class Damaged(ValueError):
    """A line that is not what was written there; `line` counts from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line


def header_line(header: SavedHeader) -> bytes:
    return _line(
        {
            "kmirror_records": FORMAT,
            "topic": header.topic,
            "cluster_id": header.cluster_id,
            "bootstrap_servers": header.bootstrap_servers,
            "link": header.link,
            "saved_ms": header.saved_ms,
        }
    )


def record_line(record: SavedRecord) -> bytes:
    return _line(document(record))


def end_line(records: int) -> bytes:
    return _line({"records": records})


def document(record: SavedRecord) -> dict[str, Any]:
    """The record as JSON has it: bytes in base64, so that nothing is lost."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [[name, _text(value)] for name, value in record.headers],
    }


def read_header(line: bytes) -> SavedHeader:
    """Raises Damaged."""
    data = _data(line, 1)
    if "kmirror_records" not in data:
        raise Damaged(1, "this is no file of saved records")
    if data["kmirror_records"] != FORMAT:
        raise Damaged(1, f"format {data['kmirror_records']} is not known to this kmirror")
    try:
        return SavedHeader(
            topic=_is(data["topic"], str),
            cluster_id=_is(data["cluster_id"], str),
            bootstrap_servers=_is(data["bootstrap_servers"], str),
            link=_is(data["link"], str),
            saved_ms=_is(data["saved_ms"], int),
        )
    except (KeyError, TypeError) as e:
        raise Damaged(1, f"unreadable header: {e}") from e


def read_records(lines: Iterator[bytes]) -> Iterator[SavedRecord]:
    """The records behind the header, to the line that ends them. Raises Damaged, which names the line."""
    count = 0
    for number, line in enumerate(lines, start=2):
        data = _data(line, number)
        if "records" in data:
            if data["records"] != count:
                raise Damaged(number, f"{data['records']} records were saved, {count} are here")
            if next(lines, None) is not None:
                raise Damaged(number + 1, "something stands behind the end")
            return
        yield _record(data, number)
        count += 1
    raise Damaged(count + 2, "the end is missing: the file was cut")


def _record(data: dict[str, Any], number: int) -> SavedRecord:
    try:
        return SavedRecord(
            topic=_is(data["topic"], str),
            partition=_is(data["partition"], int),
            offset=_is(data["offset"], int),
            timestamp=_is(data["timestamp"], int),
            key=_bytes(data["key"]),
            value=_bytes(data["value"]),
            headers=tuple((_is(name, str), _bytes(value)) for name, value in data["headers"]),
        )
    except (KeyError, TypeError, ValueError) as e:
        raise Damaged(number, f"unreadable record: {e}") from e


def _line(data: dict[str, Any]) -> bytes:
    body = json.dumps(data, separators=(",", ":"), ensure_ascii=True)[:-1]
    return f'{body}{_CHECKSUM}{zlib.crc32(body.encode()):08x}"}}\n'.encode()


def _data(line: bytes, number: int) -> dict[str, Any]:
    body, found, rest = line.decode(errors="replace").rpartition(_CHECKSUM)
    if not found or rest != f'{zlib.crc32(body.encode()):08x}"}}\n':
        raise Damaged(number, "the checksum does not fit what stands there" if found else "it has no checksum")
    try:
        data = json.loads(body + "}")
    except ValueError as e:
        raise Damaged(number, f"no JSON: {e}") from e
    return _is_object(data, number)


def _is_object(data: Any, number: int) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Damaged(number, "no JSON object")
    return data


def _is(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return base64.b64decode(_is(text, str), validate=True)
    except binascii.Error as e:
        raise ValueError(f"no base64: {e}") from e
