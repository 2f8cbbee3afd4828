"""`link install-unit`: what systemd reads is what was meant, and a unit of somebody's own is never lost."""

import configparser
import json
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.cli.app import main
from kmirror.ops.link_unit import unit_text
from kmirror.process.runner import EXIT_SUPERSEDED
from kmirror.state.paths import home as home_of_user
from support.recorded import a_link, store

ARGUMENT = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), min_size=1)


def run(*arguments):
    """Exit code of a command."""
    try:
        return main(["link", "install-unit", *arguments])
    except SystemExit as end:
        return end.code


def parsed(text):
    """systemd.syntax(7), as far as a unit of ours goes: no key of it comes twice."""
    parser = configparser.RawConfigParser(delimiters="=", comment_prefixes="#", inline_comment_prefixes=None)
    parser.optionxform = str
    parser.read_string(text)
    return {section: dict(parser[section]) for section in parser.sections()}


def split(line, *, command=False):
    """The words of a line, without quotes and specifiers."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    plain = [re.sub(r"\\(.)", r"\1", quoted) or bare for quoted, bare in found]
    plain = [word.replace("%%", "%") for word in plain]
    return [word.replace("$$", "$") for word in plain] if command else plain


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KMIRROR_HOME", str(tmp_path / "my home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    store(home_of_user(), a_link("east-west"))
    return tmp_path


def path_of(home):
    return home / "config" / "systemd" / "user" / "kmirror-east-west.service"


def test_a_unit_for_the_user_is_written_and_the_steps_are_told(home, capsys):
    assert run("east-west", "--user") == 0

    said = capsys.readouterr().out
    unit = parsed(path_of(home).read_text())
    assert split(unit["Service"]["ExecStart"], command=True) == [
        *(sys.executable, "-m", "kmirror"),
        *("link", "run", "east-west"),
    ]
    assert split(unit["Service"]["Environment"]) == [f"KMIRROR_HOME={home / 'my home'}"]
    assert unit["Service"]["RestartPreventExitStatus"] == str(EXIT_SUPERSEDED)
    assert "User" not in unit["Service"]
    assert unit["Install"]["WantedBy"] == "default.target"
    assert path_of(home).stat().st_mode & 0o777 == 0o644
    assert "systemctl --user enable --now kmirror-east-west.service" in said
    assert "kmirror link stop" not in said


def test_the_workers_of_the_link(home, capsys):
    assert run("east-west", "--user", "--print", "--workers", "4") == 0
    words = split(parsed(capsys.readouterr().out)["Service"]["ExecStart"], command=True)
    assert words[-4:] == ["run", "east-west", "--workers", "4"]
    assert run("east-west", "--user", "--print", "--workers", "none") == 2
    assert "--workers" in capsys.readouterr().err


def test_the_same_again_changes_nothing_and_another_one_is_kept(home, capsys):
    run("east-west", "--user")
    written = path_of(home).stat().st_mtime_ns

    assert run("east-west", "--user") == 0
    assert "is there already" in capsys.readouterr().out
    assert path_of(home).stat().st_mtime_ns == written

    path_of(home).write_text("[Service]\nExecStart=/mine\n")
    assert run("east-west", "--user") == 1
    assert "exists and is different" in capsys.readouterr().err
    assert path_of(home).read_text() == "[Service]\nExecStart=/mine\n"

    assert run("east-west", "--user", "--force") == 0
    assert "/mine" not in path_of(home).read_text()


def test_for_scripts(home, capsys):
    run("east-west", "--user", "-o", "json")

    told = json.loads(capsys.readouterr().out)
    assert told["unit"] == str(path_of(home))
    assert told["already_installed"] is False
    assert told["next"][0] == "systemctl --user daemon-reload"


def test_print_writes_nothing(home, capsys):
    assert run("east-west", "--system", "--print") == 0

    unit = parsed(capsys.readouterr().out)
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    assert unit["Service"]["User"]
    assert not path_of(home).exists()


def test_refusals(home, capsys, monkeypatch):
    assert run("nope", "--user") == 1
    assert 'cluster link "nope" not found' in capsys.readouterr().err
    assert run("east-west", "--user", "--system") == 2
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "file"))
    assert run("east-west", "--user") == 1
    assert "cannot write" in capsys.readouterr().err


def test_the_program_is_the_one_that_was_called(home, capsys, monkeypatch):
    script = home / "bin of mine" / "kmirror"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script), "link"])

    run("east-west", "--user", "--print")

    assert split(parsed(capsys.readouterr().out)["Service"]["ExecStart"], command=True)[0] == str(script)


@given(ARGUMENT, ARGUMENT)
def test_any_path_is_read_back(program, folder):
    text = unit_text("l", [f"/{program}", "link"], environment={"KMIRROR_HOME": f"/{folder}"}, user=None)

    unit = parsed(text)["Service"]
    assert split(unit["ExecStart"], command=True) == [f"/{program}", "link"]
    assert split(unit["Environment"]) == [f"KMIRROR_HOME=/{folder}"]
