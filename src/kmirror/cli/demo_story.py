"""The main job before your eyes: orders mirrored from one real cluster to another, promoted under traffic, compared.

And a consumer group that moves over with them.
"""

import os
import signal
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.group_reader import GroupReader, Stretch, read_on
from kmirror.admin.plain_clients import Comparison, OrderTraffic, compare
from kmirror.cli.demo_stage import Stage
from kmirror.cli.interrupts import Interrupts
from kmirror.model.access import Access
from kmirror.sandbox import Sandbox
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles

LINK: Final = "east-west"
TOPIC: Final = "orders"
PARTITIONS: Final = 4
GROUP: Final = "billing"
ORDERS_PER_S: Final = 2000
_SYNC: Final = (
    "consumer.offset.sync.enable=true",
    "consumer.offset.sync.ms=1000",
    'consumer.offset.group.filters={"groupFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}]}',
)
_FIRST_LOOK_S: Final = 2.0  # the runner tells each second how far it is: before that there is nothing to describe


def play(seconds: float) -> bool:
    """The whole demo; True if both sides were equal. Whatever ends it, nothing is left running and nothing on disk."""
    console = Console(highlight=False)
    interrupts = Interrupts()
    started = time.monotonic()
    with interrupts.heard(), ExitStack() as stack:
        try:
            # KMIRROR_HOME holds a Unix socket, whose path may not be long: so it is the temporary folder itself.
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kmirror-", ignore_cleanup_errors=True)))
            sandbox = Sandbox(home / "clusters", say=lambda line: _say(console, line))
            stack.enter_context(sandbox)
            stage = Stage(console, home, interrupts)
            stack.callback(_end_runner, stage, home)
            equal = _story(console, stage, sandbox, seconds)
        except KeyboardInterrupt:
            _say(console, "\nInterrupted: stopping what was started ...")
            raise
        finally:
            interrupts.no_more()
    _say(console, f"Both clusters are stopped and removed. That took {time.monotonic() - started:.0f} s.")
    return equal


def _story(console: Console, stage: Stage, sandbox: Sandbox, seconds: float) -> bool:
    east, west = sandbox.east.bootstrap_servers, sandbox.west.bootstrap_servers
    _chapter(console, f"Two Kafka clusters run: east at {east}, west at {west}.")
    admin = ClusterAdmin(Access(east), "source")
    admin.create_topic(TOPIC, PARTITIONS, 1, {})
    admin.await_topic(TOPIC)
    with OrderTraffic(east, TOPIC, ORDERS_PER_S) as traffic, GroupReader(east, TOPIC, GROUP) as reader:
        _chapter(
            console,
            f'An ordinary producer writes {ORDERS_PER_S:,} orders a second to "{TOPIC}" in east, '
            f'where the consumer group "{GROUP}" reads them.',
        )
        servers = ("--source-bootstrap-server", east, "--destination-bootstrap-server", west)
        stage.run("link", "create", LINK, *servers, *(word for pair in _SYNC for word in ("--config", pair)))
        stage.run("mirror", "create", TOPIC, "--link", LINK)
        time.sleep(_FIRST_LOOK_S)
        stage.run("mirror", "describe", TOPIC, "--link", LINK)
        _chapter(console, f"Live, for {seconds:g} s, while the producer goes on:")
        stage.run_for(seconds, "mirror", "describe", TOPIC, "--link", LINK, "--watch")
        in_east = reader.stop()
        _chapter(
            console,
            f'The group "{GROUP}" stops after {in_east.records:,} orders. '
            "West takes over, while the producer still goes on in east:",
        )
        stage.run("mirror", "promote", TOPIC, "--link", LINK)
        sent = traffic.stop()
    _chapter(console, f"The producer has stopped: {sent:,} orders confirmed by east. Are both sides equal?")
    result = compare(east, west, TOPIC, PARTITIONS)
    _tell(console, result)
    _chapter(console, f'Where would "{GROUP}" go on in west?')
    stage.run("mirror", "groups", LINK, GROUP)
    moved = _move(console, in_east, read_on(west, TOPIC, GROUP, result.ends))
    stage.run("link", "delete", LINK, "--force")
    return result.equal and moved


def _move(console: Console, in_east: Stretch, in_west: Stretch) -> bool:
    """Tells how the group went on; True if it lost nothing and read nothing twice."""
    places = ", ".join(f"{offset:,}" for _, offset in sorted(in_west.begins.items()))
    _say(console, f'\n"{GROUP}" goes on in west at these offsets: {places}.')
    if in_west.goes_on_from(in_east):
        read = f"{in_east.records:,} orders read in east, {in_west.records:,} in west"
        console.print(Text(f"Exactly where it stopped: {read}, none lost, none read twice.", style="bold green"))
        return True
    console.print(Text(f"NOT where it stopped in east: {sorted(in_east.ends.items())}.", style="bold red"))
    return False


def _tell(console: Console, result: Comparison) -> None:
    ends = ", ".join(f"{end:,}" for end in result.ends)
    _say(console, f"The mirror was promoted at these offsets: {ends}.")
    if result.equal:
        text = (
            f"Equal: all {result.records:,} records below have the same offset, key, value, headers and timestamp in "
            f"east and in west."
        )
        console.print(Text(text, style="bold green"))
    else:
        console.print(Text(f"NOT equal, {len(result.differences)} partitions differ:", style="bold red"))
        for difference in result.differences:
            _say(console, f"  {difference}")
    _say(console, f"{result.later:,} later orders are in east alone: they were written after the promote.")


def _chapter(console: Console, text: str) -> None:
    console.print(Text(f"\n{text}", style="bold"))


def _say(console: Console, line: str) -> None:
    console.print(Text(line))


def _end_runner(stage: Stage, home: Path) -> None:
    """The link's detached runner, if there is one: by the command for it, and by force where that fails."""
    lock = RunFiles(Home(home, home / "run"), LINK).lock
    if lock.holder() is None:
        return
    stage.run_quietly("link", "stop", LINK)
    runner = lock.holder()
    if runner is not None:
        with suppress(ProcessLookupError):
            os.kill(runner.pid, signal.SIGKILL)
