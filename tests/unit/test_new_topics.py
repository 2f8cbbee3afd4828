"""A topic that was just created: the broker that is asked next may not have heard of it."""

from kmirror.admin import mirror_topic
from kmirror.admin.mirror_topic import _ask_until, _is_known
from kmirror.errors import ClusterError, NotFound


def test_only_what_is_not_known_yet_is_asked_again(monkeypatch):
    monkeypatch.setattr(mirror_topic, "_PAUSE_S", 0.0)
    denied = ClusterError("no")
    answers = [{"a": 1, "b": NotFound("not yet"), "c": denied}, {"b": NotFound("not yet")}, {"b": 2}]
    asked = []

    def ask(topics):
        asked.append(list(topics))
        return answers[len(asked) - 1]

    assert _ask_until(_is_known, ["a", "b", "c"], ask) == {"a": 1, "b": 2, "c": denied}
    assert asked == [["a", "b", "c"], ["b"], ["b"]]


def test_what_stays_unknown_is_told(monkeypatch):
    monkeypatch.setattr(mirror_topic, "_AWAIT_S", -1.0)
    gone = NotFound("gone")
    assert _ask_until(_is_known, ["a"], lambda _: {"a": gone}) == {"a": gone}
