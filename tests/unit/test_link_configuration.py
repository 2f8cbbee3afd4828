"""What `link configuration` may change, and what follows from a change; no cluster is asked."""

import json
from dataclasses import replace

import pytest

from kmirror.cli.app import main
from kmirror.errors import UsageError
from kmirror.model.settings import FEATURES, IGNORED, SETTINGS
from kmirror.ops.link_config import ConfigChange, after_changes, changed_configs
from kmirror.state.links import LinkStore
from kmirror.state.paths import home as home_of_user
from support.recorded import a_link, a_mirror, store

ALL_TOPICS = '{"topicFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}]}'
ALL_GROUPS = ALL_TOPICS.replace("topicFilters", "groupFilters")
ENABLE, FILTERS = "auto.create.mirror.topics.enable", "auto.create.mirror.topics.filters"
MADE = dict(a_link().configs)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KMIRROR_HOME", str(tmp_path / "home"))
    found = home_of_user()
    store(found, a_link("east-west", a_mirror()))
    return found


@pytest.fixture
def run(home, capsys):
    def command(*words, code=0, group="link"):
        try:
            ended = main([group, *words])
        except SystemExit as e:
            ended = e.code or 0
        said = capsys.readouterr()
        assert ended == code, said
        return said

    return command


def configs(home):
    return LinkStore(home).get("east-west").configs


# --- what a change is


def test_only_what_differs_is_a_change():
    changes = changed_configs({**MADE, "gap.fill.max": "5"}, {"gap.fill.max": "5", "fetch.buffer.bytes": "2000000"})

    assert changes == {"fetch.buffer.bytes": ConfigChange(None, "2000000")}
    assert after_changes({"a": "1", "b": "2"}, {"a": ConfigChange("1", None), "c": ConfigChange(None, "3")}) == {
        "b": "2",
        "c": "3",
    }


@pytest.mark.parametrize(("feature", "filters"), FEATURES.items())
@pytest.mark.parametrize("off", ["false", None])
def test_a_feature_that_is_disabled_loses_its_filters(feature, filters, off):
    before = {**MADE, feature: "true", filters: "whatever"}

    assert changed_configs(before, {feature: off})[filters] == ConfigChange("whatever", None)
    assert filters not in changed_configs({**before, feature: "false"}, {feature: "false"})


def test_filters_that_come_with_the_disabling_go_too():
    before = {**MADE, ENABLE: "true", FILTERS: "old"}

    assert changed_configs(before, {ENABLE: "false", FILTERS: ALL_TOPICS})[FILTERS] == ConfigChange("old", None)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"link.mode": "SOURCE"}, "is not"),
        ({"cluster.link.prefix": "x-"}, '"cluster.link.prefix" cannot be changed, it is ""'),
        ({"no.such": "1"}, "unknown configuration"),
        ({"no.such": None}, "unknown configuration"),
        ({"bootstrap.servers": None}, "cannot be deleted"),
        ({"bootstrap.servers": "east"}, "is not host:port"),
        ({"gap.fill.max": "1", "topic.config.sync.ms": "10"}, "is not between 1000"),
        ({ENABLE: "true"}, f'"{FILTERS}" is not set'),
        ({"consumer.offset.sync.enable": "true"}, '{"groupFilters":'),
        ({"acl.sync.enable": "true"}, '"acl.filters" is not set'),
        ({"consumer.group.prefix.enable": "true"}, 'no "cluster.link.prefix"'),
        ({"cluster.link.paused": "yes"}, '"yes" is not "true" or "false"'),
        ({"topic.config.sync.include": "retention.ms"}, 'lacks "cleanup.policy"'),
        ({"topic.config.sync.include": "cleanup.policy,placement"}, 'names "placement"'),
        ({FILTERS: "x"}, "is not JSON"),
        ({"acl.filters": "[]"}, "is not"),
    ],
)
def test_what_may_not_be_changed(wanted, told):
    with pytest.raises(UsageError) as e:
        changed_configs(MADE, wanted)
    assert told in e.value.message + (e.value.hint or "")


def test_an_acl_sync_and_a_prefix_do_not_go_together():
    acls = '{"aclFilters":[{"resourceFilter":{},"accessFilter":{}}]}'
    with pytest.raises(UsageError, match="does not go together"):
        changed_configs({**MADE, "cluster.link.prefix": "e-"}, {"acl.sync.enable": "true", "acl.filters": acls})


def test_a_list_made_for_cluster_linking_may_name_what_this_version_does_not_follow():
    always = "cleanup.policy,max.message.bytes,message.timestamp.type,message.timestamp.difference.max.ms"
    include = {"topic.config.sync.include": f"{always},confluent.segment.speculative.prefetch.enable"}
    assert changed_configs(MADE, include)


def test_an_immutable_key_may_be_given_as_it_is():
    assert changed_configs(MADE, {"link.mode": "DESTINATION", "connection.mode": "OUTBOUND"}) == {
        "connection.mode": ConfigChange(None, "OUTBOUND")
    }


# --- the verbs


