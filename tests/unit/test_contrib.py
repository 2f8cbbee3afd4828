"""contrib/: what it says of kmirror is what kmirror has, and nothing there runs with more rights than it needs."""

import re
from pathlib import Path

import pytest
import yaml

from support.command_words import parsed

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "contrib" / "container" / "Containerfile").read_text("utf-8").replace("\\\n", " ")
MANIFESTS = list(yaml.safe_load_all((ROOT / "contrib" / "kubernetes" / "kmirror.yaml").read_text("utf-8")))
POD = next(m for m in MANIFESTS if m["kind"] == "StatefulSet")["spec"]["template"]["spec"]
CONTAINERS = [*POD["initContainers"], *POD["containers"]]


def instructions(word):
    return [line.split(" ", 1)[1].strip() for line in CONTAINERFILE.splitlines() if line.startswith(f"{word} ")]


def test_images_have_short_names():
    images = [name.split(" ")[0] for name in instructions("FROM")] + [c["image"] for c in CONTAINERS]
    assert images
    assert not [name for name in images if "/" in name]


def test_the_container_runs_as_nobody_in_the_home_that_it_keeps():
    assert [int(user.split(":")[0]) for user in instructions("USER")] == [POD["securityContext"]["runAsUser"]]
    (home,) = instructions("VOLUME")
    assert f"KMIRROR_HOME={home}" in CONTAINERFILE
    assert f"--uid {POD['securityContext']['runAsUser']} " in CONTAINERFILE
    assert instructions("ENTRYPOINT") == ['["kmirror"]']


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda c: c["name"])
def test_a_container_of_the_pod_is_confined(container):
    confined = container["securityContext"]
    assert confined["readOnlyRootFilesystem"] is True
    assert confined["allowPrivilegeEscalation"] is False
    assert confined["capabilities"] == {"drop": ["ALL"]}
    assert POD["securityContext"]["runAsNonRoot"] is True
    volumes = {volume["name"] for volume in POD["volumes"]} | {"home"}
    assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    assert any(mount["mountPath"] == instructions("VOLUME")[0] for mount in container["volumeMounts"])


def test_one_pod_runs_a_command_that_exists_and_is_probed_where_it_answers():
    (spec,) = [m["spec"] for m in MANIFESTS if m["kind"] == "StatefulSet"]
    (runner,) = POD["containers"]
    name, options = parsed(runner["args"])
    port = {p["name"]: p["containerPort"] for p in runner["ports"]}

    assert spec["replicas"] == 1
    assert name == "run"
    assert options["metrics_addr"].endswith(f":{port['metrics']}")
    served = (ROOT / "src" / "kmirror" / "process" / "metrics_server.py").read_text("utf-8")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        asked = runner[probe]["httpGet"]
        assert asked["port"] in port
        assert f'"{asked["path"]}"' in served


def test_commands_of_the_script_exist():
    (script,) = POD["initContainers"][0]["args"]
    for line in re.findall(r"kmirror ([a-z -]+ (?:[^|\n\\]|\\\n)*)", script):
        words = line.replace("\\\n", " ").replace('"$SOURCE"', "e:1").replace('"$DESTINATION"', "w:1").split()
        assert parsed(words)
    assert script.count("kmirror ") == 2
