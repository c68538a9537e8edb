"""Which runs of one student go on: of each notebook the newest start, unless something ended it.

A notebook's kernel executes one cell after the other, so the newest start of a notebook is the only run of it that can go
on. Runs of different notebooks go on beside each other and end one by one. A run goes on until one of these:

- its own end, or the start of another run of its notebook;
- an event that ends the runs of its notebook (kernel gone, connected again) or of its session (``events.registry``);
- a day of the student's without any event of its session: nobody is left who would report the end. A shorter silence says
  nothing, since a notebook in the background sends no heartbeats.

All of it is maxima by key and copies from the folds of cells and sessions, so the order in which facts arrive does not
matter; nor do the bounds, since what is left out is the oldest by the same keys.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cell_monitor_core.derivation.cells import CellFold, CellKey
from cell_monitor_core.derivation.facts import NO_KEY, Fact, Key
from cell_monitor_core.derivation.sessions import SessionFold
from cell_monitor_core.events.registry import RUN_END_SCOPES
from cell_monitor_core.publications import CellRef, NotebookRef

__all__ = ["SILENT_MS", "NotebookRuns", "OpenRuns", "StartAt"]

SILENT_MS: Final = 24 * 3_600_000
"""How much older than the student's newest event the newest one of a session may be whose runs go on."""

_NOTEBOOKS_KEPT: Final = 32
_SESSION_ENDS_KEPT: Final = 16


class StartAt(msgspec.Struct, array_like=True):
    """A start of a run.

    Attributes:
        ended: whether that run has ended, as the fold of its cell has it.
        seen: the newest time of its session, as the session's fold has it, milliseconds since the epoch; 0 where it is not known.
    """

    session: str
    notebook: NotebookRef
    cell: CellRef
    ended: bool = False
    seen: int = 0


class NotebookRuns(msgspec.Struct, array_like=True):
    """The newest start of a run in a notebook, or the event that ended all its runs, whichever is newer.

    Attributes:
        key: of that start or event.
        start: None where it is an end.
    """

    key: Key
    start: StartAt | None = None


class OpenRuns(msgspec.Struct, omit_defaults=True):
    """The runs of one student that may go on.

    Attributes:
        notebooks: by notebook id; the 32 of the newest starts and ends.
        session_ends: the newest events that ended all runs of a session, by session id; the newest 16.
        forgotten: the newest of those that are left out: a run that began before it counts as ended.
        last_started: (key, notebook id, the cell's source id) of the newest start, whatever ended it.
        newest: the newest time of a fact of the student, by the server's time alone, milliseconds since the epoch.
    """

    notebooks: dict[str, NotebookRuns] = {}
    session_ends: dict[str, Key] = {}
    forgotten: Key = NO_KEY
    last_started: tuple[Key, str, str] | None = None
    newest: int = 0

    def add(self, fact: Fact, key: Key) -> None:
        """Fold a fact that was not folded before; the order does not matter."""
        if fact.occurred is not None and fact.at > self.newest:
            self.newest = fact.at
        if fact.type == "cell_execution_started":
            if fact.notebook is not None and fact.cell is not None:
                started = (key, fact.notebook.id, fact.cell.source_id)
                self.last_started = started if self.last_started is None else max(self.last_started, started)
                self._happened(fact.notebook.id, NotebookRuns(key, StartAt(fact.session, fact.notebook, fact.cell)))
            return
        scope = RUN_END_SCOPES.get(fact.type) if fact.ends_runs else None
        if scope == "notebook" and fact.notebook is not None:
            self._happened(fact.notebook.id, NotebookRuns(key))
        elif scope == "session":
            self._session_ended(fact.session, key)

    def _happened(self, notebook_id: str, runs: NotebookRuns) -> None:
        known = self.notebooks.get(notebook_id)
        if known is not None and runs.key <= known.key:
            return
        self.notebooks[notebook_id] = runs
        if len(self.notebooks) > _NOTEBOOKS_KEPT:
            del self.notebooks[min(self.notebooks, key=lambda notebook: self.notebooks[notebook].key)]

    def _session_ended(self, session: str, key: Key) -> None:
        if key <= self.session_ends.get(session, NO_KEY):
            return
        self.session_ends[session] = key
        if len(self.session_ends) > _SESSION_ENDS_KEPT:
            oldest = min(self.session_ends, key=lambda each: self.session_ends[each])
            self.forgotten = max(self.forgotten, self.session_ends.pop(oldest))

    def cell_changed(self, cell: CellKey, now: CellFold) -> None:
        """Take over from a changed cell whether its run has ended."""
        runs = self.notebooks.get(cell[0])
        if runs is not None and runs.start is not None and runs.start.cell.source_id == cell[1]:
            runs.start.ended = now.started_ended

    def session_changed(self, session: str, now: SessionFold) -> None:
        """Take over from a changed session when it was last seen."""
        for runs in self.notebooks.values():
            if runs.start is not None and runs.start.session == session:
                runs.start.seen = now.last

    @property
    def going_on(self) -> NotebookRuns | None:
        """The run that goes on, with its ``start``; of several the one that began first, None where there is none."""
        return min(filter(self._goes_on, self.notebooks.values()), key=lambda runs: runs.key, default=None)

    def _goes_on(self, runs: NotebookRuns) -> bool:
        start = runs.start
        if start is None or start.ended:
            return False
        if runs.key < max(self.forgotten, self.session_ends.get(start.session, NO_KEY)):
            return False
        return not start.seen or self.newest - start.seen <= SILENT_MS
