"""One reading over time as SVG: a line, its highest and its last value, and nothing that needs a library."""

from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT, _EDGE = 640, 160, 40


def svg(name: str, minutes: Sequence[float], values: Sequence[float]) -> str:
    """Both axes begin at 0."""
    top = max([*values, 1.0])
    last = max([*minutes, 1.0])
    bottom, wide, high = _HEIGHT - _EDGE, _WIDTH - 2 * _EDGE, _HEIGHT - 2 * _EDGE
    points = " ".join(
        f"{_EDGE + minute / last * wide:.1f},{bottom - value / top * high:.1f}"
        for minute, value in zip(minutes, values, strict=True)
    )
    told = f"{name}: at most {top:,.0f}, at last {values[-1] if values else 0:,.0f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
        f'<text x="{_EDGE}" y="20">{escape(told)}</text>'
        f'<path d="M{_EDGE} {_EDGE}V{bottom}H{_WIDTH - _EDGE}" fill="none" stroke="#888"/>'
        f'<polyline points="{points}" fill="none" stroke="#06c" stroke-width="1.5"/>'
        f'<text x="{_WIDTH - _EDGE}" y="{_HEIGHT - 20}" text-anchor="end">{last:.0f} min</text></svg>\n'
    )
