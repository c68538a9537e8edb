"""The predicates of ``derivation.words`` in SQL, for queries that count students without reading their rows.

Each is a condition on ``student_states s`` and ``courses c``, true or false and never null, with the time asked about in a
parameter. A property test compares them with the pure functions.
"""

from __future__ import annotations

from typing import Final

from cell_monitor_core.derivation.shown_state import SEEN_STEP_MS
from cell_monitor_core.derivation.thresholds import Thresholds

__all__ = ["active", "left", "running"]

_DEFAULTS: Final = Thresholds()


def _seconds(threshold: str) -> str:
    default = getattr(_DEFAULTS, threshold)
    return f"make_interval(secs => coalesce((c.thresholds->>'{threshold}')::integer, {default}))"


_STARTED: Final = "coalesce(s.state->>'status', 'waiting') <> 'waiting'"
_ACTIVITY: Final = "(s.state->>'last_activity_at')::timestamptz"
_SEEN: Final = f"coalesce((s.state->>'last_seen_at')::timestamptz, {_ACTIVITY})"
_SESSIONS: Final = "coalesce((s.state->>'sessions_open')::integer, 0)"


def left(now: str) -> str:
    """Return the SQL of ``has_left``; ``now`` is the SQL of the time asked about."""
    offline = _seconds("offline_s")
    return (
        f"({_STARTED} AND ("
        f"coalesce({_SEEN} + {offline} + interval '{SEEN_STEP_MS} milliseconds' <= {now}, false) OR "
        f"({_SESSIONS} <= 0 AND coalesce({_ACTIVITY} + {offline} <= {now}, false))))"
    )


def _here(now: str) -> str:
    return f"({_STARTED} AND NOT {left(now)})"


def running(now: str) -> str:
    """Return the SQL of ``is_running``."""
    return f"(s.state->>'status' = 'running' AND {_here(now)})"


def active(now: str) -> str:
    """Return the SQL of ``is_active``: here, and running a cell or not without activity for ``idle_s``."""
    quiet = f"coalesce({_ACTIVITY} + {_seconds('idle_s')} <= {now}, false)"
    return f"({_here(now)} AND (s.state->>'status' = 'running' OR NOT {quiet}))"
