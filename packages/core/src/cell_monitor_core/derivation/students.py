"""What is known of one student in one course; what is shown of it is in ``shown_state``.

``StudentFold`` holds sums and newest-by-key values, which do not depend on the order of arrival, and copies of values of
cells and sessions whose folds settle the order themselves: the streak of the cell that ran last, and whether the runs that
started last in their notebooks have ended.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from cell_monitor_core.derivation.cell_numbers import ListChange, renumbered, with_change
from cell_monitor_core.derivation.cells import CellFold, CellKey
from cell_monitor_core.derivation.facts import NO_KEY, ErrorClass, Fact, Key, fact_key
from cell_monitor_core.derivation.notebook_names import NotebookAt, NotebookNames, called, with_name
from cell_monitor_core.derivation.open_runs import NotebookRuns, OpenRuns
from cell_monitor_core.derivation.places import IMPLIED_ACTIVITY_TYPES, is_place
from cell_monitor_core.derivation.sessions import SessionFold
from cell_monitor_core.publications import CellRef, HelpRef, NotebookRef

__all__ = ["CellAt", "DeathAt", "RunAt", "StudentFold"]

_UNPLACED_DEATHS_KEPT: Final = 20
_REMOVALS_KEPT: Final = 100


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
    """A cell that was removed from its notebook at ``key``, or put back there if ``restored``."""

    key: Key
    notebook_id: str
    cell_id: str
    restored: bool = False


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
        removals: when cells were removed or put back last, newest last; those older than both ``death`` and ``completed``
            have no meaning and are left out, and so are all but the newest 100.
        unplaced_deaths: the newest 20 deaths of which the sender did not say it, newest last.
        list_changes: the newest 32 additions and removals of cells, oldest first.
        notebook_names: how notebooks are called, by id; None before the first fact, and in a row of a release that knew only
            the names of renamed ones (``outdated``).
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
    notebook_names: NotebookNames | None = None
    list_changes: tuple[ListChange, ...] = ()
    removals: tuple[RemovalAt, ...] = ()

    def add(self, fact: Fact) -> None:
        """Fold a fact that was not folded before; the order does not matter."""
        key = fact_key(fact)
        kind = fact.type
        activity = fact.activity
        if (kind in IMPLIED_ACTIVITY_TYPES if activity is None else activity) and key > self.active:
            self.active = key
        if is_place(kind, fact.place):
            self._place(fact, key)
        if self.notebook_names is None:
            self.notebook_names = {}
        with_name(self.notebook_names, fact, key)
        if kind == "cell_executed":
            self._run(fact, key)
        elif kind == "help_requested":
            self.asked = max(self.asked, key)
        if fact.listed:
            self.list_changes = with_change(self.list_changes, fact, key)
        if fact.kernel_death:
            self._death(fact, key)
        if fact.removed and fact.notebook is not None:
            self._remove(fact.notebook.id, fact.removed, key)
        if fact.restored and fact.notebook is not None:
            self._remove(fact.notebook.id, fact.restored, key, restored=True)
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

    def called(self, notebook: NotebookRef) -> NotebookRef:
        """Return a notebook as it is called now."""
        return called(self.notebook_names, notebook)

    def described(self, notebook_id: str, cell: CellRef, key: Key) -> CellRef:
        """Return a cell that a fact at ``key`` describes as it is now.

        That is as the student's newest act in it does, if that is newer, with the cells counted that were added or
        removed above it since then. A cell that is gone keeps the name that it had, which another one may have now.
        """
        if not self.list_changes:
            # Likewise where early releases stored all facts: what is shown of them stays as they derived it.
            return cell
        act = self.cell
        if act is not None and act.key >= key and (act.notebook_id, act.ref.source_id) == (notebook_id, cell.source_id):
            cell, key = act.ref, max(act.key, act.described)
        gone = self._removal(key, notebook_id, cell)
        changes = self.list_changes
        if gone is not None:
            changes = tuple(change for change in changes if change.key < gone.key)
        return renumbered(changes, notebook_id, cell, key)

    def _death(self, fact: Fact, key: Key) -> None:
        if fact.notebook is None or fact.cell is None:
            self.unplaced_deaths = tuple(sorted((*self.unplaced_deaths, key)))[-_UNPLACED_DEATHS_KEPT:]
        elif self.death is None or key > self.death.key:
            self.death = DeathAt(key, fact.notebook, fact.cell)
            self._leave_out_removals()

    def _remove(self, notebook_id: str, cells: tuple[str, ...], key: Key, *, restored: bool = False) -> None:
        if key < self._removals_from:
            return
        merged = {(removal.notebook_id, removal.cell_id): removal for removal in self.removals}
        for cell_id in cells:
            known = merged.get((notebook_id, cell_id))
            if known is None or key > known.key:
                merged[notebook_id, cell_id] = RemovalAt(key, notebook_id, cell_id, restored)
        self.removals = tuple(sorted(merged.values()))[-_REMOVALS_KEPT:]

    @property
    def _removals_from(self) -> Key:
        """The older of the facts whose cells may be removed; it never becomes older, whatever arrives later."""
        return NO_KEY if self.death is None or self.completed is None else min(self.death.key, self.completed.key)

    def _leave_out_removals(self) -> None:
        since = self._removals_from
        self.removals = tuple(removal for removal in self.removals if removal.key > since)

    def removed_since(self, key: Key, notebook_id: str, cell: CellRef) -> bool:
        """Return whether a cell was removed and not put back after ``key``, of ``death``, ``completed`` or a fact after them."""
        return self._removal(key, notebook_id, cell) is not None

    def _removal(self, key: Key, notebook_id: str, cell: CellRef) -> RemovalAt | None:
        for removal in self.removals:
            if (removal.notebook_id, removal.cell_id) == (notebook_id, cell.source_id):
                return None if removal.restored or removal.key <= key else removal
        return None

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
            self._leave_out_removals()

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
        """Whether the row was written by a release that kept less: it must be folded again."""
        return (self.open_runs is None or self.notebook_names is None) and self.last_received_at > 0
