"""Reasons for attention: what "stuck", "long run", "quiet" and "left" mean, defined once.

Pure functions of a student's state, the student's help request, the course's thresholds and the server's time. As the
time passes reasons come and go without any event, so the dashboard computes them itself (``dashboard/src/course/view.ts``);
``tests/contract/golden/attention.json`` holds both to the same cases.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec

from cell_monitor_core.derivation.cells import CellKey
from cell_monitor_core.derivation.students import SEEN_STEP_MS
from cell_monitor_core.publications import HelpState, StudentState
from cell_monitor_core.timestamps import to_text

__all__ = ["Reason", "ReasonKind", "Thresholds", "bounds", "has_left", "reasons_for", "stuck_cell"]

ReasonKind = Literal["help", "streak", "long_run", "idle", "claimed"]

_DAY_S: Final = 86_400
_Count = Annotated[int, msgspec.Meta(ge=1, le=100)]
_Seconds = Annotated[int, msgspec.Meta(ge=10, le=_DAY_S)]
# A hidden page sends a heartbeat once a minute: below that every student who switches tabs would count as left.
_OfflineSeconds = Annotated[int, msgspec.Meta(ge=60, le=_DAY_S)]


class Thresholds(msgspec.Struct, frozen=True):
    """When a student counts as stuck, a run as long, a student as quiet or as left.

    The defaults and the bounds of every threshold are stated here and nowhere else.

    Attributes:
        stuck_errors: failed runs of one cell in a row.
        long_run_s: seconds that one run takes.
        idle_s: seconds without any activity.
        offline_s: seconds without any event, heartbeats included (``StudentState.last_seen_at``).
    """

    stuck_errors: _Count = 3
    long_run_s: _Seconds = 180
    idle_s: _Seconds = 480
    offline_s: _OfflineSeconds = 60


def bounds(threshold: str) -> tuple[int, int]:
    """Return the lowest and the highest value of a threshold.

    Raises:
        KeyError: there is no threshold of that name.
    """
    info = msgspec.inspect.type_info(Thresholds)
    assert isinstance(info, msgspec.inspect.StructType)
    kind = {field.name: field.type for field in info.fields}[threshold]
    assert isinstance(kind, msgspec.inspect.IntType)
    assert kind.ge is not None
    assert kind.le is not None
    return kind.ge, kind.le


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason for attention.

    Attributes:
        kind: ``help``: asked and not claimed yet; ``streak``: failed runs of one cell in a row; ``long_run``: a run goes
            on for long; ``idle``: no activity; ``claimed``: a member of the staff is helping.
        since: RFC 3339 UTC; the time asked about where the state names none.
        count: of a streak: its failed runs.
        error: of a streak: the error class, if all its runs failed with the same.
        by: of a claim: the person who helps.
    """

    kind: ReasonKind
    since: str
    count: int | None = None
    error: str | None = None
    by: str | None = None


def _elapsed(text: str | None, now: datetime) -> timedelta | None:
    return None if text is None else now - datetime.fromisoformat(text)


def has_left(state: StudentState, thresholds: Thresholds, now: datetime) -> bool:
    """Return whether a student has left the course's notebooks.

    That is so when all sessions ended and nothing was done for ``offline_s``, or when the server received nothing for
    ``offline_s``, whatever sessions are open: a browser that crashed ends none. ``last_seen_at`` names a minute, and the
    student may have been seen at its end. A row of a version that did not store it has the last activity instead.
    """
    offline = timedelta(seconds=thresholds.offline_s)
    active = _elapsed(state.last_activity_at, now)
    seen = _elapsed(state.last_seen_at, now)
    if seen is None:
        seen = active
    if seen is not None and seen >= offline + timedelta(milliseconds=SEEN_STEP_MS):
        return True
    return state.sessions_open <= 0 and active is not None and active >= offline


def reasons_for(
    state: StudentState, help_request: HelpState | None, thresholds: Thresholds, now: datetime
) -> list[Reason]:
    """Return why a student needs attention, the most urgent reason first; empty for a student who needs none.

    Those who have left are listed for a help request only. A claim comes last, because somebody is there already.
    """
    reasons: list[Reason] = []
    fallback = to_text(now)
    if help_request is not None and help_request.status == "open":
        reasons.append(Reason("help", help_request.requested_at))
    if not has_left(state, thresholds, now):
        if state.error_streak >= thresholds.stuck_errors:
            run = state.last_execution
            since = state.streak_since or (run.at if run is not None else fallback)
            reasons.append(Reason("streak", since, count=state.error_streak, error=state.streak_error))
        running_since = state.running_since if state.status == "running" else None
        running = _elapsed(running_since, now)
        if running_since and running is not None and running >= timedelta(seconds=thresholds.long_run_s):
            reasons.append(Reason("long_run", running_since))
        active = _elapsed(state.last_activity_at, now)
        idle = active is not None and active >= timedelta(seconds=thresholds.idle_s)
        if state.last_activity_at and idle and state.status != "running":
            reasons.append(Reason("idle", state.last_activity_at))
    if help_request is not None and help_request.status == "claimed":
        reasons.append(Reason("claimed", help_request.claimed_at or fallback, by=help_request.claimed_by))
    return reasons


def stuck_cell(state: StudentState, thresholds: Thresholds, now: datetime) -> CellKey | None:
    """Return the cell whose failed runs are a reason for attention now; None where there is none."""
    run = state.last_execution
    if run is None or run.cell is None:
        return None
    stuck = any(reason.kind == "streak" for reason in reasons_for(state, None, thresholds, now))
    return (run.notebook_id, run.cell.source_id) if stuck else None
