"""Files of saved records: what is written is read, and any damage is told with its line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.cli.app import main
from kmirror.errors import ClusterError, StateError
from kmirror.model.saved_records import (
    Damaged,
    SavedHeader,
    SavedRecord,
    end_line,
    header_line,
    read_header,
    read_records,
    record_line,
)
from kmirror.state.records_file import RecordsFile, write_records_file

HEADER = SavedHeader("orders", "cluster-e", "east:9092", "east-west", 1_700_000_000_000)
BYTES = st.none() | st.binary(max_size=40)
NAMES = st.text(st.characters(codec="utf-8"), max_size=12) | st.just(',"crc":"')
RECORDS = st.builds(
    SavedRecord,
    topic=NAMES,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(-1, 2**63 - 1),
    key=BYTES,
    value=BYTES,
    headers=st.lists(st.tuples(NAMES, BYTES), max_size=3).map(tuple),
)


def lines(records: list[SavedRecord]) -> list[bytes]:
    return [header_line(HEADER), *map(record_line, records), end_line(len(records))]


def read(found: list[bytes]) -> list[SavedRecord]:
    stream = iter(found)
    assert read_header(next(stream, b"")) == HEADER
    return list(read_records(stream))


@given(st.lists(RECORDS, max_size=4))
def test_what_is_written_is_read(records: list[SavedRecord]) -> None:
    assert read(lines(records)) == records


@given(st.lists(RECORDS, max_size=3), st.data())
def test_one_changed_byte_is_told_with_its_line(records: list[SavedRecord], data: st.DataObject) -> None:
    found = lines(records)
    number = data.draw(st.integers(0, len(found) - 1))
    at = data.draw(st.integers(0, len(found[number]) - 1))
    changed = bytearray(found[number])
    changed[at] ^= data.draw(st.integers(1, 255))
    found[number : number + 1] = bytes(changed).splitlines(keepends=True)
    with pytest.raises(Damaged) as caught:
        read(found)
    assert caught.value.line == number + 1


@given(st.lists(RECORDS, max_size=3), st.data())
def test_a_missing_line_or_a_cut_file_is_told(records: list[SavedRecord], data: st.DataObject) -> None:
    whole = b"".join(lines(records))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(Damaged):
        read(cut.splitlines(keepends=True))
    found = lines(records)
    del found[data.draw(st.integers(0, len(found) - 1))]
    with pytest.raises(Damaged):
        read(found)


A, B = (SavedRecord("orders", 0, n, 1_700_000_000_000 + n, b"k", b"v%d" % n, (("h", None),)) for n in (7, 8))


def test_a_file_is_whole_private_and_never_half_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "records.jsonl"
    assert write_records_file(path, HEADER, [A, B]) == 2
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(RecordsFile(path).records()) == [A, B]

    def breaks() -> object:
        yield A
        raise ClusterError("the source went")

    other = path.with_name("other.jsonl")
    with pytest.raises(ClusterError):
        write_records_file(other, HEADER, breaks())
    assert [found.name for found in path.parent.iterdir()] == ["records.jsonl"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    write_records_file(path, HEADER, [A, B])
    return path


def test_a_damaged_file_is_refused_with_the_line(file: Path) -> None:
    text = file.read_bytes()
    file.write_bytes(text.replace(b'"offset":8', b'"offset":9'))
    with pytest.raises(StateError, match=r"is damaged: line 3: the checksum") as caught:
        RecordsFile(file).check()
    assert str(file) in caught.value.message
    file.write_bytes(text[: text.rindex(b'{"records"')])
    with pytest.raises(StateError, match="line 4: the end is missing"):
        RecordsFile(file).check()
    with pytest.raises(StateError, match="No such file"):
        RecordsFile(file.with_name("none")).header()


def run(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as e:
        return int(e.code or 0)


def test_show_for_people_and_for_scripts(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("records", "show", str(file)) == 0
    said = capsys.readouterr().out
    assert '2 records of topic "orders", cluster cluster-e (east:9092)' in said
    assert '0@7 2023-11-14T22:13:20.007Z key "k" value "v7" headers h=null' in said
    assert run("records", "show", str(file), "-o", "json", "--limit", "1") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["topic_name"], shown["num_records"]) == ("orders", 2)
    assert shown["partitions"] == [{"partition": 0, "records": 2, "first_offset": 7, "last_offset": 8}]
    (record,) = shown["records"]
    assert record["value"] == "djc="
    assert record["headers"] == [["h", None]]


def test_a_damaged_file_is_neither_shown_nor_replayed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(file.read_bytes().replace(b'"partition":0', b'"partition":1', 1))
    for words in (["show", str(file)], ["replay", str(file), "--bootstrap-server", "127.0.0.1:1"]):
        assert run("records", *words) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert "is damaged: line 2" in said.err
