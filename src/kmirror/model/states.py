"""The states of a mirror and the one table of how they follow each other.

Names and meanings are Cluster Linking's. What the user wants and what lasts is recorded with the mirror;
SOURCE_UNAVAILABLE, LINK_FAILED and LINK_PAUSED are only seen while they hold.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class MirrorState(StrEnum):
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    PENDING_STOPPED = "PENDING_STOPPED"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    SOURCE_UNAVAILABLE = "SOURCE_UNAVAILABLE"
    LINK_PAUSED = "LINK_PAUSED"
    LINK_FAILED = "LINK_FAILED"
    PENDING_MIRROR = "PENDING_MIRROR"
    PENDING_SYNCHRONIZE = "PENDING_SYNCHRONIZE"
    PENDING_SETUP_FOR_RESTORE = "PENDING_SETUP_FOR_RESTORE"
    PENDING_RESTORE = "PENDING_RESTORE"


class Event(StrEnum):
    """What moves a mirror: the verbs of the user, and what the runner finds."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    FAILOVER = "failover"
    REVERSE = "reverse"
    """reverse-and-start, reverse-and-pause: the mirror becomes the source, and its source a mirror."""
    START = "start"
    """The topic of a mirror that was being set up is as it has to be."""
    HOLD = "hold"
    """As START, but nothing is copied until it is resumed."""
    RESTORE = "restore"
    """truncate-and-restore has saved what only the old source has: its topic may go."""
    STOPPED = "stopped"
    FAILED = "failed"


RECORDED: Final = frozenset(
    {
        MirrorState.ACTIVE,
        MirrorState.PAUSED,
        MirrorState.PENDING_STOPPED,
        MirrorState.STOPPED,
        MirrorState.FAILED,
        MirrorState.PENDING_SYNCHRONIZE,
        MirrorState.PENDING_MIRROR,
        MirrorState.PENDING_SETUP_FOR_RESTORE,
        MirrorState.PENDING_RESTORE,
    }
)
"""The states that are stored with a mirror; all others are only observed."""

LIVE: Final = frozenset({MirrorState.ACTIVE, MirrorState.PENDING_SYNCHRONIZE, MirrorState.PENDING_STOPPED})
"""The recorded states in which a runner copies."""

_A, _P, _PS, _S, _F = (
    MirrorState.ACTIVE,
    MirrorState.PAUSED,
    MirrorState.PENDING_STOPPED,
    MirrorState.STOPPED,
    MirrorState.FAILED,
)
_DRAIN = MirrorState.PENDING_SYNCHRONIZE  # copies on, until its source is written to no more
_TO_ADOPT = MirrorState.PENDING_MIRROR
_TO_SAVE, _TO_RESTORE = MirrorState.PENDING_SETUP_FOR_RESTORE, MirrorState.PENDING_RESTORE

TRANSITIONS: Final = MappingProxyType(
    {
        # A verb that asks for what already holds is done, not refused: scripts run twice.
        Event.PAUSE: {_A: _P, _P: _P},
        Event.RESUME: {_P: _A, _A: _A, _DRAIN: _A},
        Event.PROMOTE: {_A: _PS, _P: _PS, _DRAIN: _PS, _PS: _PS},
        # Failover is the way out of everything that is not yet over, as long as there is a topic.
        Event.FAILOVER: {_A: _PS, _P: _PS, _DRAIN: _PS, _PS: _PS, _F: _PS, _TO_ADOPT: _PS, _TO_SAVE: _PS},
        Event.REVERSE: {_A: _DRAIN, _DRAIN: _DRAIN},
        Event.START: {_TO_ADOPT: _A, _TO_SAVE: _A, _TO_RESTORE: _A},
        Event.HOLD: {_TO_ADOPT: _P},
        Event.RESTORE: {_TO_SAVE: _TO_RESTORE},
        Event.STOPPED: {_PS: _S},
        Event.FAILED: {_A: _F, _P: _F, _DRAIN: _F, _PS: _F},
    }
)
"""Recorded state after each event; a missing entry is a transition that is refused."""


def after(state: MirrorState, event: Event) -> MirrorState | None:
    """The recorded state that follows `state` on `event`; None where the event is refused."""
    return TRANSITIONS[event].get(state)
