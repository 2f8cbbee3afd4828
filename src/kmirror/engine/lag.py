"""How late the copy of one partition is, in time: by the records' timestamps, held to what the fetches have shown.

A timestamp is whatever its producer wrote: of 1970, of tomorrow, or none at all. But each answer to a fetch shows where
the source ends, so the first record not yet copied came between the last answer that did not show it and the first that
did. Its timestamp is believed within these two. So an idle topic is never late, however old its last record is.
"""

from dataclasses import dataclass
from typing import Final

_MOST: Final = 16
_FIRST_KAFKA_MS: Final = 1_293_840_000_000  # 2011: no record was appended before, so such a timestamp tells nothing


@dataclass(frozen=True, slots=True)
class _Answer:
    """The source ended at `end` at some time between the question and the answer: a frozen process reads late."""

    asked_ms: int
    answered_ms: int
    end: int


@dataclass(slots=True)
class Sight:
    """When a broker was last asked and answered, for all partitions of which it had nothing new to tell.

    `answers` counts them: a clock may be set back.
    """

    answers: int = 0
    asked_ms: int = 0
    answered_ms: int = 0


class SourceEnds:
    """Where the source ended at which time: the last answers, from the newest offset that is copied on."""

    def __init__(self) -> None:
        self._answers: list[_Answer] = []

    def add(self, asked_ms: int, answered_ms: int, end: int, copied_end: int) -> None:
        """An answer shows `end`; everything below `copied_end` is copied, and nobody will ask when it came."""
        answers = self._answers
        if answers and (end < answers[-1].end or answered_ms < answers[-1].answered_ms):
            answers.clear()  # another leader that knows less, or a clock that was set back
        if answers and end == answers[-1].end:  # it was there from the first answer on, and nothing else until now
            answers[-1] = _Answer(asked_ms, answers[-1].answered_ms, end)
        else:
            answers.append(_Answer(asked_ms, answered_ms, end))
        while len(answers) > 1 and answers[1].end <= copied_end:
            del answers[0]
        if len(answers) > _MOST:  # coarser from now on, and still true
            answers[1:-1] = answers[1:-1:2]

    def came_between(self, offset: int) -> tuple[int | None, int | None]:
        """(latest time at which `offset` was not there yet, earliest at which it was), in ms; None: never seen so."""
        before = None
        for answer in self._answers:
            if answer.end > offset:
                return before, answer.answered_ms
            before = answer.asked_ms
        return before, None


def age_ms(now_ms: int, timestamp: int | None, came: tuple[int | None, int | None]) -> int | None:
    """Age of a record that came between two times, by its timestamp where that can be.

    Without a timestamp it is as old as it can be. None where nothing is known of its age.
    """
    not_before, not_after = came
    believed = timestamp if timestamp is not None and timestamp >= _FIRST_KAFKA_MS else not_before
    bounds = [time for time in (believed, not_before) if time is not None]
    if not bounds and not_after is None:
        return None
    came_ms = max(bounds) if bounds else not_after
    if not_after is not None and came_ms is not None:
        came_ms = min(came_ms, not_after)
    assert came_ms is not None
    return max(0, now_ms - came_ms)
