"""Numbers and times as the live view says them: short, never cut off."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from kmirror.model.status import Throttle

UNKNOWN: Final = "-"
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS: Final = "_.-~=+*#"  # for terminals that cannot show the others
_THROTTLES: Final = MappingProxyType(
    {
        Throttle.SOURCE_QUOTA: "the source's quota",
        Throttle.DESTINATION_QUOTA: "the destination's quota",
        Throttle.IO_LIMIT: "cluster.link.io.max.bytes.per.second",
    }
)


def count(number: int | None, *, grouped: bool = True) -> str:
    if number is None:
        return UNKNOWN
    return f"{number:,}" if grouped else str(number)


def duration(ms: int | None) -> str:
    """`350 ms`, `4.2 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`."""
    if ms is None:
        return UNKNOWN
    ms = max(0, ms)
    if ms == 0:
        return "0 s"
    if ms < 1000:
        return f"{ms} ms"
    seconds = ms // 1000
    if seconds < 60:
        return f"{ms // 100 / 10:.1f} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if hours < 1:
        return f"{minutes} min {seconds % 60} s"
    if days < 1:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"


def since(ms: int) -> str:
    """How long something has lasted, in whole seconds: it is not to flicker."""
    return f"{max(0, ms) // 1000} s" if ms < 60_000 else duration(ms)


def rate(per_second: float | None) -> str:
    """Records in a second; slow ones keep a decimal, or a topic with one record in 3 s would look dead."""
    if per_second is None:
        return UNKNOWN
    if 0 < per_second < 10:
        return f"{per_second:.1f}/s"
    return f"{per_second:,.0f}/s"


def throughput(bytes_per_s: float) -> str:
    """Slow ones in kB: a topic of a few records a second is not dead."""
    return f"{bytes_per_s / 1e3:.1f} kB/s" if 0 < bytes_per_s < 1e5 else f"{bytes_per_s / 1e6:,.1f} MB/s"


def byte_count(size: float) -> str:
    """`850 B`, `12.3 kB`, `4.0 MB`, `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def sparkline(values: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """The last `width` values, from nothing to their highest; zero always looks like zero."""
    blocks = _ASCII_BLOCKS if ascii_only else _BLOCKS
    shown = values[-width:]
    top = max(shown, default=0)
    steps = len(blocks) - 1
    return "".join(blocks[0 if top <= 0 or v <= 0 else max(1, round(v / top * steps))] for v in shown).rjust(width)


def ranges(numbers: Sequence[int]) -> str:
    """`0-3, 7`: partitions of one fate in few words."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


def throttles(parts: Mapping[Throttle, float]) -> str:
    """`the source's quota (83 % of the time)`; empty where nothing has the link wait."""
    return ", ".join(f"{_THROTTLES[by]} ({part:.0%} of the time)".replace("%", " %") for by, part in parts.items())
