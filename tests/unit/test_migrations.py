"""A links.toml of any earlier schema is read, and kept beside the new one when it is first written."""

import tomllib
from pathlib import Path

import pytest

from kmirror.errors import StateError
from kmirror.model.states import MirrorState
from kmirror.state import migrations
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home

RECORDED = Path(__file__).with_name("links_files")


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path, tmp_path / "run")


@pytest.fixture
def later(monkeypatch):
    """A kmirror two schemas later: 2 calls `id` link_id, 3 has it in upper case."""

    def renamed(document):
        links = {n: {**{k: v for k, v in t.items() if k != "id"}, "link_id": t["id"]} for n, t in _links(document)}
        return {**document, "links": links}

    def back(document):
        links = {n: {**t, "id": t["link_id"].upper()} for n, t in _links(document)}
        return {**document, "links": links}

    monkeypatch.setattr(migrations, "SCHEMA", 3)
    monkeypatch.setattr(migrations, "STEPS", {1: renamed, 2: back})


def _links(document):
    return document["links"].items()


def recorded(schema: int) -> bytes:
    return (RECORDED / f"schema-{schema}.toml").read_bytes()


def backups(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.config.glob("*.bak")}


@pytest.mark.parametrize("schema", range(1, migrations.SCHEMA + 1))
def test_every_schema_that_was_is_read(schema, home):
    home.links_file.write_bytes(recorded(schema))
    store = LinkStore(home)

    links = store.all()

    assert list(links) == ["east-west", "idle"]
    states = {topic: mirror.state for topic, mirror in links["east-west"].mirrors.items()}
    assert states == {
        "done": MirrorState.STOPPED,
        "lost": MirrorState.FAILED,
        "orders": MirrorState.ACTIVE,
        "promoting": MirrorState.PENDING_STOPPED,
    }
    assert links["east-west"].mirrors["orders"].start_offsets == (0, 7)
    assert links["east-west"].mirrors["lost"].error.offset == 12
    assert home.links_file.read_bytes() == recorded(schema)  # to read it changes nothing
    store.change(lambda _: None)
    assert LinkStore(home).all() == links
    assert tomllib.loads(home.links_file.read_text())["schema"] == migrations.SCHEMA
    assert set(backups(home).values()) == ({recorded(schema)} if schema < migrations.SCHEMA else set())


def test_there_is_a_step_from_every_schema():
    assert set(migrations.STEPS) == set(range(1, migrations.SCHEMA))


@pytest.mark.usefixtures("later")
def test_steps_follow_each_other_and_the_old_file_is_kept(home):
    home.links_file.write_bytes(recorded(1))
    store = LinkStore(home)
    assert store.get("idle").link_id == "ID-OF-IDLE"
    assert backups(home) == {}

    store.change(lambda links: links.pop("idle") and None)

    assert backups(home) == {"links.toml.schema-1.bak": recorded(1)}
    assert oct((home.config / "links.toml.schema-1.bak").stat().st_mode)[-3:] == "600"
    document = tomllib.loads(home.links_file.read_text())
    assert (document["schema"], document["links"]["east-west"]["id"]) == (3, "ID-OF-EAST-WEST")
    store.change(lambda _: None)  # of this schema now: nothing is to be kept
    assert len(backups(home)) == 1


@pytest.mark.usefixtures("later")
def test_no_backup_is_written_over(home):
    home.links_file.write_bytes(recorded(1))
    (home.config / "links.toml.schema-1.bak").write_bytes(b"from before")

    LinkStore(home).change(lambda _: None)

    assert backups(home) == {
        "links.toml.schema-1.bak": b"from before",
        "links.toml.schema-1.1.bak": recorded(1),
    }


@pytest.mark.usefixtures("later")
def test_a_damaged_old_file_is_told_and_left_alone(home):
    text = recorded(1).replace(b"id = ", b"xd = ")
    home.links_file.write_bytes(text)

    with pytest.raises(StateError, match="is damaged"):
        LinkStore(home).change(lambda _: None)

    assert home.links_file.read_bytes() == text
    assert backups(home) == {}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (b"2", "was written by a later kmirror (schema 2, this one knows 1)"),
        (b"0", "is damaged: schema 0 is not known"),
        (b"-1", "is damaged: schema -1 is not known"),
        (b"true", "is damaged: schema True is not known"),
        (b'"1"', "is damaged: schema '1' is not known"),
    ],
)
def test_other_schemas_are_refused(schema, told, home):
    home.links_file.write_bytes(recorded(1).replace(b"schema = 1", b"schema = " + schema))
    with pytest.raises(StateError) as refused:
        LinkStore(home).all()
    assert told in refused.value.message


def test_a_backup_that_cannot_be_written_keeps_the_file(home, later, monkeypatch):
    home.links_file.write_bytes(recorded(1))

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(migrations, "back_up", full)
    with pytest.raises(StateError, match="No space left"):
        LinkStore(home).change(lambda _: None)
    assert home.links_file.read_bytes() == recorded(1)
