"""status.json and the run folder: a round trip, and damage that is as good as nothing."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.model.mirror import MirrorError
from kmirror.model.states import MirrorState
from kmirror.model.status import (
    LinkState,
    LinkStatus,
    MirrorStatus,
    PartitionState,
    PartitionStatus,
    Trouble,
    link_status_from,
    plain_status,
)
from kmirror.state.paths import Home, home
from kmirror.state.runtime import RunFiles

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBER = st.integers(0, 2**63)
MAYBE = st.none() | NUMBER
TROUBLE = st.none() | st.builds(Trouble, TEXT, NUMBER, TEXT)
ERROR = st.none() | st.builds(MirrorError, TEXT, TEXT, MAYBE, MAYBE)
PARTITION = st.builds(
    PartitionStatus, NUMBER, st.sampled_from(PartitionState), MAYBE, MAYBE, MAYBE, MAYBE, TROUBLE, ERROR
)
MIRROR = st.builds(MirrorStatus, TEXT, st.sampled_from(MirrorState), st.lists(PARTITION, max_size=3).map(tuple))
STATUS = st.builds(
    LinkStatus,
    TEXT,
    NUMBER,
    NUMBER,
    NUMBER,
    st.sampled_from(LinkState),
    MAYBE,
    TROUBLE,
    st.dictionaries(TEXT, MIRROR, max_size=2),
)
SIMPLE = LinkStatus("l", 1, 2, 3, LinkState.ACTIVE, mirrors={"t": MirrorStatus("t", MirrorState.ACTIVE)})


@given(STATUS)
def test_a_status_survives_json(status: LinkStatus) -> None:
    text = json.dumps(plain_status(status))
    assert text == json.dumps(asdict(status))
    found = link_status_from(json.loads(text))
    assert found == status
    for mirror in found.mirrors.values():
        assert isinstance(mirror.state, MirrorState)
        assert all(isinstance(p.state, PartitionState) for p in mirror.partitions)


@given(st.lists(STATUS, min_size=1, max_size=3), st.booleans())
def test_what_is_written_is_read_whatever_stayed_the_same(
    tmp_path_factory: pytest.TempPathFactory, written: list[LinkStatus], same: bool
) -> None:
    """The text of a mirror is written anew only where its status is another."""
    files = RunFiles(Home(tmp_path_factory.mktemp("home"), tmp_path_factory.getbasetemp() / "run"), "l")
    for status in written:
        shown = replace(status, mirrors={**written[0].mirrors, **status.mirrors}) if same else status
        files.write_status(shown)
        assert files.read_status() == shown


@pytest.mark.parametrize(("source", "log", "lag"), [(None, 5, None), (5, None, None), (7, 5, 2), (5, 5, 0), (4, 5, 0)])
def test_lag(source: int | None, log: int | None, lag: int | None) -> None:
    assert PartitionStatus(0, PartitionState.COPYING, log, source).lag == lag


def test_written_and_read(tmp_path: Path) -> None:
    files = RunFiles(Home(tmp_path, tmp_path / "run"), "east-west")
    assert files.read_status() is None
    files.write_status(SIMPLE)
    assert files.read_status() == SIMPLE
    folder = tmp_path / "run" / "east-west"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [(p.name, p.stat().st_mode & 0o777) for p in folder.iterdir()] == [("status.json", 0o600)]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "5", '"x"', "{}", '{"mirrors": 5}', "\ud800", "[" * 100_000, "later", "mirrors", "one"],
)
def test_a_damaged_status_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    files = RunFiles(Home(tmp_path, tmp_path), "l")
    data = asdict(SIMPLE)
    whole = {"later": data | {"new": 1}, "mirrors": data | {"mirrors": []}, "one": data | {"mirrors": {"t": []}}}
    files.create()
    content = json.dumps(whole[text]) if text in whole else text
    (tmp_path / "l" / "status.json").write_bytes(content.encode(errors="surrogatepass"))
    assert files.read_status() is None


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KMIRROR_HOME", str(tmp_path))
    assert home() == Home(tmp_path, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KMIRROR_HOME", "here")
    assert home().links_file == tmp_path / "here" / "links.toml"
    monkeypatch.setenv("KMIRROR_HOME", "")
    assert home().runtime.name == "run"
    assert not (tmp_path / "here").exists()
