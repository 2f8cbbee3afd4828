"""What `kmirror doctor` finds: one line a check, and what to do where it is not well."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works, but something needs a look, or can't be known."""
    FAIL = "fail"
    """Something can't work until it is mended."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is the kind of thing, `subject` which one; `action` says what to do, "" where nothing is to be done."""

    check: str
    subject: str
    result: Verdict
    message: str
    action: str = ""
    link_name: str = ""


def ok(check: str, subject: str, message: str) -> Finding:
    return Finding(check, subject, Verdict.OK, message)


def warn(check: str, subject: str, message: str, action: str) -> Finding:
    return Finding(check, subject, Verdict.WARN, message, action)


def fail(check: str, subject: str, message: str, action: str) -> Finding:
    return Finding(check, subject, Verdict.FAIL, message, action)
