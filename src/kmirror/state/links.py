"""links.toml: every link of this user with its mirrors. Read by every command, replaced whole under a lock."""

import threading
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import tomli_w

from kmirror.errors import NotFound, StateError
from kmirror.model.each import Each, for_each, split
from kmirror.model.group_offsets import Committed
from kmirror.model.link import GapFill, Link
from kmirror.model.mirror import Mirror, MirrorError, Restore, StopRequest
from kmirror.model.states import Event, MirrorState
from kmirror.state import migrations
from kmirror.state.atomic import write_atomic
from kmirror.state.lock import exclusive
from kmirror.state.ours import check_ours
from kmirror.state.paths import Home, private_directory

_NO_FILE: Final = (0, 0)

Guards = Mapping[str, tuple[str, ...]]
"""As a link has them."""


class LinkStore:
    """The links of one home. Every change reads, changes and replaces the file under its lock."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._path = home.links_file
        self._read: tuple[tuple[int, int], Mapping[str, Link]] | None = None
        self._reading = threading.Lock()
        self._older: tuple[int, bytes] | None = None

    def all(self) -> dict[str, Link]:
        """By name, sorted; raises StateError where the file is damaged, and leaves it as it is."""
        # A file with a thousand mirrors takes 0.3 s to parse: as long as it is not replaced, once is enough.
        with self._reading:
            version = self.version()
            if self._read is None or self._read[0] != version or version == _NO_FILE:
                self._read = (version, self._parse())
            return dict(self._read[1])

    def _parse(self) -> dict[str, Link]:
        check_ours(self._path)
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as e:
            raise StateError(f'cannot read "{self._path}": {e.strerror}', hint="Check its owner and mode.") from e
        schema, links = _read(text, self._path)
        self._older = (schema, text) if schema < migrations.SCHEMA else None
        return links

    def get(self, name: str) -> Link:
        """Raises NotFound."""
        link = self.all().get(name)
        if link is None:
            raise link_not_found(name)
        return link

    def change(self, edit: Callable[[dict[str, Link]], None]) -> None:
        """Applies `edit` to the links and stores them. What `edit` raises leaves the file as it was."""
        private_directory(self.home.config)
        with exclusive(self.home.config / ".links.lock"):
            links = self.all()
            edit(links)
            try:
                if self._older:  # as an earlier kmirror wrote it, in case somebody goes back to that one
                    migrations.back_up(self._path, self._older[1], self._older[0])
                write_atomic(self._path, render_links(links))
            except OSError as e:
                raise StateError(
                    f'cannot write "{self._path}": {e.strerror}',
                    hint="Free some disk space, or check its directory.",
                ) from e
            self._older = None
            self._read = (self.version(), dict(sorted(links.items())))

    def change_mirror(self, link: str, topic: str, edit: Callable[[Mirror], Mirror]) -> Mirror:
        """Replaces one mirror by what `edit` makes of it, and returns that; raises NotFound."""
        changed: list[Mirror] = []

        def apply(links: dict[str, Link]) -> None:
            if link not in links:
                raise link_not_found(link)
            if topic not in links[link].mirrors:
                raise mirror_not_found(link, topic)
            changed.append(edit(links[link].mirrors[topic]))
            links[link] = links[link].with_mirror(changed[0])

        self.change(apply)
        return changed[0]

    def change_mirrors(self, link: str, topics: Iterable[str], edit: Callable[[Mirror], Mirror]) -> Each[Mirror]:
        """Replaces several mirrors, in one change; what `edit` raises of one is returned, and leaves that one alone.

        Raises NotFound for the link alone.
        """
        changed: Each[Mirror] = {}

        def apply(links: dict[str, Link]) -> None:
            if link not in links:
                raise link_not_found(link)
            mirrors = links[link].mirrors

            def edited(topic: str) -> Mirror:
                if topic not in mirrors:
                    raise mirror_not_found(link, topic)
                return edit(mirrors[topic])

            changed.update(for_each(topics, edited))
            links[link] = replace(links[link], mirrors={**mirrors, **split(changed)[0]})

        self.change(apply)
        return changed

    def change_guards(self, link: str, edit: Callable[[Guards], Guards]) -> None:
        """Replaces what is recorded of guards; a topic without a principal is forgotten. Raises NotFound."""

        def apply(links: dict[str, Link]) -> None:
            if link not in links:
                raise link_not_found(link)
            edited = edit(links[link].guards)
            links[link] = replace(links[link], guards={topic: who for topic, who in edited.items() if who})

        self.change(apply)

    def version(self) -> tuple[int, int]:
        """Differs from before whenever the file was replaced."""
        try:
            stat = self._path.stat()
        except OSError:  # none, or one that can't be read either: who reads it says why
            return _NO_FILE
        return (stat.st_ino, stat.st_mtime_ns)


def link_not_found(name: str) -> NotFound:
    return NotFound(f'cluster link "{name}" not found', hint="List available cluster links with `kmirror link list`.")


def mirror_not_found(link: str, topic: str) -> NotFound:
    return NotFound(
        f'mirror topic "{topic}" not found on link "{link}"',
        hint=f"List its mirror topics with `kmirror mirror list --link {link}`.",
    )


def parse_links(text: bytes, path: Path) -> dict[str, Link]:
    """The links of a links.toml, of this schema or an earlier one; raises StateError with the file and the fault."""
    return _read(text, path)[1]


def _read(text: bytes, path: Path) -> tuple[int, dict[str, Link]]:
    try:
        document = tomllib.loads(text.decode())
        schema, found = migrations.schema_of(document), migrations.migrated(document)
        return schema, {name: _link(name, item) for name, item in sorted(found.get("links", {}).items())}
    except migrations.NewerSchema as e:
        raise StateError(f'"{path}" was written by a later kmirror ({e})', hint="Upgrade kmirror.") from e
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        what = f"{type(e).__name__}: {e}" if isinstance(e, KeyError | AttributeError) else str(e)
        raise StateError(
            f'"{path}" is damaged: {what}',
            hint="Repair it or restore it from a backup; kmirror left it as it is.",
        ) from e


def render_links(links: Mapping[str, Link]) -> bytes:
    document = {"schema": migrations.SCHEMA, "links": {name: _link_table(link) for name, link in sorted(links.items())}}
    return tomli_w.dumps(document).encode()


def _link(name: str, data: Mapping[str, Any]) -> Link:
    return Link(
        name=name,
        link_id=_text(data, "id"),
        source_cluster_id=_text(data, "source_cluster_id"),
        destination_cluster_id=_text(data, "destination_cluster_id"),
        configs=_texts(data, "configs"),
        gap_fill=GapFill(data["gap_fill"]),
        created_ms=_number(data, "created_ms"),
        mirrors={topic: _mirror(topic, item) for topic, item in data.get("mirrors", {}).items()},
        guards={topic: _as_all_text(principals) for topic, principals in data.get("guards", {}).items()},
    )


def _link_table(link: Link) -> dict[str, Any]:
    table = {
        "id": link.link_id,
        "source_cluster_id": link.source_cluster_id,
        "destination_cluster_id": link.destination_cluster_id,
        "gap_fill": str(link.gap_fill),
        "created_ms": link.created_ms,
        "configs": dict(sorted(link.configs.items())),
        "mirrors": {topic: _mirror_table(mirror) for topic, mirror in sorted(link.mirrors.items())},
    }
    if link.guards:
        table["guards"] = {topic: list(principals) for topic, principals in sorted(link.guards.items())}
    return table


def _mirror(topic: str, data: Mapping[str, Any]) -> Mirror:
    stop = data.get("stop")
    error = data.get("error")
    return Mirror(
        topic=topic,
        source_topic=_text(data, "source_topic"),
        source_topic_id=_text(data, "source_topic_id"),
        destination_topic_id=_text(data, "destination_topic_id"),
        partitions=_number(data, "partitions"),
        state=MirrorState(data["state"]),
        status_time_ms=_number(data, "status_time_ms"),
        error=_error(error) if error else None,
        stop=StopRequest(Event(stop["event"]), tuple(_as_number(t) for t in stop["targets"])) if stop else None,
        start_offsets=tuple(_as_number(start) for start in data.get("start_offsets", ())),
        end_offsets=tuple(_as_number(end) for end in data.get("end_offsets", ())),
        chosen=_texts(data, "chosen") if "chosen" in data else {},
        held_back=_texts(data, "held_back") if "held_back" in data else {},
        reverse_link=_text(data, "reverse_link") if "reverse_link" in data else "",
        adopted_ends=tuple(_as_number(end) for end in data.get("adopted_ends", ())),
        restore=_restore(data["restore"]) if "restore" in data else None,
    )


def _error(data: Mapping[str, Any]) -> MirrorError:
    partition, offset = (_number(data, key) if key in data else None for key in ("partition", "offset"))
    return MirrorError(_text(data, "code"), _text(data, "message"), partition, offset)


def _restore(data: Mapping[str, Any]) -> Restore:
    return Restore(
        topic_id=_text(data, "topic_id"),
        replication_factor=_number(data, "replication_factor"),
        configs=_texts(data, "configs"),
        ends=tuple(_as_number(end) for end in data["ends"]),
        saved=_text(data, "saved"),
        groups={
            group: {_as_number(number): Committed(_as_number(offset), *map(str, note)) for number, offset, *note in own}
            for group, own in data.get("groups", {}).items()
        },
    )


def _mirror_table(mirror: Mirror) -> dict[str, Any]:
    table: dict[str, Any] = {
        "source_topic": mirror.source_topic,
        "source_topic_id": mirror.source_topic_id,
        "destination_topic_id": mirror.destination_topic_id,
        "partitions": mirror.partitions,
        "state": str(mirror.state),
        "status_time_ms": mirror.status_time_ms,
        "start_offsets": list(mirror.start_offsets),
        "held_back": dict(mirror.held_back),
    }
    if mirror.chosen:
        table["chosen"] = dict(mirror.chosen)
    if mirror.end_offsets:
        table["end_offsets"] = list(mirror.end_offsets)
    if mirror.error:
        place = {"partition": mirror.error.partition, "offset": mirror.error.offset}
        table["error"] = {
            "code": mirror.error.code,
            "message": mirror.error.message,
            **{k: v for k, v in place.items() if v is not None},  # TOML has no null
        }
    if mirror.stop:
        table["stop"] = {"event": str(mirror.stop.event), "targets": list(mirror.stop.targets)}
    if mirror.reverse_link:
        table["reverse_link"] = mirror.reverse_link
    if mirror.adopted_ends:
        table["adopted_ends"] = list(mirror.adopted_ends)
    if mirror.restore:
        table["restore"] = {
            "topic_id": mirror.restore.topic_id,
            "replication_factor": mirror.restore.replication_factor,
            "configs": dict(mirror.restore.configs),
            "ends": list(mirror.restore.ends),
            "saved": mirror.restore.saved,
            "groups": {
                group: [[number, c.offset, *([c.metadata] if c.metadata else [])] for number, c in sorted(own.items())]
                for group, own in mirror.restore.groups.items()
            },
        }
    return table


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table[key]
    if not isinstance(value, str):
        raise TypeError(f'"{key}" is not text')
    return value


def _as_all_text(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r} is not a list of text")
    return tuple(values)


def _texts(table: Mapping[str, Any], key: str) -> dict[str, str]:
    return {name: _text(table[key], name) for name in table[key]}


def _number(table: Mapping[str, Any], key: str) -> int:
    return _as_number(table[key])


def _as_number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is not a whole number")
    return value
