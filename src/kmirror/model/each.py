"""What came of each of several topics: a value, or the error of that topic alone."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from kmirror.errors import KmirrorError

T = TypeVar("T")
Each = dict[str, T | KmirrorError]


def split(each: Mapping[str, T | KmirrorError]) -> tuple[dict[str, T], dict[str, KmirrorError]]:
    """What went well, and what failed."""
    good: dict[str, T] = {}
    bad: dict[str, KmirrorError] = {}
    for topic, answer in each.items():
        if isinstance(answer, KmirrorError):
            bad[topic] = answer
        else:
            good[topic] = answer
    return good, bad


def the_only(each: Mapping[str, T | KmirrorError]) -> T:
    """What came of the one topic there is; raises its error."""
    (answer,) = each.values()
    if isinstance(answer, KmirrorError):
        raise answer
    return answer


def for_each(topics: Iterable[str], act: Callable[[str], T]) -> Each[T]:
    """Does it for each, in their order and once each: one that fails never stops the others."""
    found: Each[T] = {}
    for topic in dict.fromkeys(topics):
        try:
            found[topic] = act(topic)
        except KmirrorError as e:
            found[topic] = e
    return found
