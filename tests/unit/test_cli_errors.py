"""Wrong words: exit code, what is said, and that links.toml is as it was. No cluster is needed for any of these."""

import time

import pytest

from kmirror.cli.app import main
from kmirror.model.states import MirrorState
from kmirror.state.paths import home as home_of_user
from support.recorded import NOBODY, a_link, a_mirror, store

CLUSTERS = ("--source-bootstrap-server", NOBODY, "--destination-bootstrap-server", NOBODY)
NO_HOST = ("--source-bootstrap-server", "nohost.invalid:9092", "--destination-bootstrap-server", NOBODY)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KMIRROR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")
    found = home_of_user()
    stopped = a_mirror("stopped", MirrorState.STOPPED)
    failed = a_mirror("failed", MirrorState.FAILED)
    store(found, a_link("east-west", a_mirror(), stopped, failed), a_link("empty"))
    return found


def run(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as e:
        return int(e.code or 0)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("link", "create", "x"), 2, "the source cluster is not given"),
        (("link", "create", "x", *CLUSTERS[:2]), 2, "--destination-bootstrap-server"),
        (("link", "create", "a b", *CLUSTERS), 2, 'link name "a b" may hold only letters'),
        (("link", "create", "..", *CLUSTERS), 2, 'may not be "." or ".."'),
        (("link", "create", "", *CLUSTERS), 2, "is empty"),
        (("link", "create", "x" * 250, *CLUSTERS), 2, "longer than 249"),
        (("link", "create", "a/b", *CLUSTERS), 2, "may hold only letters"),
        (("link", "create", "x", "--source-bootstrap-server", "east", *CLUSTERS[2:]), 2, '"east" is not host:port'),
        (("link", "create", "x", "--source-bootstrap-server", "e:0", *CLUSTERS[2:]), 2, "no valid port"),
        (("link", "create", "x", "--source-bootstrap-server", "", *CLUSTERS[2:]), 2, "is not host:port"),
        (("link", "create", "x", *CLUSTERS, "--config", "abc"), 2, "configuration: abc"),
        (("link", "create", "x", *CLUSTERS, "--config", "no.such=1"), 2, 'unknown configuration "no.such"'),
        (("link", "create", "x", *CLUSTERS, "--config", "link.mode=SOURCE"), 2, '"SOURCE" is not "DESTINATION"'),
        (("link", "create", "x", *CLUSTERS, "--config", "sasl.mechanism=PLAIN"), 2, '"security.protocol" is PLAINTEXT'),
        (
            ("link", "create", "x", *CLUSTERS, "--config", "sasl.kerberos.service.name=kafka"),
            2,
            "not supported by this",
        ),
        (("link", "create", "x", *CLUSTERS, "--config", "acl.sync.enable=true"), 2, '"acl.filters" is not set'),
        (("link", "create", "x", *CLUSTERS), 1, "the source cluster cannot be reached"),
        (("link", "create", "x", *NO_HOST), 1, "unknown host name"),
        (("link", "create", "east-west", *CLUSTERS), 1, 'cluster link "east-west" already exists'),
        (("link", "create", "x", *CLUSTERS, "-o", "xml"), 2, "'xml' is not one of"),
        (("link", "describe", "nope"), 1, 'cluster link "nope" not found'),
        (("link", "delete", "empty", "nope", "--force"), 1, 'cluster link "nope" not found'),
        (("link", "delete", "east-west"), 1, "still has mirror topics: orders"),
        (("link", "delete", "empty"), 2, "--force"),
        (("link", "start", "nope"), 1, 'cluster link "nope" not found'),
        (("link", "stop", "nope"), 1, 'cluster link "nope" not found'),
        (("link", "run", "nope"), 1, 'cluster link "nope" not found'),
        (("link", "logs", "nope"), 1, 'cluster link "nope" not found'),
        (("link", "frobnicate"), 2, "No such command"),
        (("link", "logs", "empty", "--lines", "-1"), 2, "--lines"),
        (("mirror", "create", "orders"), 2, "--link"),
        (("mirror", "create", "t", "--link", "nope"), 1, 'cluster link "nope" not found'),
        (("mirror", "create", "a b", "--link", "empty"), 2, 'topic name "a b"'),
        (("mirror", "create", "t", "--source-topic", "a b", "--link", "empty"), 2, 'topic name "a b"'),
        (("mirror", "create", "__consumer_offsets", "--link", "empty"), 2, "is internal"),
        (("mirror", "create", "t", "--source-topic", "__x", "--link", "empty"), 2, "is internal"),
        (("mirror", "create", "t", "--link", "empty", "--config", "x"), 2, "configuration: x"),
        (("mirror", "create", "t", "--link", "empty", "--replication-factor", "0"), 2, "--replication-factor"),
        (("mirror", "create", "t", "--link", "empty", "--replication-factor", "x"), 2, "--replication-factor"),
        (("mirror", "create", "t", "--link", "empty"), 1, "the source cluster cannot be reached"),
        (("mirror", "create", "orders", "--link", "east-west"), 1, 'topic "orders" is already a mirror'),
        (("mirror", "list", "--link", "nope"), 1, 'cluster link "nope" not found'),
        (("mirror", "list", "--mirror-status", "bogus"), 2, 'unknown mirror status "bogus"'),
        (("mirror", "describe", "nope", "--link", "east-west"), 1, 'mirror topic "nope" not found'),
        (("mirror", "describe", "orders", "--link", "nope"), 1, 'cluster link "nope" not found'),
        (("mirror", "describe", "orders", "--link", "east-west", "--watch", "-o", "json"), 2, "--watch"),
        (("mirror", "pause", "nope", "--link", "east-west"), 1, 'mirror topic "nope" not found'),
        (("mirror", "pause", "stopped", "--link", "east-west"), 1, 'has already stopped its mirror from "east-west"'),
        (("mirror", "resume", "failed", "--link", "east-west"), 1, "has failed, it cannot resume"),
        (("mirror", "promote", "stopped", "--link", "east-west"), 1, "has already stopped its mirror"),
        (("mirror", "promote", "failed", "--link", "east-west"), 1, "mirror failover failed --link east-west"),
        (("mirror", "promote", "orders", "--link", "east-west"), 1, "the source cluster cannot be reached"),
        (("mirror", "promote", "orders", "--link", "east-west", "--timeout", "soon"), 2, '"soon" is no time'),
        (("mirror", "failover", "stopped", "--link", "east-west"), 1, "has already stopped its mirror"),
        (("mirror", "failover", "orders", "--link", "east-west"), 1, "the destination cluster cannot be reached"),
        (("mirror", "promote", "--link", "east-west"), 2, "no mirror topic is given"),
        (("mirror", "pause", "orders", "--all", "--link", "east-west"), 2, "exclude each other"),
        (("mirror", "pause", "--all", "--pattern", "x", "--link", "east-west"), 2, "exclude each other"),
        (("mirror", "pause", "--pattern", "[", "--link", "east-west"), 2, 'pattern "[" is not a regular expression'),
        (("mirror", "pause", "--pattern", "order", "--link", "east-west"), 1, 'no mirror topic that matches "order"'),
        (("mirror", "pause", "--pattern", "stop.*", "--link", "east-west"), 1, ": 1 are STOPPED already"),
        (("mirror", "pause", "--pattern", "", "--link", "east-west"), 1, 'no mirror topic that matches ""'),
        (("mirror", "failover", "--all", "--link", "empty"), 1, 'link "empty" has no mirror topic'),
        (("mirror", "resume", "--all", "--link", "nope"), 1, 'cluster link "nope" not found'),
        (("mirror", "create", "--link", "empty"), 2, "no topic is given"),
        (("mirror", "create", "a", "--all-matching", "b", "--link", "empty"), 2, "exclude each other"),
        (("mirror", "create", "--all-matching", "(", "--link", "empty"), 2, "is not a regular expression"),
        (("mirror", "create", "--all-matching", ".*", "--link", "empty"), 1, "the source cluster cannot be reached"),
        (("mirror", "create", "--all-matching", ".*", "--source-topic", "a", "--link", "empty"), 2, "for one mirror"),
        (("mirror", "create", "a", "b", "--source-topic", "c", "--link", "empty"), 2, "for one mirror"),
        (("mirror", "create", "a", "--foreground", "--dry-run", "--link", "empty"), 2, "changes nothing"),
        (("mirror", "create", "a", "b", "--link", "empty", "--config", "cleanup.policy=x"), 1, "cannot be reached"),
    ],
    ids=lambda value: " ".join(value)[:90] if isinstance(value, tuple) else None,
)
def test_it_is_refused_and_nothing_changes(words, code, told, home, capsys):
    before = home.links_file.read_bytes()
    started = time.monotonic()

    assert run(*words) == code

    said = capsys.readouterr()
    assert told in said.err
    assert "Traceback" not in said.out + said.err
    assert home.links_file.read_bytes() == before
    assert time.monotonic() - started < 10


