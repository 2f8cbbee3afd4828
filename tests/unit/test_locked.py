"""What is installed is what was locked: each requirement at one version, and each file by its SHA-256."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKED = sorted((ROOT / "requirements").glob("*.txt"))
PINNED = re.compile(r"(?P<name>[a-z0-9.-]+)(?:\[[a-z0-9,-]+\])?==[^\s;]+(?: ; [^\\]+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def locked(path: Path) -> dict[str, list[str]]:
    """The hashes of each requirement; a line that is none fails."""
    found: dict[str, list[str]] = {}
    text = re.sub(r"^\s*#.*\n?", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(str.strip, text.splitlines()):
        requirement, *hashes = (part.strip() for part in re.split(r"\s(?=--hash)", line))
        pinned = PINNED.fullmatch(requirement)
        assert pinned, f"{path.name}: {requirement} is not pinned to one version"
        assert hashes, f"{path.name}: {requirement} has no hash"
        assert all(HASH.fullmatch(each) for each in hashes), f"{path.name}: {requirement} {hashes}"
        found[pinned["name"]] = hashes
    return found


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", each)[0].lower().replace("_", "-").replace(".", "-") for each in requirements}


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: path.name)
def test_whatever_is_installed_is_pinned_and_hashed(path: Path) -> None:
    assert len(locked(path)) > 5


def test_nothing_that_is_asked_for_is_missing_in_the_locks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = {
        "dev.txt": [
            *project["project"]["dependencies"],
            *project["project"]["optional-dependencies"]["sandbox"],
            *project["dependency-groups"]["dev"],
            *project["build-system"]["requires"],
        ],
        "site.txt": project["dependency-groups"]["site"],
        "audit.txt": project["dependency-groups"]["audit"],
    }
    assert {path.name for path in LOCKED} == asked.keys()
    for path in LOCKED:
        assert names(asked[path.name]) <= {name.replace(".", "-") for name in locked(path)}, path.name


def test_set_ups_take_nothing_without_a_hash() -> None:
    lines = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert len(lines) > 2
    for line in lines:
        assert "--require-hashes" in line or "--no-deps" in line, line