def test_update_and_delete_key(home, run):
    said = run("configuration", "update", "east-west", "--config", f"{ENABLE}=true,{FILTERS}={ALL_TOPICS}")
    assert said.out.splitlines()[0] == 'Updated cluster link "east-west".'
    assert configs(home) == {**MADE, ENABLE: "true", FILTERS: ALL_TOPICS}

    rows = json.loads(run("configuration", "list", "east-west", "-o", "json").out)
    by_name = {row["config_name"]: row for row in rows}
    assert list(rows[0]) == ["config_name", "config_value", "read_only", "sensitive", "source", "synonyms"]
    assert list(by_name) == sorted({*SETTINGS, "dest.cluster.id"})
    assert (by_name[ENABLE]["config_value"], by_name[ENABLE]["source"]) == ("true", "DYNAMIC_CLUSTER_LINK_CONFIG")
    assert (by_name["gap.fill.max"]["config_value"], by_name["gap.fill.max"]["source"]) == ("5000000", "DEFAULT_CONFIG")
    assert (by_name["link.mode"]["read_only"], by_name["gap.fill.max"]["read_only"]) == (True, False)
    assert (by_name["dest.cluster.id"]["config_value"], by_name["dest.cluster.id"]["read_only"]) == ("cluster-w", True)

    said = run("configuration", "delete-key", "east-west", ENABLE)
    assert f"{FILTERS}: " in said.out  # told, for it was not asked for
    assert configs(home) == MADE
    assert run("configuration", "delete-key", "east-west", ENABLE).out == 'Cluster link "east-west" has that already.\n'


def test_a_dry_run_changes_nothing(home, run):
    before = home.links_file.read_bytes()

    said = run("configuration", "update", "east-west", "--config", "gap.fill.max=7", "--dry-run")

    assert said.out == '[DRY RUN] Updated cluster link "east-west".\ngap.fill.max: (default) -> "7"\n'
    assert home.links_file.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("update", "east-west", "--config", "gap.fill.max=7,no.such=1"), 2),
        (("update", "east-west", "--config", "gap.fill.max=7,link.mode=SOURCE"), 2),
        (("update", "east-west", "--config", "gap.fill.max=7,bootstrap.servers=127.0.0.1:2"), 1),
        (("update", "east-west"), 2),
        (("update", "nope", "--config", "gap.fill.max=7"), 1),
        (("delete-key", "east-west", "gap.fill.max", "bootstrap.servers"), 2),
        (("delete-key", "east-west", "num.cluster.link.fetchers"), 2),
        (("list", "nope"), 1),
    ],
)
def test_what_is_refused_changes_nothing(home, run, words, code):
    before = home.links_file.read_bytes()

    assert run("configuration", *words, code=code).err.startswith(("Error: ", "Usage: "))

    assert home.links_file.read_bytes() == before


def test_new_addresses_unasked(home, run):
    run("configuration", "update", "east-west", "--config", "bootstrap.servers=127.0.0.1:2", "--no-validate")
    assert configs(home)["bootstrap.servers"] == "127.0.0.1:2"


def test_a_file_made_for_cluster_linking_moves_over(home, run, tmp_path):
    """Every key of it is taken, or named in the one warning."""
    path = tmp_path / "link.properties"
    lines = {
        "bootstrap.servers": "127.0.0.1:1",
        "link.mode": "DESTINATION",
        "connection.mode": "OUTBOUND",
        "security.protocol": "PLAINTEXT",
        "cluster.link.prefix": "",
        "consumer.offset.sync.enable": "true",
        "consumer.offset.sync.ms": "30000",
        "consumer.offset.group.filters": ALL_GROUPS,
        "consumer.group.prefix.enable": "false",
        "acl.sync.enable": "false",
        "acl.sync.ms": "5000",
        "acl.filters": "",
        "auto.create.mirror.topics.enable": "false",
        "auto.create.mirror.topics.filters": "",
        "topic.config.sync.ms": "5000",
        "mirror.start.offset.spec": "latest",
        "cluster.link.retry.timeout.ms": "300000",
        "metadata.max.age.ms": "300000",
        "replica.fetch.max.bytes": "5242880",
        "request.timeout.ms": "30000",
        **dict.fromkeys(sorted(IGNORED), "1"),
    }
    path.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))

    words = ("--destination-bootstrap-server", "127.0.0.1:1", "--no-validate", "--config", str(path))
    said = run("create", "moved", *words)

    assert said.err.splitlines()[0] == (
        f"Warning: these configurations mean nothing outside a broker and are not kept: {', '.join(sorted(IGNORED))}."
    )
    kept = {key: value for key, value in lines.items() if key not in IGNORED}
    assert LinkStore(home).get("moved").configs == {**kept, "destination.bootstrap.servers": "127.0.0.1:1"}


# --- pause and resume, without a runner


def test_pause_and_resume(home, run):
    assert run("pause", "east-west").out == 'Paused cluster link "east-west".\n'
    assert run("pause", "east-west").out == 'Cluster link "east-west" is already paused.\n'
    (row,) = json.loads(run("list", "-o", "json").out)
    assert row["state"] == "PAUSED"
    (mirror,) = json.loads(run("list", "-o", "json", group="mirror").out)
    assert mirror["mirror_status"] == "LINK_PAUSED"
    tasks = json.loads(run("task", "list", "east-west", "-o", "json").out)
    assert {task["state"] for task in tasks} <= {"LINK_PAUSED", "NOT_CONFIGURED"}

    refused = run("promote", "orders", "--link", "east-west", group="mirror", code=1)
    assert "kmirror link resume east-west" in refused.err

    # Without mirrors nobody has to be started to resume it.
    LinkStore(home).change(lambda links: links.update({"east-west": replace(links["east-west"], mirrors={})}))
    assert run("resume", "east-west").out == 'Resumed cluster link "east-west".\n'
    assert run("resume", "east-west").out == 'Cluster link "east-west" is not paused.\n'
    run("pause", "nope", code=1)
