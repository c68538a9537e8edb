"""What is known of one student in one course, and what is shown of it.

``StudentFold`` holds sums and newest-by-key values, which do not depend on the order of arrival, and copies of values of
cells and sessions whose folds settle the order themselves: the streak of the cell that ran last, and whether the runs that
started last in their notebooks have ended. ``student_state`` is a pure function of the fold.
"""

from __future__ import annotations

import heapq
from typing import Final, Literal

import msgspec

from cell_monitor_core.derivation.cell_numbers import ListChange, renumbered, with_change
from cell_monitor_core.derivation.cells import CellFold, CellKey
from cell_monitor_core.derivation.facts import NO_KEY, ErrorClass, Fact, Key, fact_key, rfc3339
from cell_monitor_core.derivation.open_runs import NotebookRuns, OpenRuns
from cell_monitor_core.derivation.places import IMPLIED_ACTIVITY_TYPES, IMPLIED_PLACE_TYPES
from cell_monitor_core.derivation.sessions import SessionFold
from cell_monitor_core.publications import (
    CellRef,
    ErrorRef,
    ExecutionRef,
    HelpRef,
    KernelDeathsRef,
    NotebookRef,
    StudentState,
    StudentStatus,
)

__all__ = [
    "SEEN_STEP_MS",
    "CellAt",
    "DeathAt",
    "NotebookAt",
    "RunAt",
    "StudentFold",
    "student_state",
    "with_error_text",
]

_UNPLACED_DEATHS_KEPT: Final = 20
_NAMES_KEPT: Final = 16
_REMOVALS_KEPT: Final = 100
SEEN_STEP_MS: Final = 60_000
"""``last_seen_at`` is rounded down to a multiple of this."""


class NotebookAt(msgspec.Struct, frozen=True, array_like=True):
    """The notebook that the student was in at ``key``, whose time is ``Fact.place_lag_ms`` before that of the fact."""

    key: Key
    ref: NotebookRef


class CellAt(msgspec.Struct, frozen=True, array_like=True):
    """The cell that the student was in at ``key``, that of ``NotebookAt``; ``described`` is the key of the fact, if later."""

    key: Key
    notebook_id: str
    ref: CellRef
    described: Key = NO_KEY


class RunAt(msgspec.Struct, frozen=True, array_like=True):
    """A run that ended."""

    key: Key
    notebook_id: str
    cell: CellRef
    status: Literal["ok", "error", "aborted"]
    duration_ms: int | None = None
    execution_count: int | None = None
    error: ErrorClass | None = None
    notebook: NotebookRef | None = None


class DeathAt(msgspec.Struct, frozen=True, array_like=True):
    """A death of a kernel, and the cell that it executed."""

    key: Key
    notebook: NotebookRef
    cell: CellRef


