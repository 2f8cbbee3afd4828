"""What the benchmark says of its figures: no difference that chance may have made, and pictures that can be read."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from bench import plot, quick, workers
from bench.arrivals import Arrivals
from bench.latency import FLOOR, Latency
from bench.meter import Usage
from bench.report import latency_medians, latency_ratios
from bench.throughput import Copied


@pytest.mark.parametrize(
    ("ours", "theirs", "word"),
    [
        ([110, 111, 109, 110], [100, 101, 99, 100], "better"),
        ([90, 91, 89, 90], [100, 101, 99, 100], "worse"),
        ([100, 140, 80, 120], [100, 101, 99, 100], "same"),
        ([100, 200, 50, 100], [100, 200, 50, 100], "same"),
        ([120, 240, 60, 120], [100, 200, 50, 100], "better"),  # what disturbs both disturbs nothing
    ],
)
def test_a_difference_is_told_when_it_is_none_of_chance(ours: list[float], theirs: list[float], word: str) -> None:
    assert quick.judge(ours, theirs).word == word


def test_a_verdict_has_its_ratio_and_what_it_takes_to_tell_one() -> None:
    told = quick.judge([110, 121], [100, 100])
    assert told.ratio == pytest.approx((1.1 * 1.21) ** 0.5)
    assert told.word == "same", "two pairs tell next to nothing"
    assert told.spread > 0.5
    many = quick.judge([110, 121] * 20, [100, 100] * 20)
    assert (many.word, many.ratio) == ("better", pytest.approx(told.ratio))


def test_results_become_pictures(tmp_path: Path) -> None:
    for day, rate in (("2026-01-01", 300.0), ("2026-01-02", 450.0)):
        medians = {"loop": {"megabytes_per_s": 150.0}, "kmirror": {"megabytes_per_s": rate}}
        found = {"date": day, "loads": [{"name": "small & <odd>", "medians": medians}]}
        (tmp_path / f"{day}.json").write_text(json.dumps(found), "utf-8")
    measured = plot.read_results(tmp_path)
    newest = _words(plot.bars("rate", "megabytes_per_s", measured))
    assert {"small & <odd>", "150", "450"} <= newest
    assert "300" not in newest
    assert {"small & <odd> 3.0 x", "2026-01-01", "2026-01-02"} <= _words(plot.history("x", "megabytes_per_s", measured))


def _words(svg: str) -> set[str | None]:
    return {element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("text")}


def test_latency_is_told_against_the_floor_of_its_own_round() -> None:
    rounds = [("none", 0.4, 1.0), (FLOOR, 1.0, 4.0), ("kmirror", 1.5, 4.4)]
    rounds += [("none", 0.8, 9.0), (FLOOR, 2.0, 40.0), ("kmirror", 3.0, 36.0)]
    rounds += [("none", 0.4, 1.0), (FLOOR, 1.0, 4.0), ("kmirror", 1.7, 8.0)]
    found = [Latency(name, 30_000, p50, p99, 50.0, 20.0) for name, p50, p99 in rounds]
    assert latency_ratios(found) == {"kmirror": {"p50_ms": 1.5, "p99_ms": 1.1}}
    assert latency_medians(found)["kmirror"] == {"p50_ms": 1.7, "p99_ms": 8.0, "max_ms": 50.0, "cpu_percent": 20.0}
    assert latency_ratios([one for one in found if one.contender != FLOOR]) == {}


def test_arrivals_are_seen_by_who_else_has_the_file(tmp_path: Path) -> None:
    seen = Arrivals.make(tmp_path / "arrivals")
    reader = Arrivals(tmp_path / "arrivals")
    for sent_s, arrived_s in ((0.9, 1.1), (1.0, 1.5), (2.0, 2.25), (2.5, 2.6)):
        reader.add(int(sent_s * 1e9), int(arrived_s * 1e9))
    assert len(seen) == 4
    assert seen.under_way_ms(1.0, 1.0) == [500.0, 250.0]


def copied_by(rate: float, mirror_s: float, brokers_s: float) -> Copied:
    """100 MB."""
    cpu = Usage(mirror_s, brokers_s / 4, 3 * brokers_s / 4, 0.0, 1.5)
    return Copied("kmirror", "small", 0.5, 100 / rate, 100.0, cpu, 90.0, 1000.0)


def test_what_bounds_more_workers() -> None:
    """The mirror's own cores, or all cores for the mirror and the brokers."""
    one = workers.figures(1, 1.0, [copied_by(40, 2.0, 0.5), copied_by(50, 2.2, 0.5), copied_by(45, 2.1, 0.5)], cores=2)
    assert (one.rate, one.mirror, one.source, one.destination) == (45, 21, 1.25, 3.75)
    assert one.bound(2) == 1000 / 21
    two = replace(one, workers=2, rate=70)
    assert two.bound(2) == 2000 / 26
    assert two.bound(64) == 2000 / 21
    assert replace(two, core_part=0.2).bound(2) == 400 / 21
    _, first, second = workers.lines("small", [one, two], 2)
    assert first.split()[:5] == ["1", "workers", "45", "1.00", "48"]
    assert second.split()[:5] == ["2", "workers", "70", "1.56", "77"]
