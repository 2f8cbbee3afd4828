"""The locked jars: nothing that differs from the lock gets on a class path."""

import hashlib
import sys
from pathlib import Path

import pytest

from kmirror.errors import SandboxError
from kmirror.sandbox import VERSIONS, kafka_runtime
from kmirror.sandbox.jars import jars_directory
from kmirror.sandbox.lock import Lock, parse_lock, read_lock, verify


@pytest.fixture
def lock() -> Lock:
    lines = [f"{hashlib.sha256(name.encode()).hexdigest()} 3 org.example:{name}:1.0" for name in ("one", "two")]
    return parse_lock("9.9", "\n".join(lines) + "\n")


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    directory = tmp_path / "jars"
    directory.mkdir()
    for name in ("one", "two"):
        (directory / f"{name}-1.0.jar").write_text(name)
    return directory


@pytest.mark.parametrize("name", [*VERSIONS, "4.3.1-mirror"])
def test_committed_locks_are_well_formed(name: str) -> None:
    lock = read_lock(name)
    names = [jar.file_name for jar in lock.jars]
    assert len(set(names)) == len(names) > 40
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in lock.jars)
    own = {jar.version for jar in lock.jars if jar.group == "org.apache.kafka"}
    assert own == {name.removesuffix("-mirror")}, "a resolver that picks an older kafka-clients breaks the broker"


def test_mirror_lock_only_adds() -> None:
    base = {(jar.group, jar.artifact) for jar in read_lock("4.3.1").jars}
    added = {(jar.group, jar.artifact) for jar in read_lock("4.3.1-mirror").jars}
    assert not base & added
    assert ("org.apache.kafka", "connect-mirror") in added


def test_what_the_lock_says_passes(lock: Lock, jars: Path) -> None:
    verify(lock, jars)


def test_changed_jar_is_named(lock: Lock, jars: Path) -> None:
    (jars / "two-1.0.jar").write_text("twO")
    with pytest.raises(SandboxError, match=r'"two-1\.0\.jar" has SHA-256'):
        verify(lock, jars)


def test_missing_jar_is_named(lock: Lock, jars: Path) -> None:
    (jars / "one-1.0.jar").unlink()
    with pytest.raises(SandboxError, match=r'"one-1\.0\.jar" is missing'):
        verify(lock, jars)


def test_jar_that_the_lock_does_not_know_is_named(lock: Lock, jars: Path) -> None:
    (jars / "three-1.0.jar").write_text("three")
    with pytest.raises(SandboxError, match=r'"three-1\.0\.jar" .* is not in the lock'):
        verify(lock, jars)


def test_digest_follows_every_line(lock: Lock) -> None:
    line = f"{'0' * 64} 3 org.example:three:1.0\n"
    assert parse_lock("9.9", line).digest != lock.digest


def test_cached_jars_are_checked_at_each_use(
    lock: Lock, jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setattr("kmirror.sandbox.jars.user_cache_path", lambda _app: cache)
    place = cache / "kafka" / f"9.9-{lock.digest}"
    place.parent.mkdir(parents=True)
    jars.rename(place)
    assert jars_directory(lock, print) == place
    (place / "one-1.0.jar").write_text("bad")
    with pytest.raises(SandboxError, match=r'"one-1\.0\.jar"') as caught:
        jars_directory(lock, print)
    assert str(place) in (caught.value.hint or "")


def test_without_jgo_the_hint_names_the_extra(lock: Lock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmirror.sandbox.jars.user_cache_path", lambda _app: tmp_path)
    monkeypatch.setitem(sys.modules, "jgo.config", None)
    with pytest.raises(SandboxError) as caught:
        jars_directory(lock, print)
    assert "pip install 'kmirror[sandbox]'" in (caught.value.hint or "")
    assert not list((tmp_path / "kafka").glob("[!.]*"))


def test_unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KMIRROR_KAFKA_HOME", raising=False)
    with pytest.raises(SandboxError, match=r'no Apache Kafka "1\.0"'):
        kafka_runtime("1.0")
    with pytest.raises(SandboxError, match=r'no MirrorMaker 2 "3\.9\.2"'):
        kafka_runtime("3.9.2", connect_mirror=True)


def test_unpacked_kafka_takes_the_place_of_the_jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMIRROR_KAFKA_HOME", str(tmp_path))
    with pytest.raises(SandboxError, match="KMIRROR_KAFKA_HOME"):
        kafka_runtime()
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka-clients-4.0.0.jar").touch()
    runtime = kafka_runtime()
    assert (runtime.version, runtime.class_path) == ("4.0.0", f"{tmp_path}/libs/*")
