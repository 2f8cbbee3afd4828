"""Writes what is made from the program: `completions`, `docs`, or both; `--check` only says what is not current.

`docs` is the pages of commands and of configurations, the man pages and the pictures of the live view. The words come
from the program itself, so that they cannot differ from what it says.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import manual
import pictures
import rights_table
import settings_page

ROOT = Path(__file__).resolve().parent.parent
COMPLETIONS = {"bash": "kmirror.bash", "zsh": "_kmirror", "fish": "kmirror.fish"}
ZSH_FIRST_USE = """
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _kmirror_completion "$@"
else
  compdef _kmirror_completion kmirror
fi
"""
"""Found in fpath, the file runs at the first completion and must answer that one too."""


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    wanted = {word for word in arguments if word != "--check"} or {"completions", "docs"}
    stale = []
    for name, content in generated(wanted):
        path = ROOT / name
        if path.exists() and path.read_text("utf-8") == content:
            continue
        stale.append(name)
        if not check:
            path.write_text(content, "utf-8")
    for name in stale:
        sys.stdout.write(f"{name} is not current: `make completions docs`\n" if check else f"wrote {name}\n")
    return 1 if check and stale else 0


def generated(wanted: set[str]) -> Iterator[tuple[str, str]]:
    if "completions" in wanted:
        for shell, name in COMPLETIONS.items():
            text = output([sys.executable, "-m", "kmirror"], {"_KMIRROR_COMPLETE": f"source_{shell}"})
            if shell == "zsh":
                text = text.replace("\ncompdef _kmirror_completion kmirror\n", ZSH_FIRST_USE)
            yield f"completions/{name}", text.strip() + "\n"
    if "docs" in wanted:
        words = ["kmirror.cli.app", "utils", "docs", "--name", "kmirror", "--title", "Commands"]
        text = output([sys.executable, "-m", "typer", *words], {})
        note = "<!-- Made by `make docs` from the commands' own help. -->\n\n"
        yield "docs/commands.md", note + text.strip().replace("```console", "```text") + "\n"
        yield "docs/configuration.md", settings_page.page()
        yield "docs/security.md", rights_table.in_page((ROOT / "docs/security.md").read_text("utf-8"))
        for name, content in manual.pages():
            yield f"man/{name}", content
        for name, content in pictures.pictures():
            yield f"docs/images/{name}", content


def output(command: list[str], environment: dict[str, str]) -> str:
    """What it prints, in surroundings that are the same for everybody."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KMIRROR_", "_KMIRROR"))}
    fixed = {"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, env={**kept, **fixed, **environment}, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
