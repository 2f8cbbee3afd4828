"""Which tests a worker of a parallel run gets: whole modules, the longest first.

Those of a shift share clusters, which are so started once and not on each worker: a broker that nobody asks costs a
hundredth of a core, and its start three seconds of one. What takes long comes first, so that no worker goes on alone in
the end; the unit tests, which need no cluster, fill up what is left then.
"""

from collections.abc import Sequence
from typing import Final

import pytest
from xdist.scheduler import LoadScopeScheduling

SHIFTS: Final[Sequence[Sequence[str]]] = (
    ("test_transactions", "test_markers", "test_acks"),
    ("test_brokers",),
    ("test_guard", "test_secured", "test_rights", "test_versions"),
    ("test_faults",),
    ("test_logs", "test_copy"),
    ("test_docs",),
    ("test_memory",),
    ("test_workers",),
    ("test_networks",),
    ("test_sandbox",),
    ("test_verbs",),
    ("test_small_batches",),
    ("test_examples",),
    ("test_limits",),
    ("test_demo",),
    ("test_reverse",),
    ("test_pipes",),
    ("test_seeing",),
    ("test_offset_sync",),
    ("test_restore",),
    ("test_throttling",),
    ("test_compared",),
    ("test_verify",),
)
"""The longest first. A module that is not here comes after them."""

_CLUSTER: Final = "tests/cluster"
_PLACES: Final = {f"{_CLUSTER}/{module}.py": place for place, shift in enumerate(SHIFTS) for module in shift}


def place_of(test: str) -> int:
    """Tests are sorted by this; `test` is what pytest calls a test."""
    module = _module_of(test)
    return _PLACES.get(module, len(SHIFTS) if module.startswith(f"{_CLUSTER}/") else len(SHIFTS) + 1)


def _module_of(test: str) -> str:
    return test.partition("::")[0]


class Shifts(LoadScopeScheduling):
    """A worker with no more than two tests left gets the next shift, in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log=None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # not by the number of tests

    def _split_scope(self, nodeid: str) -> str:
        module = _module_of(nodeid)
        return SHIFTS[_PLACES[module]][0] if module in _PLACES else module
