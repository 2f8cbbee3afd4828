"""What a failed hunt shows on a terminal: CI keeps nothing else of it."""

from pathlib import Path

from hunt.report import found
from hunt.run import Result


def test_all_that_is_needed_to_look_for_it_is_there_and_nothing_is_cut() -> None:
    long = "t-1: partition 0 offset 7: " + "x" * 3_000
    trouble = "Traceback\n" + "\n".join(f"  line {i}" for i in range(50)) + "\nAssertionError: the last word"
    result = Result(
        20_418_003, 61.5, differences=[long, *["d"] * 50], findings=["f\nwith its log"] * 50, trouble=trouble
    )
    lines = found(result, Path("/tmp/of-pytest/seed-20418003")).splitlines()
    assert len(lines) <= 45
    assert lines[0] == "seed 20418003 after 61.5 s: 51 differences, 50 findings, trouble"
    assert lines[2] == f"    {long}"
    assert "    with its log" in lines
    assert lines[-3:] == [
        "    AssertionError: the last word",
        "again: make hunt HUNT='--seed 20418003'",
        "logs: /tmp/of-pytest/seed-20418003",
    ]


def test_parts_that_have_nothing_are_left_out() -> None:
    lines = found(Result(7, findings=["m: FAILED"]), Path("logs")).splitlines()
    assert lines == [
        "seed 7 after 0 s: 0 differences, 1 findings",
        "findings:",
        "    m: FAILED",
        "again: make hunt HUNT='--seed 7'",
        "logs: logs",
    ]
