"""The live view of all links, of one, or of one mirror: redrawn in place on a terminal, lines where there is none."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from kmirror.cli.live_plain import PlainLines
from kmirror.cli.live_rows import History
from kmirror.cli.live_tables import link_view, topic_view
from kmirror.model.link import Link
from kmirror.model.status import LinkStatus

INTERVAL: Final = 0.5


class _Screen:
    """Where a picture is drawn in place of the last one, or lines are printed where there is no terminal."""

    def __init__(self, console: Console | None = None, *, title: str | None = None) -> None:
        self._console = console or Console()
        self._title = title
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._title:
            self._console.print(Text(self._title, style="bold"))
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()  # the last picture stays, and the cursor comes back
            self._live = None

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveView(_Screen):
    """Shows each `update`. `topic`: the partitions of that mirror, else the mirrors of the link."""

    def __init__(self, console: Console | None = None, *, title: str | None = None, topic: str | None = None) -> None:
        super().__init__(console, title=title)
        self._topic = topic
        self._history = History()
        self._plain = PlainLines(topic)

    def update(self, link: Link, status: LinkStatus | None) -> None:
        now_ms = _now_ms()
        self._history.add(status)
        if self._live is None:
            self._print(self._plain.lines(link, status, now_ms))
        elif self._topic is None:
            view = link_view(self._console, link, status, history=self._history, now_ms=now_ms)
            self._live.update(view, refresh=True)
        else:
            view = topic_view(self._console, link, status, topic=self._topic, history=self._history, now_ms=now_ms)
            self._live.update(view, refresh=True)


class OverviewView(_Screen):
    """Shows all links, one below the other, each with its share of the screen."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._histories: dict[str, History] = defaultdict(History)
        self._plain: dict[str, PlainLines] = defaultdict(PlainLines)

    def update(self, links: Sequence[tuple[Link, LinkStatus | None]]) -> None:
        now_ms = _now_ms()
        for link, status in links:
            self._histories[link.name].add(status)
        if self._live is None:
            for link, status in links:
                lines = self._plain[link.name].lines(link, status, now_ms)
                self._print(f"{line[:8]} {link.name} {line[9:]}" for line in lines)  # behind the time
        else:
            self._live.update(self._picture(links, now_ms), refresh=True)

    def _picture(self, links: Sequence[tuple[Link, LinkStatus | None]], now_ms: int) -> RenderableType:
        if not links:
            return Text("No links: create one with `kmirror link create`.")
        share = max(1, self._console.height // len(links) - 1)
        parts: list[RenderableType] = []
        for link, status in links:
            history = self._histories[link.name]
            view = link_view(self._console, link, status, history=history, now_ms=now_ms, height=share)
            parts += [view, Text()]
        return Group(*parts[:-1])


def watch(
    source: Callable[[], tuple[Link, LinkStatus | None]], topic: str | None = None, interval: float = INTERVAL
) -> None:
    """Shows what `source` tells, until Ctrl-C; then returns."""
    with contextlib.suppress(KeyboardInterrupt), LiveView(topic=topic) as view:
        while True:
            view.update(*source())
            time.sleep(interval)


def watch_all(source: Callable[[], Sequence[tuple[Link, LinkStatus | None]]], interval: float = INTERVAL) -> None:
    """As `watch`, of all links."""
    with contextlib.suppress(KeyboardInterrupt), OverviewView() as view:
        while True:
            view.update(source())
            time.sleep(interval)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
