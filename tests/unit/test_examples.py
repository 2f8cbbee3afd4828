"""examples/*.sh are POSIX sh, say what they are for, and are told of in the documentation; a cluster test runs each."""

import re
import subprocess

import pytest

from support.pages import DOCS, ROOT

SCRIPTS = sorted((ROOT / "examples").iterdir())
PAGE = (DOCS / "scripts.md").read_text("utf-8")
TESTS = (ROOT / "tests" / "cluster" / "test_examples.py").read_text("utf-8")
BASHISMS = re.compile(r"\[\[|\bfunction\b|\blocal\b|<<<|\$'|\n\s*source\b|\(\(\s*\w+\s*(\+\+|=)|&>|\bpipefail\b")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_it_is_plain_sh_that_says_what_it_is_for(script):
    text = script.read_text("utf-8")
    first, second, *_ = text.splitlines()

    assert first == "#!/bin/sh"
    assert second.startswith(f"# {script.name} LINK")
    assert "\nset -eu\n" in text
    assert script.stat().st_mode & 0o111
    assert not BASHISMS.search(text)
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    assert f"`{second.removeprefix('# ').split(':')[0]}`" in PAGE
    assert f'"{script.name}"' in TESTS
