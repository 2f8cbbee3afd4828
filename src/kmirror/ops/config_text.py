"""What `--config` may hold: a comma list `key=value,key=value`, or the path of a properties file."""

from collections.abc import Sequence
from pathlib import Path

from kmirror.errors import UsageError

_ESCAPES = ((r"\n", "\n"), (r"\r", "\r"), (r"\t", "\t"))


def parse_config(given: Sequence[str]) -> dict[str, str]:
    """The properties of all `--config` options; of a key given twice the last value holds. Raises UsageError."""
    found: dict[str, str] = {}
    for text in given:
        path = Path(text)
        found |= _file_pairs(path) if _is_file(path) else _list_pairs(text)
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False  # longer than any path may be: a list


def _file_pairs(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is not text in UTF-8"
        raise UsageError(f'cannot read configuration file "{path}": {why}', hint="Give a readable file.") from e
    found = {}
    begun = ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.endswith("\\"):
            begun += line[:-1]
            continue
        item, begun = (begun + line).strip(), ""
        if item and not item.startswith("#"):
            # A line may be a part of a secret: its number is enough.
            key, value = _pair(item, f'line {number} of "{path}"')
            found[key] = value
    return found


def _list_pairs(text: str) -> dict[str, str]:
    """Split at commas; what has no `=` belongs, comma and all, to the value before it."""
    items: list[str] = []
    for part in text.split(","):
        if "=" in part or not items:
            items.append(part)
        else:
            items[-1] += f",{part}"
    return dict(_pair(item, item) for item in items)


def _pair(item: str, place: str) -> tuple[str, str]:
    """`place` is how an error calls it."""
    key, equals, value = item.partition("=")
    if not equals or not key.strip():
        raise UsageError(
            f'failed to parse "key=value" pattern from configuration: {place}',
            hint='Write "key=value,key=value", or the path of an existing file with one "key=value" a line.',
        )
    for escape, character in _ESCAPES:
        value = value.replace(escape, character)
    return key.strip(), value
