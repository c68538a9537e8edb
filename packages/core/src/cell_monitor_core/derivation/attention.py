"""Reasons for attention, defined once; ``words`` has the predicates that they are made of.

Pure functions of a student's state, the student's help request, the course's thresholds and the server's time. As the
time passes reasons come and go without any event, so the dashboard computes them itself (``dashboard/src/course/view.ts``);
``tests/contract/golden/attention.json`` holds both to the same cases.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from cell_monitor_core.derivation.cells import CellKey
from cell_monitor_core.derivation.thresholds import Thresholds
from cell_monitor_core.derivation.words import elapsed, has_left, is_quiet
from cell_monitor_core.publications import CellRef, HelpState, NotebookRef, StudentState
from cell_monitor_core.timestamps import to_text

__all__ = ["Reason", "ReasonKind", "reasons_for", "stuck_cell"]

ReasonKind = Literal["help", "streak", "kernel_deaths", "long_run", "idle", "claimed"]


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason for attention.

    Attributes:
        kind: ``help``: asked and not claimed yet; ``streak``: failed runs of one cell in a row;
            ``kernel_deaths``: one cell killed the kernel repeatedly; ``long_run``: a run goes on for long; ``idle``: no activity; ``claimed``: a member of the staff is helping.
        since: RFC 3339 UTC; the time asked about where the state names none.
        count: of a streak: its failed runs; of deaths: their number.
        error: of a streak: the error class, if all its runs failed with the same.
        by: of a claim: the person who helps.
        notebook: where that is: of a streak or deaths, of the run that goes on, or where the request was made; likewise ``cell``.
    """

    kind: ReasonKind
    since: str
    count: int | None = None
    error: str | None = None
    by: str | None = None
    notebook: NotebookRef | None = None
    cell: CellRef | None = None


def reasons_for(
    state: StudentState, help_request: HelpState | None, thresholds: Thresholds, now: datetime
) -> list[Reason]:
    """Return why a student needs attention, the most urgent reason first; empty for a student who needs none.

    Those who have left need none, whatever they asked. A claim comes last, because somebody is there already.
    """
    if has_left(state, thresholds, now):
        return []
    reasons: list[Reason] = []
    fallback = to_text(now)
    asked = help_request
    if asked is not None and asked.status == "open":
        reasons.append(Reason("help", asked.requested_at, notebook=asked.notebook, cell=asked.cell))
    if state.error_streak >= thresholds.stuck_errors:
        reasons.append(_streak(state, fallback))
    deaths = state.kernel_deaths
    if deaths is not None and deaths.count >= thresholds.kernel_deaths:
        reasons.append(
            Reason("kernel_deaths", deaths.since, count=deaths.count, notebook=deaths.notebook, cell=deaths.cell)
        )
    running_since = state.running_since if state.status == "running" else None
    running = elapsed(running_since, now)
    if running_since and running is not None and running >= timedelta(seconds=thresholds.long_run_s):
        reasons.append(Reason("long_run", running_since, notebook=state.running_notebook, cell=state.running_cell))
    if state.last_activity_at and is_quiet(state, thresholds, now):
        reasons.append(Reason("idle", state.last_activity_at))
    if asked is not None and asked.status == "claimed":
        since = asked.claimed_at or fallback
        reasons.append(Reason("claimed", since, by=asked.claimed_by, notebook=asked.notebook, cell=asked.cell))
    return reasons


def _streak(state: StudentState, fallback: str) -> Reason:
    run = state.last_execution
    return Reason(
        "streak",
        state.streak_since or (run.at if run is not None else fallback),
        count=state.error_streak,
        error=state.streak_error,
        notebook=None if run is None else run.notebook,
        cell=None if run is None else run.cell,
    )


def stuck_cell(state: StudentState, thresholds: Thresholds, now: datetime) -> CellKey | None:
    """Return the cell whose failed runs are a reason for attention now; None where there is none."""
    run = state.last_execution
    if run is None or run.cell is None:
        return None
    stuck = any(reason.kind == "streak" for reason in reasons_for(state, None, thresholds, now))
    return (run.notebook_id, run.cell.source_id) if stuck else None
