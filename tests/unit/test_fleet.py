"""Links and mirrors by a file: what it may say, what has to change, and that what was exported changes nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.cli.app import main
from kmirror.model.fleet import Action, WantedLink, WantedMirror
from kmirror.model.states import RECORDED, MirrorState
from kmirror.ops.fleet import export_fleet
from kmirror.ops.fleet_plan import plan_changes
from kmirror.state.fleet_file import FleetFileError, parse_fleet, render_fleet
from kmirror.state.paths import Home
from kmirror.state.paths import home as home_of_user
from support.recorded import a_link, a_mirror, store

SERVERS = {"bootstrap.servers": "a:1", "destination.bootstrap.servers": "b:1", "link.mode": "DESTINATION"}
HEAD = """
[links.east-west.configs]
"bootstrap.servers" = "a:1"
"destination.bootstrap.servers" = "b:1"
"""
NAMES = st.text("abcXYZ019._-", min_size=1, max_size=20).filter(lambda n: n not in {".", ".."} and n[:2] != "__")
MIRRORS = st.builds(
    WantedMirror,
    topic=NAMES,
    source_topic=NAMES,
    paused=st.booleans(),
    replication_factor=st.none() | st.integers(1, 32767),
    configs=st.dictionaries(NAMES, st.text(st.characters(codec="utf-8"), max_size=10), max_size=2),
)
LINKS = st.builds(
    WantedLink,
    name=NAMES,
    configs=st.just(SERVERS),
    mirrors=st.lists(MIRRORS, max_size=3).map(lambda found: {m.topic: m for m in found}),
)


@given(st.lists(LINKS, max_size=3).map(lambda found: {link.name: link for link in found}))
def test_what_is_written_is_read(links):
    assert parse_fleet(render_fleet(links).encode()) == links


def test_a_file_says_little_where_all_is_usual():
    text = HEAD + "[links.east-west.mirrors.orders]\n[links.east-west.mirrors.b]\nstate='PAUSED'\nsource_topic='c'\n"
    link = parse_fleet(text.encode())["east-west"]
    assert link.configs == SERVERS
    assert link.mirrors == {"orders": WantedMirror("orders", "orders"), "b": WantedMirror("b", "c", paused=True)}


def test_numbers_and_truths_are_text_and_the_prefix_belongs_to_the_mirror():
    text = HEAD + '"request.timeout.ms" = 5000\n"cluster.link.prefix" = "e."\n"cluster.link.paused" = true\n'
    link = parse_fleet((text + '[links.east-west.mirrors."e.orders"]\n').encode())["east-west"]
    assert link.configs["request.timeout.ms"] == "5000"
    assert link.configs["cluster.link.paused"] == "true"
    assert link.mirrors["e.orders"].source_topic == "orders"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[links", "(at end of document)"),
        ("links = 1", "links: is not a table"),
        ("mirrors = 1", '"mirrors": unknown'),
        ("[links.a]\n", 'links.a.configs: "bootstrap.servers" is missing'),
        ("[links]\na = 1", "links.a: is not a table"),
        ('[links."a b"]', 'links."a b": link name "a b" may hold only letters'),
        (
            HEAD + '"request.timeout.ms" = 1',
            'links.east-west.configs: invalid value for configuration "request.timeout',
        ),
        (HEAD + '"reqest.timeout.ms" = 1', 'Did you mean "request.timeout.ms"?'),
        (HEAD + '"request.timeout.ms" = [1]', 'links.east-west.configs."request.timeout.ms": is not text'),
        (HEAD + "request.timeout = 1", 'write a key with dots in quotes, "request.timeout"'),
        (HEAD + '"acl.sync.enable" = true', '"acl.sync.enable" is true, but "acl.filters" is not set'),
        (HEAD + '[links.east-west]\nstate = "x"', 'links.east-west: "state" is unknown'),
        (HEAD + '[links.east-west.mirrors]\na = "x"', "links.east-west.mirrors.a: is not a table"),
        (HEAD + '[links.east-west.mirrors."a b"]', 'links.east-west.mirrors."a b": topic name "a b"'),
        (HEAD + "[links.east-west.mirrors.__x]", 'topic "__x" is internal'),
        (HEAD + '[links.east-west.mirrors.a]\nstate = "STOPPED"', "mirrors.a.state: 'STOPPED' is not ACTIVE or PAUSED"),
        (HEAD + "[links.east-west.mirrors.a]\nreplication_factor = 0", "replication_factor: 0 is not"),
        (HEAD + "[links.east-west.mirrors.a]\nreplication_factor = true", "replication_factor: True is not"),
        (HEAD + "[links.east-west.mirrors.a]\nsource_topic = 1", 'source_topic: topic name "1" is not text'),
        (HEAD + "[links.east-west.mirrors.a]\nsorce = 1", 'links.east-west.mirrors.a: "sorce" is unknown'),
        (HEAD + "[links.east-west.mirrors.a]\nconfigs = 1", "mirrors.a.configs: is not a table"),
    ],
)
def test_every_fault_names_its_place(text, told):
    with pytest.raises(FleetFileError) as refused:
        parse_fleet(text.encode())
    assert any(told in fault for fault in refused.value.faults), refused.value.faults


def test_all_faults_are_told_at_once():
    text = HEAD + '"x" = 1\n[links.b]\n[links.east-west.mirrors.a]\nstate = 1\n'
    with pytest.raises(FleetFileError) as refused:
        parse_fleet(text.encode())
    assert len(refused.value.faults) == 4


# --- what has to change


def wanted(*mirrors, **configs):
    return {"east-west": WantedLink("east-west", {**SERVERS, **configs}, {m.topic: m for m in mirrors})}


def known(*mirrors, name="east-west", **configs):
    return {name: replace(a_link(name, *mirrors), configs={**SERVERS, **configs})}


def planned(want, have, *, prune=False):
    found = plan_changes(want, have, prune=prune)
    return {(c.link, c.topic): c.action for c in found}, [c.detail for c in found if c.detail]


ORDERS = WantedMirror("orders", "src-orders")


def test_all_is_made_where_there_is_nothing():
    assert planned(wanted(ORDERS), {})[0] == {("east-west", ""): Action.CREATE, ("east-west", "orders"): Action.CREATE}


@pytest.mark.parametrize(
    ("state", "paused", "action"),
    [
        (MirrorState.ACTIVE, False, Action.UNCHANGED),
        (MirrorState.ACTIVE, True, Action.PAUSE),
        (MirrorState.PAUSED, False, Action.RESUME),
        (MirrorState.PAUSED, True, Action.UNCHANGED),
        *((state, False, Action.REFUSED) for state in sorted(RECORDED - {MirrorState.ACTIVE, MirrorState.PAUSED})),
    ],
)
def test_a_mirror_gets_to_what_the_file_says(state, paused, action):
    actions, _ = planned(wanted(replace(ORDERS, paused=paused)), known(a_mirror("orders", state)))
    assert actions["east-west", "orders"] is action


def test_another_source_topic_is_refused():
    actions, told = planned(wanted(WantedMirror("orders", "other")), known(a_mirror("orders")))
    assert actions["east-west", "orders"] is Action.REFUSED
    assert told == ['it mirrors "src-orders", not "other"']


def test_configs_are_compared_by_what_holds():
    have = known(**{"request.timeout.ms": "30000", "gap.fill.max": "7"})
    actions, told = planned(wanted(**{"metadata.max.age.ms": "100"}), have)
    assert actions == {("east-west", ""): Action.UPDATE}
    assert told == ['"gap.fill.max" 7 -> 5000000, "metadata.max.age.ms" 30000 -> 100']
    (change,) = plan_changes(wanted(**{"metadata.max.age.ms": "100"}), have, prune=False)
    assert change.configs == {"gap.fill.max": None, "metadata.max.age.ms": "100"}


def test_what_is_fixed_is_refused():
    actions, _ = planned(wanted(**{"cluster.link.prefix": "e."}), known())
    assert actions["east-west", ""] is Action.REFUSED


def test_a_paused_link_stays_paused_unless_the_file_speaks_of_it():
    paused = known(**{"cluster.link.paused": "true"})
    assert planned(wanted(), paused)[0]["east-west", ""] is Action.UNCHANGED
    assert planned(wanted(**{"cluster.link.paused": "false"}), paused)[0]["east-west", ""] is Action.UPDATE


def test_what_the_file_does_not_name_is_left_alone():
    have = known(a_mirror("orders"), a_mirror("more")) | known(name="old")
    assert set(planned(wanted(ORDERS), have)[0].values()) == {Action.UNCHANGED}


def test_prune_pauses_mirrors_and_deletes_only_links_that_copy_nothing():
    more = [a_mirror("more"), a_mirror("held", MirrorState.PAUSED), a_mirror("done", MirrorState.STOPPED)]
    have = known(a_mirror("orders"), *more)
    have |= known(name="old") | known(a_mirror("done", MirrorState.STOPPED), name="over")
    have |= known(a_mirror("held", MirrorState.PAUSED), name="used")

    actions, told = planned(wanted(ORDERS), have, prune=True)

    assert {key: action for key, action in actions.items() if action is not Action.UNCHANGED} == {
        ("east-west", "more"): Action.PAUSE,
        ("old", ""): Action.DELETE,
        ("over", ""): Action.DELETE,
        ("used", ""): Action.REFUSED,
    }
    assert "it still has mirror topics: held" in told[-1]


def test_a_link_that_makes_its_own_mirrors_keeps_them():
    filters = '{"topicFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}]}'
    auto = {"auto.create.mirror.topics.enable": "true", "auto.create.mirror.topics.filters": filters}
    actions, _ = planned(wanted(**auto), known(a_mirror("more"), **auto), prune=True)
    assert set(actions.values()) == {Action.UNCHANGED}


# --- the commands


@pytest.fixture
def home(tmp_path, monkeypatch) -> Home:
    monkeypatch.setenv("KMIRROR_HOME", str(tmp_path / "home"))
    return home_of_user()


def run(*words):
    try:
        return main(words)
    except SystemExit as ended:
        return ended.code


def test_what_is_exported_changes_nothing(home, tmp_path, capsys):
    mirrors = [a_mirror("orders"), a_mirror("held", MirrorState.PAUSED), a_mirror("done", MirrorState.STOPPED)]
    store(home, a_link("east-west", *mirrors), a_link("idle"))
    text, notes = export_fleet(home, None)
    assert notes == ['mirror topic "done" of link "east-west" is STOPPED: left out']
    before = home.links_file.read_bytes()

    assert run("export") == 0
    file = tmp_path / "fleet.toml"
    file.write_text(capsys.readouterr().out)
    assert file.read_text() == text
    for options in ([], ["--prune"], ["--dry-run"]):
        assert run("apply", str(file), *options) == 0
        assert capsys.readouterr().out == "= 4 unchanged\nNothing to do.\n"
    assert home.links_file.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("x = 1", 2, "has 1 fault, nothing was changed"),
        ("[links.a]\n[links.b]", 2, "has 4 faults, nothing was changed"),
        (HEAD + "[links.east-west.mirrors.stopped]", 1, "it mirrors"),
        (
            HEAD + "[links.east-west.mirrors.stopped]\nsource_topic='src-stopped'",
            1,
            "it is STOPPED, a topic of its own",
        ),
        (HEAD.replace("east-west", "new"), 1, "the source cluster cannot be reached"),
    ],
)
def test_a_bad_file_changes_nothing(text, code, told, home, capsys):
    link = a_link("east-west", a_mirror("stopped", MirrorState.STOPPED), a_mirror("orders"))
    store(home, replace(link, configs=SERVERS))
    before = home.links_file.read_bytes()
    file = home.config / "fleet.toml"
    file.write_text(text.replace("a:1", "127.0.0.1:1").replace("b:1", "127.0.0.1:1") if "new" in text else text)

    assert run("apply", str(file)) == code

    assert told in capsys.readouterr().err
    assert home.links_file.read_bytes() == before


def test_a_file_that_is_not_there_is_told(home, tmp_path, capsys):
    assert run("apply", str(tmp_path / "nope.toml")) == 2
    assert "No such file or directory" in capsys.readouterr().err
    assert run("export", "--link", "nope") == 1
