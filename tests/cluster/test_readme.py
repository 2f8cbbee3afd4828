"""The README is true: its commands run word for word, and say what it shows."""

import re
import shlex
import signal
from contextlib import ExitStack

from kmirror.cli.app import EXIT_CODES
from support.kmirror_cli import Kmirror
from support.pages import README as PAGE
from support.pages import ROOT, blocks, commands
from support.typed import Terminal, words
from support.wait import eventually

README = PAGE.read_text("utf-8")
EAST, WEST = "19092", "29092"


def examples(text: str) -> list[tuple[list[str], str]]:
    """Each command of the console blocks, and what is shown below it."""
    found = [command for block in blocks(text) if block.language == "console" for command in commands(block)]
    return [(shlex.split(command), output) for command, output in found]


def test_the_commands_run_word_for_word_and_say_what_is_shown(kmirror, tmp_path, free_ports):
    (first, first_output), *rest = examples(README)
    assert first[:3] == ["kmirror", "sandbox", "up"]
    east, west = free_ports
    terminal = Terminal(kmirror)
    log = tmp_path / "sandbox"
    with ExitStack() as stack:
        stack.callback(terminal.end)
        with log.open("wb") as output:
            sandbox = terminal.start([*first, "--east-port", east, "--west-port", west], output.fileno())
        eventually(lambda: "Ready" in log.read_text() or sandbox.poll() is not None, 120, log.read_text)
        assert words(log.read_text()) >= words(first_output)
        for command, shown in rest:
            assert command[0] == "kmirror"
            given = [word.replace(EAST, east).replace(WEST, west) for word in command]
            if given[1:3] == ["mirror", "describe"]:
                eventually(lambda: is_copied(kmirror), 20)
            code, said = terminal.run(given, interrupt_after="COPYING" if "--watch" in given else None)
            assert code == 0, f"{shlex.join(command)}\n{said}"
            missing = words(shown) - words(said)
            assert not missing, f"{shlex.join(command)} does not say {missing}\n{said}"
        sandbox.send_signal(signal.SIGINT)
        assert sandbox.wait(30) == 0


def is_copied(kmirror: Kmirror) -> bool:
    rows = kmirror.json("mirror", "describe", "orders", "--link", "east-west")
    return all(row["last_source_fetch_offset"] > 0 for row in rows)


def test_it_shows_the_verbs_of_the_main_job():
    commands = [" ".join(command[1:3]) for command, _ in examples(README)]
    for verb in ("link create", "mirror create", "mirror describe", "mirror promote", "link delete"):
        assert verb in commands


def test_it_opens_with_two_commands_that_the_makefile_has():
    (block,) = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    targets = re.findall(r"^make (\w+)", block, re.MULTILINE)
    assert targets == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert f"make {targets[1]}" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_its_exit_codes_are_those_of_the_program():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", README, re.MULTILINE)
    assert {int(code): meaning.replace("`", "") for code, meaning in rows} == EXIT_CODES
