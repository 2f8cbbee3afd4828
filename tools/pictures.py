"""Pictures of the live view for the documentation, by Rich's SVG export: of made-up data, the same at each run."""

import io
import math
import re
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.terminal_theme import MONOKAI

from kmirror.cli.live_rows import History
from kmirror.cli.live_tables import link_view, topic_view
from kmirror.model.link import GapFill, Link
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.model.status import LinkState, LinkStatus, MirrorStatus, PartitionState, PartitionStatus, Trouble

NOW_MS = 1_767_225_600_000
SECONDS = 12
"""How long the made-up runner has been watched."""


def pictures() -> Iterator[tuple[str, str]]:
    """Name and content of each picture."""
    history = History()
    for second in range(SECONDS):
        history.add(_status(second))
    status, now = _status(SECONDS), NOW_MS + SECONDS * 1000
    for name, width, title in (
        ("link", 100, "kmirror status --watch"),
        ("topic", 80, "kmirror mirror describe --watch"),
    ):
        console = Console(
            record=True, file=io.StringIO(), width=width, height=20, force_terminal=True, legacy_windows=False
        )
        console.print(_view(console, name, status, history, now))
        svg = console.export_svg(title=title, theme=MONOKAI, unique_id=f"live-{name}")
        yield f"live-{name}.svg", _without_web_fonts(svg)


def _view(console: Console, name: str, status: LinkStatus, history: History, now_ms: int) -> RenderableType:
    if name == "link":
        return link_view(console, _link(), status, history=history, now_ms=now_ms)
    return topic_view(console, _link(), status, topic="orders", history=history, now_ms=now_ms)


def _link() -> Link:
    names = {"orders": 4, "payments": 2, "shipments": 1}
    mirrors = {t: Mirror(t, t, "source-id", "mirror-id", n, MirrorState.ACTIVE, NOW_MS) for t, n in names.items()}
    return Link("east-west", "id", "east-cluster", "west-cluster", {}, GapFill.MARKERS, NOW_MS, mirrors)


def _status(second: int) -> LinkStatus:
    at = NOW_MS + second * 1000
    mirrors = {
        "orders": _mirror("orders", 4, at, rate=12_400 + 3_000 * math.sin(second), end=184_000 + 3_100 * second, lag=3),
        "payments": _mirror("payments", 2, at, rate=310.0, end=52_000 + 155 * second, lag=0),
        "shipments": _mirror("shipments", 1, at, rate=0.0, end=9_120, lag=1_480, trouble=at - 42_000),
    }
    return LinkStatus("east-west", 3561, NOW_MS - 9_000, at, LinkState.ACTIVE, mirrors=mirrors)


def _mirror(
    topic: str, partitions: int, at: int, *, rate: float, end: int, lag: int, trouble: int | None = None
) -> MirrorStatus:
    waits = trouble is not None
    cause = Trouble("source leader east:9094 does not answer: connection refused", trouble) if trouble else None
    state = PartitionState.SOURCE_UNAVAILABLE if waits else PartitionState.COPYING
    parts = tuple(
        PartitionStatus(n, state, end + 7 * n, end + 7 * n + lag, 42_000 if waits else 4 * lag, at, cause)
        for n in range(partitions)
    )
    shown = MirrorState.SOURCE_UNAVAILABLE if waits else MirrorState.ACTIVE
    return MirrorStatus(topic, shown, parts, rate * 512, rate)


def _without_web_fonts(svg: str) -> str:
    """Rich's template names fonts of a host of the web: the reader's own fixed-width font serves."""
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code", "monospace")