def test_several_topics_are_each_by_itself(home, capsys):
    assert run("mirror", "pause", "nope", "orders", "stopped", "--link", "east-west") == 1

    said = capsys.readouterr()
    lines = [[c.strip() for c in line.split("|")] for line in said.out.splitlines()]
    assert lines[2][:5] == ["nope", "-1", "-1", "-1", 'mirror topic "nope" not found on link "east-west"']
    assert lines[3:5] == [["orders", "0", "-1", "-1", "", ""], ["orders", "1", "-1", "-1", "", ""]]
    assert lines[5][:4] == ["stopped", "-1", "-1", "-1"]
    assert "Error: failed to pause 2 of 3 mirror topics" in said.err
    assert 'state = "PAUSED"' in home.links_file.read_text()


def test_all_leaves_out_what_is_stopped(home, capsys):
    assert run("mirror", "pause", "--all", "--link", "east-west", "--dry-run") == 1

    said = capsys.readouterr()
    told = {line.split("|")[0].strip() for line in said.out.splitlines()[2:]}
    assert told == {"failed", "orders"}
    assert 'mirror topic "failed" has failed, it cannot pause' in said.err


def test_a_pattern_is_for_whole_names(home, capsys):
    assert run("mirror", "pause", "--pattern", "or.*s", "--link", "east-west") == 0

    assert {line.split("|")[0].strip() for line in capsys.readouterr().out.splitlines()[2:]} == {"orders"}
    assert 'state = "PAUSED"' in home.links_file.read_text()


