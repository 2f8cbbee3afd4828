"""The documentation: its links lead somewhere, the site has every page, and what looks like a command is run."""

import re
import shlex

import pytest
import yaml

from support.command_words import parsed
from support.pages import DOCS, GENERATED, README, ROOT, RUN, blocks, commands, pages

SHOWN = {"text", "ini", "toml", "yaml", "json", "properties"}
"""Languages of blocks that are looked at, not run."""

NOT_IN_A_TEST = {"systemctl", "journalctl", "kubectl", "docker", "podman", "pip", "sudo", "make"}
"""What needs a machine of its own: such commands are shown as `text`."""

ALL = {**{f"docs/{name}": text for name, text in pages().items()}, "README.md": README.read_text("utf-8")}


def anchors(text: str) -> set[str]:
    found = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in found}


@pytest.mark.parametrize("page", ALL)
def test_links_lead_somewhere(page):
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", ALL[page]):
        path, _, anchor = target.partition("#")
        if path.startswith("https:"):
            continue
        there = (folder / path).resolve() if path else ROOT / page
        assert there.exists(), f"{page}: {target} does not exist"
        if page.startswith("docs/"):
            assert there.is_relative_to(DOCS), f"{page}: {target} is not part of the site"
        assert not anchor or anchor in anchors(there.read_text("utf-8")), f"{page}: no heading for {target}"


def test_the_site_has_every_page_once():
    def leaves(nav):
        if isinstance(nav, str):
            return [nav]
        return [leaf for item in (nav.values() if isinstance(nav, dict) else nav) for leaf in leaves(item)]

    listed = leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    assert sorted(listed) == sorted(pages()), "each page of docs/ has an entry under `nav` in mkdocs.yml"


@pytest.mark.parametrize("page", ALL)
def test_blocks_are_run_by_a_test_or_are_no_commands(page):
    for block in blocks(ALL[page]):
        assert block.language in RUN | SHOWN, f"{page}: a block has the language {block.language!r}"
        words = {line.removeprefix("$ ").split(" ")[0] for line in block.text.splitlines()}
        if page == "README.md" and "make" in words:
            continue  # its first block: tests/cluster/test_readme.py
        if block.language in RUN:
            assert not words & NOT_IN_A_TEST, f"{page}: can't be run by a test, so show it as text:\n{block.text}"
        elif page.removeprefix("docs/") not in GENERATED:
            assert "kmirror" not in words, f"{page}: can be run by a test, so make it `sh` or `console`:\n{block.text}"


@pytest.mark.parametrize("page", ALL)
def test_commands_are_those_of_the_program(page):
    """Quick, and for every page; tests/cluster/test_docs.py runs them."""
    run = [command for block in blocks(ALL[page]) if block.language in RUN for command, _ in commands(block)]
    lines = [line for text in run for line in text.replace("\\\n", " ").splitlines() if line.startswith("kmirror ")]
    for line in lines:
        parsed(shlex.split(re.split(r" [|&;>]", line)[0])[1:])


def test_pages_fetch_nothing_from_the_web():
    pictures = list(DOCS.rglob("*.svg"))
    assert pictures
    for path in pictures:
        assert not re.search(r"url\((?!#)|@import|href=", path.read_text("utf-8")), path
