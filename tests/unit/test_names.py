"""Names of links and topics by Kafka's rule, and bootstrap servers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.model.bootstrap import parse_bootstrap
from kmirror.model.link import GapFill, Link, name_fault
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState


@pytest.mark.parametrize("name", ["a", "...", "A-z_0.9", "x" * 249])
def test_good_names(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 250, "a b", "a/b", "ü", "a\n", "a:b", "\u0660"])
def test_bad_names(name: str) -> None:
    assert name_fault(name)


@given(st.text())
def test_a_name_that_passes_is_a_plain_folder(name: str) -> None:
    if name_fault(name) is None:
        assert name.isascii()
        assert "/" not in name
        assert name not in {"", ".", ".."}


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("a:1", (("a", 1),)),
        (" a:1 , b.example-x.com:65535 ", (("a", 1), ("b.example-x.com", 65535))),
        ("[::1]:9092,10.0.0.1:9", (("::1", 9092), ("10.0.0.1", 9))),
    ],
)
def test_servers(text: str, servers: tuple[tuple[str, int], ...]) -> None:
    assert parse_bootstrap(text) == servers


@pytest.mark.parametrize(
    "wrong", ["", "a", "a:", ":1", "a:0", "a:65536", "a:-1", "a:1x", "::1:9092", "http://a:1", "a b:1", "a:\u0661"]
)
def test_a_wrong_server_is_named(wrong: str) -> None:
    for text in (wrong, f"good:1,{wrong}", f"{wrong},good:1"):
        with pytest.raises(ValueError, match=r"is not host:port|no valid port") as caught:
            parse_bootstrap(text)
        assert f'"{wrong}"' in str(caught.value)


def test_a_link() -> None:
    configs = {"bootstrap.servers": "s:1", "destination.bootstrap.servers": "d:1"}
    link = Link("east-west", "f00", "S", "D", configs, GapFill.NONE, 1)
    assert (link.source_bootstrap, link.destination_bootstrap) == ("s:1", "d:1")
    assert link.transactional_id == "kmirror.east-west.f00"
    mirror = Mirror("t", "t", "a", "b", 1, MirrorState.ACTIVE, 1)
    assert link.mirrors == {}
    assert link.with_mirror(mirror).mirrors == {"t": mirror}
