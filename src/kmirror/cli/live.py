"""The live view of a link or of one mirror: redrawn in place on a terminal, lines where there is none."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kmirror.cli.live_plain import PlainLines
from kmirror.cli.live_rows import History
from kmirror.cli.live_tables import link_view, topic_view
from kmirror.model.link import Link
from kmirror.model.status import LinkStatus

INTERVAL: Final = 0.5


class LiveView:
    """Shows each `update`. `topic`: the partitions of that mirror, else the mirrors of the link."""

    def __init__(self, console: Console | None = None, *, title: str | None = None, topic: str | None = None) -> None:
        self._console = console or Console()
        self._title = title
        self._topic = topic
        self._history = History()
        self._plain = PlainLines(topic)
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

    def update(self, link: Link, status: LinkStatus | None) -> None:
        now_ms = time.time_ns() // 1_000_000
        self._history.add(status)
        if self._live is None:
            for line in self._plain.lines(link, status, now_ms):
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        elif self._topic is None:
            view = link_view(self._console, link, status, history=self._history, now_ms=now_ms)
            self._live.update(view, refresh=True)
        else:
            view = topic_view(self._console, link, status, topic=self._topic, history=self._history, now_ms=now_ms)
            self._live.update(view, refresh=True)


def watch(
    source: Callable[[], tuple[Link, LinkStatus | None]], topic: str | None = None, interval: float = INTERVAL
) -> None:
    """Shows what `source` tells, until Ctrl-C; then returns."""
    try:
        with LiveView(topic=topic) as view:
            while True:
                view.update(*source())
                time.sleep(interval)
    except KeyboardInterrupt:
        return
