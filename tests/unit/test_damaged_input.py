"""Damaged answers of real brokers, damaged files: a typed error, or what can be read. `make fuzz` is the long form."""

import tracemalloc

import pytest

from fuzz.targets import TARGETS, corpus, damage_of


@pytest.mark.parametrize("name", TARGETS)
def test_damage_is_a_typed_error(name: str) -> None:
    damage, target = damage_of(name), TARGETS[name][1]
    for seed in range(300):
        data, version = damage(seed)
        try:
            target(data, version)
        except Exception as e:
            e.add_note(f"{name}, seed {seed}")
            raise


@pytest.mark.parametrize("name", ["fetch", "repaired", "produce", "metadata", "log_ends", "write_txn_markers"])
def test_damage_takes_no_memory(name: str) -> None:
    """A length of gigabytes in a frame of kilobytes is not believed."""
    damage, target = damage_of(name), TARGETS[name][1]
    tracemalloc.start()
    try:
        for seed in range(100):
            data, version = damage(seed)
            target(data, version)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_whole_is_read(name: str) -> None:
    """Else the damage would not get far."""
    frames = corpus(TARGETS[name][0])
    assert frames
    for version, frame in frames:
        TARGETS[name][1](frame, version)
