"""What a hunt has done, as JSON for machines and as Markdown for people."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hunt.run import Result

_LINES = 12
"""Of each part of what is told of a run."""


def write(folder: Path, command: str, results: Sequence[Result]) -> str:
    """Replaces report.json and report.md; returns the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"command": command, "summary": summary(results), "runs": [asdict(result) for result in results]}
    (folder / "report.json").write_text(json.dumps(data, indent=1) + "\n")
    text = markdown(command, results)
    (folder / "report.md").write_text(text)
    return text


def found(result: Result, folder: Path) -> str:
    """What a run that is not good has found, for a terminal: at most some 40 lines, none of them cut."""
    parts = {
        "differences": [line for told in result.differences for line in told.splitlines()][:_LINES],
        "findings": [line for told in result.findings for line in told.splitlines()][:_LINES],
        "trouble (its last lines)": result.trouble.splitlines()[-_LINES:],
    }
    lines = [f"seed {result.seed} after {result.seconds:g} s: {len(result.differences)} differences, "]
    lines[0] += f"{len(result.findings)} findings{', trouble' if result.trouble else ''}"
    for part, told in parts.items():
        lines += [f"{part}:", *(f"    {line}" for line in told)] if told else []
    return "\n".join([*lines, f"again: make hunt HUNT='--seed {result.seed}'", f"logs: {folder}"])


def summary(results: Sequence[Result]) -> dict[str, object]:
    return {
        "runs": len(results),
        "mirrors": sum(r.mirrors for r in results),
        "records": sum(r.records for r in results),
        "differences": sum(len(r.differences) for r in results),
        "unexpected failures": sum(len(r.findings) for r in results),
        "broken runs": sum(bool(r.trouble) for r in results),
        "mirrors stopped": sum(r.stopped for r in results),
        "mirrors failed as they should": sum(len(r.failed) for r in results),
        "minutes": round(sum(r.seconds for r in results) / 60, 1),
    }


def markdown(command: str, results: Sequence[Result]) -> str:
    faults: Counter[str] = Counter()
    for result in results:
        faults.update(result.faults)
    bad = [result for result in results if not result.good]
    rows = [f"| {name} | {value:,} |" for name, value in summary(results).items()]
    kinds = [f"| {kind} | {times:,} |" for kind, times in sorted(faults.items(), key=lambda item: -item[1])]
    told = [
        f"- seed {r.seed}: " + "; ".join([*r.differences[:3], *r.findings[:3], *r.trouble.splitlines()[-1:]])[:600]
        for r in bad
    ]
    lines = [
        f"`{command}`",
        "",
        f"Seeds: {_ranges([r.seed for r in results])}",
        "",
        "| what | count |",
        "|---|---|",
        *rows,
        "",
        "| fault | times |",
        "|---|---|",
        *kinds,
        "",
        "Runs that found something:" if bad else "No run found anything.",
        *told,
        "",
    ]
    return "\n".join(lines)


def _ranges(seeds: Sequence[int]) -> str:
    out: list[list[int]] = []
    for seed in sorted(seeds):
        if out and seed == out[-1][1] + 1:
            out[-1][1] = seed
        else:
            out.append([seed, seed])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in out)
