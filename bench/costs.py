"""`python -m bench.costs FILE..`: from results, what a MB, a batch, a record and a marker cost kmirror and the brokers.

Each by the load of which it is most, less what is known by then: large batches tell what a MB costs, those of one
record what a batch does, and so on. A load is taken from the first file that has it.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

Costs = dict[str, float]
"""CPU-seconds of the mirror, the source's broker and the destination's."""

SIDES: Final = ("mirror", "source", "destination")
_MERGED_BYTES: Final = 20_000  # on average: those of up to 16 KB are


def _is_merged(load: dict[str, Any]) -> bool:
    return bool(load["source_log_bytes"] < _MERGED_BYTES * load["source_batches"])


_STEPS: Final = (
    ("a MB", "plain", lambda load: load["source_log_bytes"] / 1e6),
    ("a MB more, if merged", "small", lambda load: load["source_log_bytes"] / 1e6 * _is_merged(load)),
    ("a batch of the source", "one", lambda load: load["source_batches"]),
    ("a record", "small-100", lambda load: load["records"]),
    ("a transaction's marker", "transactions", lambda load: load["offsets_without_a_record"]),
    ("a marker in a row", "holes", lambda load: load["offsets_without_a_record"]),
)
"""What is told, by which load, and how much of it a load has."""


def costs(documents: list[dict[str, Any]]) -> Iterator[tuple[str, Costs]]:
    """Microseconds of each; what the documents have no load for is left out."""
    known: list[tuple[str, Any, Costs]] = []
    for name, wanted, amount in _STEPS:
        found = _load(documents, wanted)
        if found is None:
            continue
        load, used = found
        for _, much, each in known:
            used = {side: used[side] - each[side] * much(load) for side in SIDES}
        each = {side: max(0.0, used[side]) / amount(load) for side in SIDES}
        if "marker" not in name:  # one kind of marker says nothing of the other
            known.append((name, amount, each))
        yield name, {side: 1e6 * each[side] for side in SIDES}


def _load(documents: list[dict[str, Any]], name: str) -> tuple[dict[str, Any], Costs] | None:
    """The load, and what all of it took: a window begins with the first records, so it is scaled to the whole."""
    for document in documents:
        runs = [run for run in document["runs"] if (run["contender"], run["load"]) == ("kmirror", name)]
        loads = [load for load in document["loads"] if load["name"] == name]
        if runs and loads:
            whole = loads[0]["records"] * loads[0]["record_bytes"] / 1e6
            share = sum(run["megabytes"] for run in runs) / whole
            return loads[0], {side: sum(run["cpu"][side] for run in runs) / share for side in SIDES}
    return None


def main() -> None:
    documents = [json.loads(Path(name).read_text("utf-8")) for name in sys.argv[1:]]
    print(f"{'microseconds':24}" + "".join(f"{side:>13}" for side in SIDES))
    for name, each in costs(documents):
        print(f"{name:24}" + "".join(f"{each[side]:13,.1f}" for side in SIDES))


if __name__ == "__main__":
    main()
