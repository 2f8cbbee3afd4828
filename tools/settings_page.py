"""docs/configuration.md: every key that a link may have, from the registry of them."""

from kmirror.model.setting import Setting
from kmirror.model.settings import IGNORED, SETTINGS

HEAD = """\
<!-- Made by `make docs` from src/kmirror/model/settings.py. -->

# Configuration of a link

A link's configurations are `key=value` pairs, with Cluster Linking's own names where it has them. They are given to
`kmirror link create --config`: as a comma list, or as a file with one pair a line (blank lines and those that begin
with `#` are skipped; a backslash at the end joins a line with the next). Flags win over `--config`. An unknown key, and
a value that a key may not hold, are refused. `kmirror link configuration list`, `update` and `delete-key` show and
change them later, and a runner at work takes the change.

*Changes*: `yes` where the key of a link may be changed later, `no` where it stays as the link was made.
`kmirror link configuration list LINK` shows them all, `update LINK --config ..` changes those that are given, and
`delete-key LINK KEY` takes one back to its default. A running link takes a change at once.

A file that was made for Cluster Linking moves over as it is. Keys of it that say how a broker does the work mean
nothing here: they are named in a warning and not kept. These are IGNORED_KEYS.

A feature without its filter would do nothing, so it is refused; and a feature that is disabled loses its filter.

| key | type | default | changes | meaning |
| --- | --- | --- | --- | --- |
"""


def page() -> str:
    ignored = ", ".join(_code(key) for key in sorted(IGNORED))
    return HEAD.replace("IGNORED_KEYS", ignored) + "".join(_row(key, setting) for key, setting in SETTINGS.items())


def _row(key: str, setting: Setting) -> str:
    default = "required" if setting.required else _code(setting.default)
    changes = "yes" if setting.mutable else "no"
    return f"| `{key}` | {_type(setting.default)} | {default} | {changes} | {setting.meaning} |\n"


def _type(default: str) -> str:
    if default in {"true", "false"}:
        return "boolean"
    return "number" if default.isdigit() else "text"


def _code(text: str) -> str:
    """As code; a long list may break behind its commas."""
    return " ".join(f"`{part}`" for part in text.replace(",", ", ").split()) if text else ""
