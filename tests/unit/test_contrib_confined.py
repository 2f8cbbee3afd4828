"""The command of container and pod under what they put upon it: no root, no capability, a disk that is read-only."""

import http.client
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

MANIFEST = Path(__file__).parents[2] / "contrib" / "kubernetes" / "kmirror.yaml"
POD = next(m for m in yaml.safe_load_all(MANIFEST.read_text("utf-8")) if m["kind"] == "StatefulSet")["spec"]["template"]
USER = str(POD["spec"]["securityContext"]["runAsUser"])
PATH = "/usr/bin:/bin"
KMIRROR = [sys.executable, "-m", "kmirror"]

CONFINE = """
set -eu
mount --bind "$HOME" "$HOME"
mount -o remount,bind,ro /
for place in /tmp /dev/shm; do
    if mountpoint -q "$place"; then mount -o remount,bind,ro "$place"; fi
done
exec unshare --user --map-user="$0" --map-group="$0" "$@"
"""
"""One process takes the other's place: the last one hears the signals that are sent to the first."""


def confined(*command: str) -> list[str]:
    """Only HOME can be written to."""
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", CONFINE, USER, *command]


def can_confine() -> bool:
    """Kernels may refuse it to users, and not every system has `unshare`."""
    try:
        done = subprocess.run(confined("true"), env={"HOME": "/tmp", "PATH": PATH}, capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


pytestmark = pytest.mark.skipif(not can_confine(), reason="the kernel lets no user confine a process")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return {"HOME": str(home), "KMIRROR_HOME": str(home), "PATH": PATH, "PYTHONDONTWRITEBYTECODE": "1"}


def test_it_is_confined(tmp_path: Path, environment: dict[str, str]) -> None:
    look = "id -u; grep CapEff /proc/self/status; ! touch ../x && touch x && ls"
    command = confined("sh", "-c", f"cd $HOME; {look}")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [USER, "CapEff:", "0" * 16, "x"]
    assert "Read-only file system" in done.stderr


def test_the_runner_of_the_pod_lives_answers_its_probe_and_ends(environment: dict[str, str]) -> None:
    nowhere = ["--source-bootstrap-server", "127.0.0.1:1", "--destination-bootstrap-server", "127.0.0.1:2"]
    create = confined(*KMIRROR, "link", "create", "east-west", *nowhere, "--no-validate")
    subprocess.run(create, env=environment, check=True, capture_output=True)
    (container,) = POD["spec"]["containers"]
    words = [word.replace("0.0.0.0:9404", "127.0.0.1:0") for word in container["args"]]
    with subprocess.Popen(confined(*KMIRROR, *words), env=environment, stderr=subprocess.PIPE, text=True) as runner:
        try:
            line = next(line for line in runner.stderr if "metrics and health" in line)
            address = re.search(r"http://([\d.:]+)/", line)[1]
            client = http.client.HTTPConnection(address, timeout=30)
            client.request("GET", container["livenessProbe"]["httpGet"]["path"])
            assert client.getresponse().status == 200
            client.close()
            runner.terminate()
            rest = runner.stderr.read()
            assert (runner.wait(30), "Traceback" in rest) == (0, False), rest
        finally:
            runner.kill()
