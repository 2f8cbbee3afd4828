"""The order in which the cluster tests run names modules that are there."""

from collections import Counter
from itertools import chain
from pathlib import Path

from support.shifts import SHIFTS, place_of

CLUSTER = Path(__file__).parents[1] / "cluster"


def test_each_module_of_a_shift_is_there_and_in_no_other():
    named = Counter(chain.from_iterable(SHIFTS))
    assert named.keys() <= {path.stem for path in CLUSTER.glob("test_*.py")}
    assert set(named.values()) == {1}


def test_the_longest_come_first_and_what_is_not_named_last():
    tests = [f"tests/cluster/{module}.py::test_x[a::b]" for module in ("test_new", "test_docs", "test_acks")]
    assert sorted(tests, key=place_of) == tests[::-1]
