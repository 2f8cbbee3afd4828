"""The man pages: each command has its section, and nothing in them is roff by accident."""

import re
from pathlib import Path

import pytest
import typer

from kmirror.cli.app import app

MAN = Path(__file__).parents[2] / "man"
PAGES = {path.name: path.read_text("utf-8") for path in sorted(MAN.iterdir())}
MACROS = {"TH", "SH", "SS", "PP", "TP", "B", "BR", "I", "nh", "ad", "nf", "fi"}


def leaves(command, words=("kmirror",)):
    members = getattr(command, "commands", None)
    if members is None:
        return [" ".join(words)]
    return [leaf for name, member in members.items() if not member.hidden for leaf in leaves(member, (*words, name))]


def test_each_command_has_its_section():
    there = re.findall(r"^\.SS (kmirror [a-z\\ -]*[a-z])", "\n".join(PAGES.values()), re.MULTILINE)
    assert sorted(name.replace("\\-", "-") for name in there) == sorted(leaves(typer.main.get_command(app)))


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_text_or_a_macro_of_man(page):
    for line in PAGES[page].splitlines():
        if line.startswith((".", "'")):
            assert line[1:].split(" ")[0] in MACROS, line
        assert not re.search(r"\\(?![-e&])", line), line


@pytest.mark.parametrize("page", PAGES)
def test_sections_come_in_the_order_of_man_pages(page):
    found = re.findall(r"^\.SH (.*)$", PAGES[page], re.MULTILINE)
    order = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "COMMANDS",
        "EXIT STATUS",
        "FILES",
        "ENVIRONMENT",
        "SEE ALSO",
    ]
    assert found == [section for section in order if section in found]
    assert {"NAME", "SYNOPSIS", "COMMANDS", "SEE ALSO"} <= set(found)
