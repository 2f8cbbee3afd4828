"""What `--config` may hold: a comma list `key=value,key=value`, or the path of a properties file."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from kmirror.errors import UsageError

_ESCAPES = ((r"\n", "\n"), (r"\r", "\r"), (r"\t", "\t"))


def parse_config(given: Sequence[str]) -> dict[str, str]:
    """The properties of all `--config` options; of a key given twice the last value holds. Raises UsageError."""
    found: dict[str, str] = {}
    for text in given:
        path = Path(text)
        found |= _pairs(_file_lines(path)) if _is_file(path) else _pairs(_list_items(text))
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False  # longer than any path may be: a list


def _file_lines(path: Path) -> Iterable[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is not text in UTF-8"
        raise UsageError(f'cannot read configuration file "{path}": {why}', hint="Give a readable file.") from e
    lines = (line.strip() for line in text.replace("\\\n", "").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _list_items(text: str) -> Iterable[str]:
    """Split at commas; what has no `=` belongs, comma and all, to the value before it."""
    items: list[str] = []
    for part in text.split(","):
        if "=" in part or not items:
            items.append(part)
        else:
            items[-1] += f",{part}"
    return items


def _pairs(items: Iterable[str]) -> dict[str, str]:
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f'failed to parse "key=value" pattern from configuration: {item}',
                hint='Write "key=value,key=value", or the path of an existing file with one "key=value" a line.',
            )
        for escape, character in _ESCAPES:
            value = value.replace(escape, character)
        found[key.strip()] = value
    return found
