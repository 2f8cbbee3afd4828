"""Ctrl-C of commands that have things to clean up: heard once, held back where a step must be done whole."""

import os
import signal

import pytest

from kmirror.cli.demo_stage import command_line
from kmirror.cli.interrupts import Interrupts


def press(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_is_raised_and_those_that_follow_are_not(number):
    interrupts = Interrupts()
    before = signal.getsignal(number)
    with interrupts.heard():
        with pytest.raises(KeyboardInterrupt):
            press(number)
        press(number)
        press(signal.SIGINT)
    assert signal.getsignal(number) is before


def test_one_that_comes_in_a_step_is_raised_after_it():
    interrupts = Interrupts()
    done = []

    def step() -> None:
        with interrupts.held():
            press()
            done.append("whole")

    with interrupts.heard():
        with pytest.raises(KeyboardInterrupt):
            step()
        assert done == ["whole"]


def test_nothing_is_raised_any_more_once_the_end_has_begun():
    interrupts = Interrupts()
    with interrupts.heard():
        interrupts.no_more()
        press()
        with interrupts.held():
            press()


def test_a_short_command_is_shown_on_one_line():
    words = ("mirror", "describe", "orders", "--link", "east-west")
    assert command_line(words) == "kmirror mirror describe orders --link east-west"


def test_a_long_command_is_shown_with_an_option_a_line():
    servers = ("--source-bootstrap-server", "127.0.0.1:20001", "--destination-bootstrap-server", "127.0.0.1:20002")
    assert command_line(("link", "create", "a b", *servers)).splitlines() == [
        "kmirror link create 'a b' \\",
        "    --source-bootstrap-server 127.0.0.1:20001 \\",
        "    --destination-bootstrap-server 127.0.0.1:20002",
    ]
