"""What is shown of one student in one course: a pure function of the student's fold."""

from __future__ import annotations

from typing import Final

import msgspec

from cell_monitor_core.derivation.facts import NO_KEY, rfc3339
from cell_monitor_core.derivation.students import RunAt, StudentFold
from cell_monitor_core.publications import (
    CellRef,
    ErrorRef,
    ExecutionRef,
    KernelDeathsRef,
    NotebookRef,
    StudentState,
    StudentStatus,
)

__all__ = ["SEEN_STEP_MS", "student_state", "with_error_text"]

SEEN_STEP_MS: Final = 60_000
"""``last_seen_at`` is rounded down to a multiple of this."""


def _execution(fold: StudentFold, run: RunAt) -> ExecutionRef:
    return ExecutionRef(
        event_id=run.key[2],
        at=rfc3339(run.key[0]),
        status=run.status,
        notebook_id=run.notebook_id,
        cell=fold.described(run.notebook_id, run.cell, run.key),
        duration_ms=run.duration_ms,
        execution_count=run.execution_count,
        error=None if run.error is None else ErrorRef(run.error.name),
        notebook=None if run.notebook is None else fold.called(run.notebook),
        cell_removed=fold.removed_since(run.key, run.notebook_id, run.cell),
    )


def _running(fold: StudentFold) -> tuple[str | None, NotebookRef | None, CellRef | None]:
    """Return since when the run that goes on does so, its notebook and its cell; None each where none goes on."""
    running = fold.running
    if running is None or running.start is None:
        return None, None, None
    key, start = running.key, running.start
    return rfc3339(key[0]), fold.called(start.notebook), fold.described(start.notebook.id, start.cell, key)


def _kernel_deaths(fold: StudentFold) -> KernelDeathsRef | None:
    death = fold.death
    unplaced = fold.unplaced_deaths
    if death is not None and (not unplaced or death.key > unplaced[-1]):
        if fold.deaths_since is None or fold.removed_since(death.key, death.notebook.id, death.cell):
            return None
        notebook = fold.called(death.notebook)
        cell = fold.described(death.notebook.id, death.cell, death.key)
        return KernelDeathsRef(fold.deaths, rfc3339(fold.deaths_since), notebook, cell)
    if fold.completed is not None:
        unplaced = tuple(key for key in unplaced if key > fold.completed.key)
    if not unplaced:
        return None
    since = rfc3339(unplaced[0][0])
    # The run that started last is the one that the kernel executed: runs end as aborted with their kernel.
    started = None if fold.open_runs is None else fold.open_runs.last_started
    run = fold.last_aborted
    if (
        started is None
        or run is None
        # One that was aborted later ended otherwise.
        or run.key > unplaced[-1]
        or started[1:] != (run.notebook_id, run.cell.source_id)
    ):
        return KernelDeathsRef(len(unplaced), since)
    if fold.removed_since(unplaced[-1], run.notebook_id, run.cell):
        return None
    named = None if run.notebook is None else fold.called(run.notebook)
    return KernelDeathsRef(len(unplaced), since, named, run.cell)


def student_state(student_id: str, version: int, fold: StudentFold) -> StudentState:
    """Return what is shown of a student, but for the text of the error, which is no part of the facts.

    An aborted run never hides the run that succeeded or failed before it: after "run all", the first cell's error is
    the news, not the ten cells that were aborted because of it.
    """
    running_since, running_notebook, running_cell = _running(fold)
    run = fold.completed or fold.last_aborted
    status: StudentStatus
    if running_since is not None:
        status = "running"
    elif fold.completed is not None:
        status = "error" if fold.completed.status == "error" else "ok"
    else:
        status = "working" if fold.active > NO_KEY else "waiting"
    received = fold.last_received_at
    notebook = fold.notebook
    cell = fold.cell
    in_notebook = notebook is not None and cell is not None and cell.notebook_id == notebook.ref.id
    completed = fold.completed
    # Nobody is stuck on a cell that is gone.
    is_there = completed is not None and not fold.removed_since(completed.key, completed.notebook_id, completed.cell)
    since = fold.streak_since if is_there else None
    return StudentState(
        student_id=student_id,
        version=version,
        status=status,
        notebook=fold.called(notebook.ref) if notebook is not None else None,
        cell=fold.described(cell.notebook_id, cell.ref, cell.key) if cell is not None and in_notebook else None,
        last_execution=_execution(fold, run) if run is not None else None,
        running_since=running_since,
        running_notebook=running_notebook,
        running_cell=running_cell,
        error_streak=fold.streak if is_there else 0,
        streak_error=fold.streak_error if is_there else None,
        streak_since=rfc3339(since) if since is not None else None,
        runs=fold.runs,
        errors=fold.errors,
        aborted=fold.aborted,
        cells_ok=fold.cells_ok,
        missing=fold.missing,
        sessions_open=fold.sessions_open,
        last_activity_at=rfc3339(fold.active[0]) if fold.active > NO_KEY else None,
        # Rounded to a minute: a publication for every heartbeat would cost dashboards much and show little.
        last_seen_at=rfc3339(received - received % SEEN_STEP_MS) if received else None,
        help=fold.help,
        kernel_deaths=_kernel_deaths(fold),
    )


def with_error_text(state: StudentState, text: str | None) -> StudentState:
    """Return a state with the text of the error of its newest run."""
    run = state.last_execution
    if not text or run is None or run.error is None:
        return state
    error = ErrorRef(run.error.name, text)
    return msgspec.structs.replace(state, last_execution=msgspec.structs.replace(run, error=error))