def test_stdout_stays_clean_for_scripts(home, capsys):
    assert run("mirror", "describe", "nope", "--link", "east-west", "-o", "json") == 1

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        'Error: mirror topic "nope" not found on link "east-west"\n\nSuggestions:\n'
        "    List its mirror topics with `kmirror mirror list --link east-west`.\n"
    )


def test_a_damaged_file_is_told_and_kept(home, capsys):
    home.links_file.write_text("schema = 1\n[links\n")

    assert run("status") == 1

    assert "is damaged" in capsys.readouterr().err
    assert home.links_file.read_text() == "schema = 1\n[links\n"


@pytest.fixture
def broken(monkeypatch):
    def fail(*_):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("kmirror.ops.overview.overview", fail)


def test_what_nobody_thought_of_is_one_line_and_a_log(home, broken, capsys):
    assert run("status") == 1

    said = capsys.readouterr().err
    log = home.runtime / "kmirror-cli.log"
    assert said.startswith(
        f'Error: kmirror failed unexpectedly with RuntimeError: two lines; the traceback is in "{log}"'
    )
    assert "Traceback" not in said
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_tracebacks_of_errors_are_logged_on_demand(home, capsys):
    log = home.runtime / "kmirror-cli.log"
    run("link", "describe", "nope")
    assert not log.exists()

    run("-vv", "link", "describe", "nope")

    assert "NotFound" in log.read_text()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("link", "-h"), ("mirror", "promote", "-h"), ("--version",)])
def test_help_needs_nothing(words, capsys):
    assert run(*words) == 0
    assert capsys.readouterr().out
