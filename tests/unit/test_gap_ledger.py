"""What is told of offsets that were lost to retention: `kmirror gaps`, and a note of `mirror describe`."""

import json

import pytest

from kmirror.cli.app import main
from kmirror.model.ledger import LostGap
from kmirror.state.paths import Home, home
from kmirror.state.runtime import RunFiles
from support.recorded import a_link, a_mirror, store


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Home:
    """Two links; at the destination of both nobody listens, so times are not known."""
    monkeypatch.setenv("KMIRROR_HOME", str(tmp_path))
    found = home()
    store(found, a_link("east-west", a_mirror("orders"), a_mirror("bills")), a_link("other", a_mirror("orders")))
    for link, topic, partition, offset in (
        ("east-west", "orders", 1, 100),
        ("east-west", "orders", 1, 500),
        ("east-west", "bills", 0, 7),
        ("other", "orders", 0, 9),
    ):
        RunFiles(found, link).append_gap(LostGap(topic, partition, offset, 50, 1_700_000_000_000, "retention"))
    return found


def run(*words: str) -> int:
    try:
        return main(list(words))
    except SystemExit as ended:  # Typer's own end of a command
        return int(ended.code or 0)


def gaps(capsys, *words: str) -> list[dict]:
    assert run("gaps", *words, "-o", "json") == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "offsets"),
    [
        ((), [100, 500, 7, 9]),
        (("--link", "east-west"), [100, 500, 7]),
        (("--link", "east-west", "--topic", "orders"), [100, 500]),
        (("--topic", "orders"), [100, 500, 9]),
    ],
)
def test_the_ledger_is_told_by_link_and_topic(kept, capsys, words, offsets):
    rows = gaps(capsys, *words)
    assert [row["offset"] for row in rows] == offsets
    assert {(row["count"], row["after_ms"], row["before_ms"]) for row in rows} == {(50, None, None)}


def test_people_see_it_with_its_time(kept, capsys):
    assert run("gaps", "--link", "other") == 0
    told = capsys.readouterr().out
    assert "orders" in told
    assert "2023-11-1" in told


def test_a_topic_that_is_no_mirror_is_refused(kept, capsys):
    assert run("gaps", "--link", "other", "--topic", "bills") == 1
    assert 'mirror topic "bills" not found on link "other"' in capsys.readouterr().err


def test_describe_counts_them_by_partition(kept, capsys):
    assert run("mirror", "describe", "orders", "--link", "east-west", "-o", "json") == 0
    assert [row["lost_offsets"] for row in json.loads(capsys.readouterr().out)] == [0, 100]
    assert run("mirror", "describe", "orders", "--link", "east-west") == 0
    assert "100 offsets were lost at the source" in capsys.readouterr().out


def test_describe_is_silent_where_nothing_was_lost(kept, capsys):
    (kept.runtime / "east-west" / "gaps.jsonl").unlink()
    assert run("mirror", "describe", "orders", "--link", "east-west") == 0
    assert "lost" not in capsys.readouterr().out
