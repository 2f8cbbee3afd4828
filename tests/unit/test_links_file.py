"""links.toml: what is written is read again, damage is told and left alone, no update is lost."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.errors import NotFound, StateError
from kmirror.model.group_offsets import Committed
from kmirror.model.link import GapFill, Link
from kmirror.model.mirror import Mirror, MirrorError, Restore, StopRequest
from kmirror.model.states import RECORDED, Event, MirrorState
from kmirror.state.links import LinkStore, parse_links, render_links
from kmirror.state.paths import Home

PATH = Path("/somewhere/links.toml")
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = st.text("abcXYZ019._-", min_size=1, max_size=30)
TIMES = st.integers(0, 2**62)

ERRORS = st.builds(MirrorError, TEXT, TEXT, st.none() | st.integers(0, 2**31), st.none() | TIMES)
STOPS = st.builds(StopRequest, st.sampled_from([Event.PROMOTE, Event.FAILOVER]), st.lists(TIMES, max_size=3).map(tuple))
OFFSETS = st.lists(TIMES, max_size=3).map(tuple)
COMMITTED = st.builds(Committed, TIMES, TEXT)
GROUPS = st.dictionaries(TEXT, st.dictionaries(st.integers(0, 9), COMMITTED, max_size=2), max_size=2)
MIRRORS = st.builds(
    Mirror,
    topic=NAMES,
    source_topic=NAMES,
    source_topic_id=TEXT,
    destination_topic_id=TEXT,
    partitions=st.integers(1, 10_000),
    state=st.sampled_from(sorted(RECORDED)),
    status_time_ms=TIMES,
    error=st.none() | ERRORS,
    stop=st.none() | STOPS,
    held_back=st.dictionaries(TEXT, TEXT, max_size=2),
    reverse_link=NAMES | st.just(""),
    adopted_ends=OFFSETS,
    restore=st.none() | st.builds(Restore, TEXT, st.integers(1, 9), st.dictionaries(TEXT, TEXT), OFFSETS, TEXT, GROUPS),
)
LINKS = st.builds(
    Link,
    name=NAMES,
    link_id=TEXT,
    source_cluster_id=TEXT,
    destination_cluster_id=TEXT,
    configs=st.dictionaries(TEXT, TEXT, max_size=3),
    gap_fill=st.sampled_from(GapFill),
    created_ms=TIMES,
    mirrors=st.lists(MIRRORS, max_size=3).map(lambda found: {m.topic: m for m in found}),
    guards=st.dictionaries(NAMES, st.lists(TEXT, min_size=1, max_size=2).map(tuple), max_size=2),
)


def link(name: str = "east-west", **changes: object) -> Link:
    made = Link(name, "id", "src", "dst", {"bootstrap.servers": "a:1"}, GapFill.MARKERS, 5)
    return replace(made, **changes)


def home(path: Path) -> Home:
    return Home(path, path / "run")


@given(st.lists(LINKS, max_size=3).map(lambda found: {item.name: item for item in found}))
def test_what_is_written_is_read(links: dict[str, Link]) -> None:
    text = render_links(links)
    found = parse_links(text, PATH)
    assert found == links
    assert list(found) == sorted(links)
    assert render_links(found) == text


@given(st.lists(LINKS, min_size=1, max_size=2).map(lambda found: {item.name: item for item in found}), st.data())
def test_a_damaged_file_is_read_or_refused(links: dict[str, Link], data: st.DataObject) -> None:
    text = bytearray(render_links(links))
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_links(bytes(text[: data.draw(st.integers(0, len(text)))]), PATH)
    except StateError as e:
        assert str(PATH) in e.message
        assert "\n" not in e.message


def valid() -> str:
    mirror = Mirror(
        "t", "t", "sid", "did", 1, MirrorState.ACTIVE, 5, MirrorError("C", "m"), StopRequest(Event.PROMOTE, (1,))
    )
    return render_links({"l": link("l", mirrors={"t": mirror}, guards={"t": ("User:a",)})}).decode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("schema = 1", ""),
        ("schema = 1", 'schema = "x"'),
        ("schema = 1", "schema = 0"),
        ('gap_fill = "markers"', 'gap_fill = "other"'),
        ('id = "id"', ""),
        ('id = "id"', "id = 7"),
        ("created_ms = 5", 'created_ms = "5"'),
        ('"bootstrap.servers" = "a:1"', '"bootstrap.servers" = 5'),
        ("partitions = 1", 'partitions = "1"'),
        ("partitions = 1", "partitions = true"),
        ("partitions = 1", "partitions = -1"),
        ("status_time_ms = 5", "status_time_ms = 5.5"),
        ('source_topic = "t"', "source_topic = 3"),
        ('code = "C"', 'color = "C"'),
        ('message = "m"', "message = []"),
        ('event = "promote"', 'event = "pause!"'),
        ("targets = [\n    1,\n]", 'targets = ["1"]'),
        ("[links.l.configs]", "[links.l.config]"),
        ('t = [\n    "User:a",\n]', 't = "User:a"'),
        ('t = [\n    "User:a",\n]', "t = [5]"),
    ],
)
def test_each_damage_is_told_with_the_file(old: str, new: str) -> None:
    text = valid()
    assert text.count(old) >= 1, text
    with pytest.raises(StateError, match="is damaged") as caught:
        parse_links(text.replace(old, new, 1).encode(), PATH)
    assert str(PATH) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", [b"\xff", b"links", b"schema = 1\nlinks = 5", b"schema = 1\n[links]\nl = 5", b"a = " + b"[" * 5000]
)
def test_nonsense_is_damage(text: bytes) -> None:
    with pytest.raises(StateError, match="is damaged"):
        parse_links(text, PATH)


def test_a_later_schema_asks_for_an_upgrade() -> None:
    with pytest.raises(StateError, match="later kmirror") as caught:
        parse_links(b"schema = 2\n[links.l]\nnew = 1", PATH)
    assert caught.value.hint == "Upgrade kmirror."


def test_a_damaged_file_is_never_overwritten(tmp_path: Path) -> None:
    store = LinkStore(home(tmp_path))
    (tmp_path / "links.toml").write_bytes(b"schema = 1\n[links")
    with pytest.raises(StateError, match="is damaged"):
        store.change(lambda links: links.clear())
    assert (tmp_path / "links.toml").read_bytes() == b"schema = 1\n[links"


def test_an_edit_that_raises_changes_nothing(tmp_path: Path) -> None:
    store = LinkStore(home(tmp_path))
    store.change(lambda links: links.update(a=link("a")))
    before = (tmp_path / "links.toml").read_bytes()

    def edit(links: dict[str, Link]) -> None:
        links.clear()
        raise NotFound("no")

    with pytest.raises(NotFound):
        store.change(edit)
    assert (tmp_path / "links.toml").read_bytes() == before
    store.change(lambda links: links.update(b=link("b")))  # the lock was freed
    assert list(store.all()) == ["a", "b"]


def test_no_file_is_no_links_and_files_are_private(tmp_path: Path) -> None:
    store = LinkStore(home(tmp_path / "new" / "home"))
    assert store.all() == {}
    assert store.version() == (0, 0)
    with pytest.raises(NotFound, match='"x"'):
        store.get("x")
    assert not (tmp_path / "new").exists()
    store.change(lambda links: links.update(a=link("a")))
    root = tmp_path / "new" / "home"
    assert root.stat().st_mode & 0o777 == 0o700
    assert (root / "links.toml").stat().st_mode & 0o777 == 0o600


def test_change_mirror(tmp_path: Path) -> None:
    store = LinkStore(home(tmp_path))
    mirror = Mirror("t", "t", "sid", "did", 1, MirrorState.ACTIVE, 5)
    store.change(lambda links: links.update(a=link("a").with_mirror(mirror)))
    changed = store.change_mirror("a", "t", lambda m: replace(m, partitions=9))
    assert changed.partitions == 9
    assert store.get("a").mirrors == {"t": changed}
    for names in (("b", "t"), ("a", "u")):
        with pytest.raises(NotFound):
            store.change_mirror(*names, lambda m: m)


@pytest.mark.parametrize("place", ["links.toml", ".links.lock"])
def test_what_cannot_be_opened_is_a_state_error(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir()
    with pytest.raises(StateError) as caught:
        LinkStore(home(tmp_path)).change(lambda links: links.update(a=link("a")))
    assert caught.value.hint


def test_a_home_that_is_a_file_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(StateError, match="cannot"):
        LinkStore(home(tmp_path / "home")).change(lambda links: links.update(a=link("a")))


def test_every_replacement_is_another_version(tmp_path: Path) -> None:
    store = LinkStore(home(tmp_path))
    seen = {store.version()}
    for i in range(100):
        store.change(lambda links, i=i: links.update(a=link("a", created_ms=i)))
        assert store.version() not in seen
        seen.add(store.version())


WRITER = """
import sys
from pathlib import Path
from dataclasses import replace
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home
store = LinkStore(Home(Path(sys.argv[1]), Path(sys.argv[1]) / "run"))
for i in range(int(sys.argv[2])):
    def edit(links):
        link = links["a"]
        links["a"] = replace(link, created_ms=link.created_ms + 1)
    store.change(edit)
    assert store.get("a").created_ms > i
