"""The order in which tests run names modules that are there."""

from collections import Counter
from itertools import chain
from pathlib import Path

from support.shifts import SHIFTS, place_of

CLUSTER = Path(__file__).parents[1] / "cluster"


def test_each_module_of_a_shift_is_there_and_in_no_other():
    named = Counter(chain.from_iterable(SHIFTS))
    assert named.keys() <= {path.stem for path in CLUSTER.glob("test_*.py")}
    assert set(named.values()) == {1}


def test_the_longest_come_first_then_what_is_not_named_and_unit_tests_last():
    modules = ("unit/test_acks", "cluster/test_new", "cluster/test_docs", "cluster/test_acks")
    tests = [f"tests/{module}.py::test_x[a::b]" for module in modules]
    assert sorted(tests, key=place_of) == tests[::-1]
