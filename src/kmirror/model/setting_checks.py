"""What the configurations of a link may hold. Each check raises ValueError with what the value is not."""

import re
from collections.abc import Callable
from typing import Final

from kmirror.model.bootstrap import parse_bootstrap
from kmirror.model.filters import parse_acl_filters, parse_filters
from kmirror.model.listen import parse_listen
from kmirror.model.start_spec import parse_start_spec
from kmirror.model.topic_configs import parse_synced

Check = Callable[[str], None]

INT_MAX: Final = 2**31 - 1  # sizes and times travel as 32-bit numbers in Kafka's protocol
_WHOLE: Final = re.compile(r"-?[0-9]+")
_DIGITS: Final = 20  # more than any of 64 bits has
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{1,12}")


def number(least: int, most: int = INT_MAX) -> Check:
    def check(value: str) -> None:
        if not _WHOLE.fullmatch(value):
            raise ValueError("is not a whole number")
        if not _is_between(least, value, most):
            raise ValueError(f"is not between {least} and {most}")

    return check


def rate(most: int) -> Check:
    """Of a limit in bytes a second; `most` is none."""

    def check(value: str) -> None:
        if not (_WHOLE.fullmatch(value) and _is_between(1, value, most)):
            raise ValueError(f"is no number of bytes a second; it is 1 or more, and {most}, the default, is no limit")

    return check


def _is_between(least: int, digits: str, most: int) -> bool:
    return len(digits) <= _DIGITS and least <= int(digits) <= most


def one_of(*values: str) -> Check:
    def check(value: str) -> None:
        if value not in values:
            named = " or ".join(f'"{v}"' for v in values)
            raise ValueError(f"is not {named}" + ("" if len(values) > 1 else ", the only one of this version"))

    return check


def filters(kind: str) -> Check:
    def check(value: str) -> None:
        parse_filters(value, kind)

    return check


def acl_filters(value: str) -> None:
    parse_acl_filters(value)


def servers(value: str) -> None:
    parse_bootstrap(value)


def listen(value: str) -> None:
    if value:
        parse_listen(value)


def start_spec(value: str) -> None:
    parse_start_spec(value)


def synced_keys(value: str) -> None:
    parse_synced(value)


def prefix(value: str) -> None:
    if value and not _PREFIX.fullmatch(value):
        raise ValueError('is not 1 to 12 of letters, digits, ".", "_" and "-"')


def text(value: str) -> None:
    if not value.isprintable():
        raise ValueError("holds what can't be printed")


boolean: Final = one_of("true", "false")
