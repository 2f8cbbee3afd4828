"""docs/configuration.md: every key that a link may have, from the registry of them."""

from kmirror.model.settings import SETTINGS

HEAD = """\
<!-- Made by `make docs` from src/kmirror/model/settings.py. -->

# Configuration of a link

A link's configurations are `key=value` pairs, with Cluster Linking's own names where it has them. They are given to
`kmirror link create --config`: as a comma list, or as a file with one pair a line (blank lines and those that begin
with `#` are skipped; a backslash at the end joins a line with the next). Flags win over `--config`. An unknown key, and
a value that a key may not hold, are refused.

| key | type | default | meaning |
| --- | --- | --- | --- |
"""


def page() -> str:
    rows = [f"| `{key}` | {_type(s.default)} | {_code(s.default)} | {s.meaning} |" for key, s in SETTINGS.items()]
    return HEAD + "\n".join(rows) + "\n"


def _type(default: str) -> str:
    if default in {"true", "false"}:
        return "boolean"
    return "number" if default.isdigit() else "text"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