"""


def test_writers_side_by_side_lose_no_update(tmp_path: Path) -> None:
    store = LinkStore(home(tmp_path))
    store.change(lambda links: links.update(a=link("a", created_ms=0)))
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), "40"]) for _ in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert store.get("a").created_ms == 160
    assert sorted(p.name for p in tmp_path.iterdir()) == [".links.lock", "links.toml"]


def test_partition_and_offset_nought_are_places() -> None:
    mirror = Mirror("t", "t", "sid", "did", 1, MirrorState.FAILED, 5, MirrorError("C", "m", 0, 0))
    links = {"l": link("l", mirrors={"t": mirror})}
    assert parse_links(render_links(links), PATH) == links


def mirrors(*topics: str) -> dict[str, Mirror]:
    return {t: Mirror(t, t, "sid", "did", 1, MirrorState.ACTIVE, 1) for t in topics}


def test_several_mirrors_change_in_one_write(tmp_path: Path) -> None:
    store = LinkStore(home(tmp_path))
    store.change(lambda links: links.update({"east-west": link(mirrors=mirrors("a", "b", "c"))}))
    before = store.version()

    def edit(mirror: Mirror) -> Mirror:
        if mirror.topic == "b":
            raise StateError("not b")
        return mirror.moved(Event.PAUSE, 7)

    changed = store.change_mirrors("east-west", ["c", "b", "nope", "a"], edit)

    assert list(changed) == ["c", "b", "nope", "a"]
    assert isinstance(changed["b"], StateError)
    assert isinstance(changed["nope"], NotFound)
    found = LinkStore(home(tmp_path)).get("east-west").mirrors
    assert {t: str(m.state) for t, m in found.items()} == {"a": "PAUSED", "b": "ACTIVE", "c": "PAUSED"}
    assert found["a"] == changed["a"]
    assert store.version() != before
    with pytest.raises(NotFound):
        store.change_mirrors("nope", ["a"], edit)


def test_a_store_sees_what_others_wrote(tmp_path: Path) -> None:
    ours, theirs = LinkStore(home(tmp_path)), LinkStore(home(tmp_path))
    assert ours.all() == {}
    theirs.change(lambda links: links.update({"b": link("b"), "a": link("a")}))
    assert list(ours.all()) == list(theirs.all()) == ["a", "b"]
    theirs.change(lambda links: links.pop("a") and None)
    assert list(ours.all()) == ["b"]
    ours.all().clear()  # what a reader does with it changes nothing
    assert list(ours.all()) == ["b"]
    ours.home.links_file.unlink()
    assert theirs.all() == {}
