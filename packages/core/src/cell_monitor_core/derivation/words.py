"""What the words of the page mean: "left", "running", "quiet", "active", "needs help". One predicate each.

Pure functions of a student's state, the student's help request, the course's thresholds and the server's time. The same
predicates in SQL are in ``storage.postgres.words``, those of the dashboard in ``dashboard/src/course/words.ts``; tests
compare them. Every enrolled student is exactly one of: not started, left, quiet, active. docs/dev/glossary.md has the words
in both languages.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cell_monitor_core.derivation.help import ACTIVE_STATUSES
from cell_monitor_core.derivation.shown_state import SEEN_STEP_MS
from cell_monitor_core.derivation.thresholds import Thresholds
from cell_monitor_core.publications import HelpState, StudentState

__all__ = [
    "elapsed",
    "has_left",
    "has_started",
    "is_active",
    "is_here",
    "is_quiet",
    "is_running",
    "left_waiting",
    "needs_help",
]


def elapsed(text: str | None, now: datetime) -> timedelta | None:
    """Return how long before ``now`` an RFC 3339 time was; None for None."""
    return None if text is None else now - datetime.fromisoformat(text)


def has_started(state: StudentState) -> bool:
    """Return whether the student did anything in the course."""
    return state.status != "waiting"


def has_left(state: StudentState, thresholds: Thresholds, now: datetime) -> bool:
    """Return whether a student has left the course's notebooks.

    That is so when all sessions ended and nothing was done for ``offline_s``, or when the server received nothing for
    ``offline_s``, whatever sessions are open: a browser that crashed ends none. ``last_seen_at`` names a minute, and the
    student may have been seen at its end. A row of a version that did not store it has the last activity instead.
    """
    if not has_started(state):
        return False
    offline = timedelta(seconds=thresholds.offline_s)
    active = elapsed(state.last_activity_at, now)
    seen = elapsed(state.last_seen_at, now)
    if seen is None:
        seen = active
    if seen is not None and seen >= offline + timedelta(milliseconds=SEEN_STEP_MS):
        return True
    return state.sessions_open <= 0 and active is not None and active >= offline


def is_here(state: StudentState, thresholds: Thresholds, now: datetime) -> bool:
    """Return whether a student has started and has not left."""
    return has_started(state) and not has_left(state, thresholds, now)


def is_running(state: StudentState, thresholds: Thresholds, now: datetime) -> bool:
    """Return whether a student is here and a cell of theirs runs."""
    return state.status == "running" and is_here(state, thresholds, now)


def is_quiet(state: StudentState, thresholds: Thresholds, now: datetime) -> bool:
    """Return whether a student is here, runs nothing, and did nothing for ``idle_s``."""
    active = elapsed(state.last_activity_at, now)
    quiet = active is not None and active >= timedelta(seconds=thresholds.idle_s)
    return quiet and state.status != "running" and is_here(state, thresholds, now)


def is_active(state: StudentState, thresholds: Thresholds, now: datetime) -> bool:
    """Return whether a student is here and not quiet: a student who runs a cell is active."""
    return is_here(state, thresholds, now) and not is_quiet(state, thresholds, now)


def needs_help(state: StudentState, help_request: HelpState | None, thresholds: Thresholds, now: datetime) -> bool:
    """Return whether a student who has not left has a request that is open or claimed."""
    asked = help_request is not None and help_request.status in ACTIVE_STATUSES
    return asked and not has_left(state, thresholds, now)


def left_waiting(state: StudentState, help_request: HelpState | None, thresholds: Thresholds, now: datetime) -> bool:
    """Return whether a student has left with a request that is open or claimed: it counts under "left" alone."""
    asked = help_request is not None and help_request.status in ACTIVE_STATUSES
    return asked and has_left(state, thresholds, now)
