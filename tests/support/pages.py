"""The pages of the documentation and the fenced blocks in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
GENERATED = frozenset({"commands.md", "configuration.md"})

RUN = frozenset({"console", "sh"})
"""Languages of blocks that tests run: `console` has commands behind `$ ` with what they print, `sh` is a script."""

_FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    text: str


def blocks(text: str) -> list[Block]:
    return [Block(language, body) for language, body in _FENCE.findall(text)]


def commands(block: Block) -> list[tuple[str, str]]:
    """Each command of a block that is run, with what is shown below it; a script is one command."""
    if block.language == "sh":
        return [(block.text, "")]
    examples = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    joined = (example.replace("\\\n", " ").partition("\n") for example in examples)
    return [(command, output) for command, _, output in joined]


def pages() -> dict[str, str]:
    """The text of each page below docs/ by its path there."""
    return {str(path.relative_to(DOCS)): path.read_text("utf-8") for path in sorted(DOCS.rglob("*.md"))}


def pages_to_run() -> dict[str, str]:
    """Those that hold a block that is run."""
    return {name: text for name, text in pages().items() if any(b.language in RUN for b in blocks(text))}
