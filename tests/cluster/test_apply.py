"""Links and mirrors by a file on real clusters: made, changed, and the second run does nothing."""

import json

from support.mirrors import TestLink, topic_configs
from support.traffic import Record, create_topic, produce

LINK = "east-west"


def applied(kmirror, file, *options, code=0):
    done = kmirror.run("apply", str(file), *options, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_a_file_is_made_so_and_the_second_run_does_nothing(kmirror, east, west, tmp_path, topic_name):
    orders, held = f"{topic_name}-orders", f"{topic_name}-held"
    for name in (orders, held, f"{topic_name}-src"):
        create_topic(east.bootstrap_servers, name)
    produce(east.bootstrap_servers, orders, [Record(b"k", b"v")] * 20)
    file = tmp_path / "fleet.toml"
    head = (
        f'[links.{LINK}.configs]\n"bootstrap.servers" = "{east.bootstrap_servers}"\n'
        f'"destination.bootstrap.servers" = "{west.bootstrap_servers}"\n"metadata.max.age.ms" = 500\n'
    )
    body = (
        f"[links.{LINK}.mirrors.{orders}]\n"
        f'[links.{LINK}.mirrors.{held}]\nstate = "PAUSED"\nreplication_factor = 1\n'
        f'configs = {{ "retention.ms" = 7200000 }}\n'
        f'[links.{LINK}.mirrors.{topic_name}-copy]\nsource_topic = "{topic_name}-src"\n'
    )
    file.write_text(head + body)

    dry = applied(kmirror, file, "--dry-run")
    assert f"+ create link {LINK}\n+ create mirror {topic_name}-copy on link {LINK}" in dry.stdout
    assert not kmirror.links_file.exists()

    assert "Applied 4 changes." in applied(kmirror, file).stdout
    assert "= 4 unchanged\nNothing to do." in applied(kmirror, file, "--prune").stdout

    link = TestLink(kmirror, east, west)
    assert link.assert_exact(orders) == 20
    assert topic_configs(west, held)["retention.ms"] == "7200000"
    assert {link.status(held), link.status(f"{topic_name}-copy")} == {"PAUSED", "ACTIVE"}

    exported = tmp_path / "exported.toml"
    exported.write_text(kmirror.run("export").stdout)
    assert "Nothing to do." in applied(kmirror, exported, "--prune").stdout

    head = head.replace("= 500\n", "= 700\n")  # a port may have 500 in it, too
    file.write_text(head + body.replace('state = "PAUSED"\n', "").replace(f"{orders}]", "x]", 1))
    done = applied(kmirror, file, code=1)  # there is no topic x at the source; the rest is done
    assert f'~ update link {LINK}: "metadata.max.age.ms" 500 -> 700' in done.stdout
    assert "1 of 3 changes failed" in done.stderr
    assert 'source topic "x" not found' in done.stderr
    link.await_status(held, "ACTIVE")
    assert kmirror.json("link", "describe", LINK)["configs"]["metadata.max.age.ms"] == "700"

    file.write_text(head)
    rows = json.loads(applied(kmirror, file, "--prune", "-o", "json").stdout)
    changed = {row["mirror_topic_name"]: row["action"] for row in rows if row["done"]}
    assert changed == dict.fromkeys((orders, held, f"{topic_name}-copy"), "pause")
    file.write_text("")
    refused = applied(kmirror, file, "--prune", code=1)
    assert f"! refused link {LINK}: not in the file, but it still has mirror topics" in refused.stdout
    link.verb("failover", options=("--all",))
    assert f"- delete link {LINK}" in applied(kmirror, file, "--prune").stdout
    assert kmirror.json("link", "list") == []