class RemovalAt(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A cell that was removed from its notebook at ``key``."""

    key: Key
    notebook_id: str
    cell_id: str


class StudentFold(msgspec.Struct, omit_defaults=True):
    """One student in one course.

    Attributes:
        last_received_at: when the API received the newest fact of any type, milliseconds since the epoch.
        active: key of the newest fact that is the student's activity: heartbeats and automatic saves come by themselves.
        notebook: where the student last did something.
        cell: which cell that was, of whichever notebook.
        open_runs: the runs that may go on; None before the first fact, and in a row that a release wrote which kept one
            run for all notebooks (``outdated``).
        completed: the newest run that succeeded or failed.
        last_aborted: the newest run that was aborted.
        streak: of the cell of ``completed``, as its fold has it; likewise ``streak_error``, ``streak_since``.
        runs: ended runs of all cells; likewise ``errors``, ``aborted``.
        cells_ok: cells whose newest completed run succeeded.
        missing: sum over the sessions.
        sessions_open: number of sessions that are open.
        asked: key of the newest help request, whatever became of it.
        help: the newest help request that is open or claimed.
        help_expired_at: when the newest help request that closed itself did so, milliseconds since the epoch: a fact of
            an earlier time that arrives later may open it again.
        death: the newest death of a kernel of which the sender said which cell ran.
        deaths: of the cell of ``death``, as its fold has it; likewise ``deaths_since``.
        removals: when cells were removed last, newest last; those older than ``death`` have no meaning and are left out, and so are all
            but the newest 100.
        unplaced_deaths: the newest 20 deaths of which the sender did not say it, newest last.
        list_changes: the newest 32 additions and removals of cells, oldest first.
        names: how the 16 notebooks that were renamed last are called since then, by id.
    """

    last_received_at: int = 0
    active: Key = NO_KEY
    notebook: NotebookAt | None = None
    cell: CellAt | None = None
    open_runs: OpenRuns | None = None
    completed: RunAt | None = None
    last_aborted: RunAt | None = None
    streak: int = 0
    streak_error: str | None = None
    streak_since: int | None = None
    runs: int = 0
    errors: int = 0
    aborted: int = 0
    cells_ok: int = 0
    missing: int = 0
    sessions_open: int = 0
    asked: Key = NO_KEY
    help: HelpRef | None = None
    help_expired_at: int = 0
    death: DeathAt | None = None
    deaths: int = 0
    deaths_since: int | None = None
    unplaced_deaths: tuple[Key, ...] = ()
    names: dict[str, NotebookAt] = {}
    list_changes: tuple[ListChange, ...] = ()
    removals: tuple[RemovalAt, ...] = ()

    def add(self, fact: Fact) -> None:
        """Fold a fact that was not folded before; the order does not matter."""
        key = fact_key(fact)
        kind = fact.type
        activity, place = fact.activity, fact.place
        if (kind in IMPLIED_ACTIVITY_TYPES if activity is None else activity) and key > self.active:
            self.active = key
        if kind in IMPLIED_PLACE_TYPES if place is None else place:
            self._place(fact, key)
        if kind == "cell_executed":
            self._run(fact, key)
        elif kind == "help_requested":
            self.asked = max(self.asked, key)
        elif kind == "notebook_renamed":
            self._renamed(fact, key)
        if fact.listed:
            self.list_changes = with_change(self.list_changes, fact, key)
        if fact.kernel_death:
            self._death(fact, key)
        if fact.removed and fact.notebook is not None:
            self._remove(fact.notebook.id, fact.removed, key)
        if self.open_runs is None:
            self.open_runs = OpenRuns()
        self.open_runs.add(fact, key)

    def _place(self, fact: Fact, key: Key) -> None:
        if fact.notebook is None:
            return
        described = NO_KEY
        if fact.place_lag_ms:
            described, key = key, (key[0] - fact.place_lag_ms, key[1], key[2])
        if self.notebook is None or key > self.notebook.key:
            self.notebook = NotebookAt(key, fact.notebook)
        if fact.cell is not None and (self.cell is None or key > self.cell.key):
            self.cell = CellAt(key, fact.notebook.id, fact.cell, described)

    def _renamed(self, fact: Fact, key: Key) -> None:
        notebook = fact.notebook
        if notebook is None or (notebook.id in self.names and key < self.names[notebook.id].key):
            return
        names = {**self.names, notebook.id: NotebookAt(key, notebook)}
        if len(names) > _NAMES_KEPT:
            names = dict(heapq.nlargest(_NAMES_KEPT, names.items(), key=lambda item: item[1].key))
        self.names = names

    def called(self, notebook: NotebookRef, key: Key) -> NotebookRef:
        """Return a notebook that a fact at ``key`` names as it is called now."""
        name = self.names.get(notebook.id)
        return notebook if name is None or name.key < key else name.ref

    def described(self, notebook_id: str, cell: CellRef, key: Key) -> CellRef:
        """Return a cell that a fact at ``key`` describes as it is now.

        That is as the student's newest act in it does, if that is newer, with the cells counted that were added or
        removed above it since then.
        """
        if not self.list_changes:
            # Likewise where early releases stored all facts: what is shown of them stays as they derived it.
            return cell
        act = self.cell
        if act is not None and act.key >= key and (act.notebook_id, act.ref.source_id) == (notebook_id, cell.source_id):
            cell, key = act.ref, max(act.key, act.described)
        return renumbered(self.list_changes, notebook_id, cell, key)

    def _death(self, fact: Fact, key: Key) -> None:
        if fact.notebook is None or fact.cell is None:
            self.unplaced_deaths = tuple(sorted((*self.unplaced_deaths, key)))[-_UNPLACED_DEATHS_KEPT:]
        elif self.death is None or key > self.death.key:
            self.death = DeathAt(key, fact.notebook, fact.cell)
            self.removals = tuple(removal for removal in self.removals if removal.key > key)

    def _remove(self, notebook_id: str, cells: tuple[str, ...], key: Key) -> None:
        if self.death is not None and key < self.death.key:
            return
        merged = {(removal.notebook_id, removal.cell_id): removal for removal in self.removals}
        for cell_id in cells:
            known = merged.get((notebook_id, cell_id))
            if known is None or key > known.key:
                merged[notebook_id, cell_id] = RemovalAt(key, notebook_id, cell_id)
        self.removals = tuple(sorted(merged.values()))[-_REMOVALS_KEPT:]

    def removed_since(self, key: Key, notebook_id: str, cell: CellRef) -> bool:
        """Return whether a cell was removed after ``key``, which is not before the newest death of a kernel."""
        return any(
            removal.key > key and (removal.notebook_id, removal.cell_id) == (notebook_id, cell.source_id)
            for removal in self.removals
        )

    def _run(self, fact: Fact, key: Key) -> None:
        self.runs += 1
        if fact.notebook is None or fact.cell is None or fact.status is None:
            return
        newest = self.last_aborted if fact.status == "aborted" else self.completed
        if fact.status == "aborted":
            self.aborted += 1
        elif fact.status == "error":
            self.errors += 1
        if newest is not None and key < newest.key:
            return
        run = RunAt(
            key,
            fact.notebook.id,
            fact.cell,
            fact.status,
            fact.duration_ms,
            fact.execution_count,
            fact.error,
            fact.notebook,
        )
        if fact.status == "aborted":
            self.last_aborted = run
        else:
            self.completed = run

    def cell_changed(self, cell: CellKey, was_ok: bool, now: CellFold) -> None:
        """Take over what a changed cell means for the student, once all new facts are added."""
        self.cells_ok += (now.completed == "ok") - was_ok
        run = self.completed
        if run is not None and (run.notebook_id, run.cell.source_id) == cell:
            self.streak = now.streak
            self.streak_error = now.streak_error
            self.streak_since = now.streak_since
        death = self.death
        if death is not None and (death.notebook.id, death.cell.source_id) == cell:
            self.deaths = now.deaths
            self.deaths_since = now.deaths_since
        if self.open_runs is not None:
            self.open_runs.cell_changed(cell, now)

    def session_changed(self, session: str, missing_before: int, was_open: bool, now: SessionFold) -> None:
        """Take over what a changed session means for the student, once all new facts are added."""
        self.missing += now.missing - missing_before
        self.sessions_open += now.open - was_open
        if self.open_runs is not None:
            self.open_runs.session_changed(session, now)

    @property
    def running(self) -> NotebookRuns | None:
        """The run that goes on, as far as the facts say; of several the one that began first."""
        return None if self.open_runs is None else self.open_runs.going_on

    @property
    def outdated(self) -> bool:
        """Whether the row was written by a release that kept one run for all notebooks: it must be folded again."""
        return self.open_runs is None and self.last_received_at > 0


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
        notebook=None if run.notebook is None else fold.called(run.notebook, run.key),
    )


def _kernel_deaths(fold: StudentFold) -> KernelDeathsRef | None:
    death = fold.death
    unplaced = fold.unplaced_deaths
    if death is not None and (not unplaced or death.key > unplaced[-1]):
        if fold.deaths_since is None or fold.removed_since(death.key, death.notebook.id, death.cell):
            return None
        notebook = fold.called(death.notebook, death.key)
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
    named = None if run.notebook is None else fold.called(run.notebook, run.key)
    return KernelDeathsRef(len(unplaced), since, named, run.cell)


def student_state(student_id: str, version: int, fold: StudentFold) -> StudentState:
    """Return what is shown of a student, but for the text of the error, which is no part of the facts.

    An aborted run never hides the run that succeeded or failed before it: after "run all", the first cell's error is
    the news, not the ten cells that were aborted because of it.
    """
    running = fold.running
    begun = None if running is None else running.start
    run = fold.completed or fold.last_aborted
    status: StudentStatus
    if running is not None:
        status = "running"
    elif fold.completed is not None:
        status = "error" if fold.completed.status == "error" else "ok"
    else:
        status = "working" if fold.active > NO_KEY else "waiting"
    received = fold.last_received_at
    notebook = fold.notebook
    cell = fold.cell
    in_notebook = notebook is not None and cell is not None and cell.notebook_id == notebook.ref.id
    return StudentState(
        student_id=student_id,
        version=version,
        status=status,
        notebook=fold.called(notebook.ref, notebook.key) if notebook is not None else None,
        cell=fold.described(cell.notebook_id, cell.ref, cell.key) if cell is not None and in_notebook else None,
        last_execution=_execution(fold, run) if run is not None else None,
        running_since=rfc3339(running.key[0]) if running is not None else None,
        running_notebook=fold.called(begun.notebook, running.key)
        if running is not None and begun is not None
        else None,
        running_cell=(
            fold.described(begun.notebook.id, begun.cell, running.key)
            if running is not None and begun is not None
            else None
        ),
        error_streak=fold.streak,
        streak_error=fold.streak_error,
        streak_since=rfc3339(fold.streak_since) if fold.streak_since is not None else None,
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
