"""`python -m bench.plot` draws the results as SVG into docs/images: the newest of each load, and all over time."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any, Final

_HERE: Final = Path(__file__).resolve().parent
_RESULTS: Final = _HERE / "results"
_IMAGES: Final = _HERE.parent / "docs" / "images"
_COLORS: Final = {"mm2": "#b8b8b8", "loop": "#7aa6d8", "kmirror": "#d9480f"}
_NAMES: Final = {"mm2": "MirrorMaker 2", "loop": "record loop", "kmirror": "kmirror"}
_LINES: Final = ("#d9480f", "#1864ab", "#2b8a3e", "#862e9c", "#5c940d", "#c2255c", "#0b7285", "#e67700", "#495057")
_WIDTH, _LEFT, _BAR, _GAP, _TOP = 760, 130, 13, 12, 50


@dataclass(frozen=True, slots=True)
class Measured:
    """One load of one file of results: for each contender its medians."""

    date: str
    load: str
    medians: dict[str, dict[str, float]]


def read_results(folder: Path = _RESULTS) -> list[Measured]:
    """In the order of their dates, and of their files on one day."""
    found: list[dict[str, Any]] = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    return [Measured(of["date"], load["name"], load["medians"]) for of in found for load in of["loads"]]


def bars(title: str, figure: str, measured: Iterable[Measured]) -> str:
    """The newest of each load: a bar a contender."""
    newest = {one.load: one for one in measured}
    most = max(of[figure] for one in newest.values() for of in one.medians.values())
    parts, y = list(_head(title)), _TOP
    for load, one in newest.items():
        parts.append(_text(_LEFT - 8, y + _BAR * len(one.medians) / 2 + 4, load, anchor="end"))
        for name, of in one.medians.items():
            width = of[figure] / most * (_WIDTH - _LEFT - 70)
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" fill="{_COLORS[name]}"/>')
            parts.append(_text(_LEFT + width + 4, y + _BAR - 3, f"{of[figure]:,.0f}"))
            y += _BAR
        y += _GAP
    return _svg(parts, y)


def history(title: str, figure: str, measured: Iterable[Measured]) -> str:
    """kmirror against the record loop, result by result: a line a load."""
    ratios: dict[str, list[tuple[int, float]]] = {}
    measured = list(measured)
    dates = sorted({one.date for one in measured})
    for one in measured:
        if {"kmirror", "loop"} <= one.medians.keys():
            ratio = one.medians["kmirror"][figure] / one.medians["loop"][figure]
            ratios.setdefault(one.load, []).append((dates.index(one.date), ratio))
    high, right = 240, _WIDTH - 150
    most = max(ratio for points in ratios.values() for _, ratio in points)
    parts = [_text(20, 24, title, weight="bold"), *_axes(dates, high, right)]
    one = high - high / most + _TOP
    parts.append(f'<path d="M{_LEFT} {one:.1f}H{right}" stroke="#888" stroke-dasharray="4 3"/>')
    parts.append(_text(_LEFT - 8, one + 4, "as the loop", anchor="end"))
    colors = dict(zip(ratios, cycle(_LINES), strict=False))
    for load, points in ratios.items():
        color = colors[load]
        placed = [(_x(day, dates, right), high - ratio / most * high + _TOP) for day, ratio in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in placed]
    ends = sorted(((points[-1][1], load) for load, points in ratios.items()), reverse=True)
    parts += [
        _text(right + 8, _TOP + 14 * row, f"{load} {ratio:.1f} x", color=colors[load])
        for row, (ratio, load) in enumerate(ends, start=1)
    ]
    return _svg(parts, high + _TOP + 30)


def _axes(dates: Sequence[str], high: int, right: int) -> Iterator[str]:
    yield f'<path d="M{_LEFT} {_TOP}V{high + _TOP}H{right}" fill="none" stroke="#888"/>'
    for day, date in enumerate(dates):
        if day in {0, len(dates) - 1} or len(dates) < 7:
            yield _text(_x(day, dates, right), high + _TOP + 18, date, anchor="middle")


def _x(day: int, dates: Sequence[str], right: int) -> float:
    return _LEFT + 30 + day / max(1, len(dates) - 1) * (right - _LEFT - 60)


def _head(title: str) -> Iterator[str]:
    yield _text(20, 24, title, weight="bold")
    for place, (name, color) in enumerate(_COLORS.items()):
        x = _WIDTH - 330 + place * 115
        yield f'<rect x="{x}" y="15" width="10" height="10" fill="{color}"/>'
        yield _text(x + 15, 24, _NAMES[name])


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal", color: str = "black"
) -> str:
    look = f'text-anchor="{anchor}" font-weight="{weight}" fill="{color}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(words)}</text>'


def _svg(parts: Iterable[str], height: float) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="{_WIDTH}" height="{height:.0f}" fill="white"/>\n{body}\n</svg>\n'
    )


def main() -> None:
    measured = read_results()
    pictures = {
        "bench-rate.svg": bars("MB of records a second", "megabytes_per_s", measured),
        "bench-cpu.svg": bars("MB a CPU-second of the mirror", "megabytes_per_cpu_s", measured),
        "bench-history.svg": history("MB a CPU-second: kmirror to record loop", "megabytes_per_cpu_s", measured),
    }
    for name, picture in pictures.items():
        (_IMAGES / name).write_text(picture, "utf-8")
        print(f"wrote docs/images/{name}")


if __name__ == "__main__":
    main()
