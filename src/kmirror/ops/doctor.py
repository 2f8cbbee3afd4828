"""`kmirror doctor`: everything that can be looked at without changing anything, and what to do where it is not well."""

from collections.abc import Iterator

from kmirror.errors import KmirrorError
from kmirror.model.checkup import Finding, fail, ok
from kmirror.model.link import Link
from kmirror.ops.doctor_clusters import check_clusters
from kmirror.ops.doctor_files import check_folders, check_left_over, check_mirrors, check_runner, stamped
from kmirror.ops.seen import see
from kmirror.state.links import LinkStore, link_not_found
from kmirror.state.paths import Home


def examine(home: Home, link: str | None) -> Iterator[Finding]:
    """What is here, then each link (or the one that is named), as it is found. Raises NotFound for that one."""
    links: dict[str, Link] = {}
    try:
        links = LinkStore(home).all()
        damage = None
    except KmirrorError as e:
        damage = fail("links.toml", str(home.links_file), e.message, e.hint or "")
    if link is not None and damage is None and link not in links:
        raise link_not_found(link)
    yield from check_folders(home)
    if damage:
        yield damage
        return
    mirrors = sum(len(found.mirrors) for found in links.values())
    yield ok("links.toml", str(home.links_file), f"links: {len(links)}, mirrors: {mirrors}")
    yield from check_left_over(home, frozenset(links))
    for name in [link] if link is not None else list(links):
        yield from stamped(links[name], _link(home, links[name]))


def _link(home: Home, link: Link) -> Iterator[Finding]:
    seen = see(home, link)
    yield from check_runner(home, seen)
    yield from check_mirrors(seen)
    yield from check_clusters(link)
