"""What is known of one student's cell: a fold over its runs in the canonical order.

Streaks depend on order, so this fold is not commutative: a fact that is older than the newest one folded makes the cell
be folded again from its stored facts. Everything about it stays a function of the set of facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

from cell_monitor_core.derivation.facts import NO_KEY, Fact, Key, fact_key
from cell_monitor_core.publications import CellRef, NotebookRef

__all__ = ["HISTORY_TYPES", "RUN_TYPES", "CellFold", "CellKey", "cell_key", "fold_cell"]

CellKey: TypeAlias = tuple[str, str]
"""(notebook id, the cell's source id)."""

RUN_TYPES: Final = frozenset(("cell_execution_started", "cell_executed"))
"""Types of the facts about a cell's runs."""

HISTORY_TYPES: Final = (*sorted(RUN_TYPES), "kernel_died", "kernel_restarted")
"""Types of the facts that a cell's fold is made of; of those about the kernel only the ones that ``cell_key`` gives a cell."""

_FINISHED_KEPT: Final = 8


class CellFold(msgspec.Struct, omit_defaults=True):
    """One student's runs of one cell.

    Attributes:
        last: key of the newest fact folded.
        notebook: the notebook as the newest fact named it.
        cell: the cell as the newest fact described it.
        runs: ended runs, whatever their end.
        errors: runs that failed.
        aborted: runs that were aborted before or while they ran.
        last_status: how the newest ended run ended.
        last_at: when, milliseconds since the epoch.
        completed: how the newest run ended that was not aborted.
        streak: failed runs since the last success; aborted runs do not count.
        streak_error: class of the streak's errors if it is one and the same.
        streak_since: when the streak's first run ended, milliseconds since the epoch.
        started: key of the newest start of a run.
        started_execution: its execution id.
        started_ended: whether that run has ended.
        deaths: how often the cell has killed the kernel since a run of it last ended by itself.
        deaths_since: when the first of them was, milliseconds since the epoch.
        finished: execution ids that ended before their start was seen, newest last.
    """

    last: Key = NO_KEY
    notebook: NotebookRef | None = None
    cell: CellRef | None = None
    runs: int = 0
    errors: int = 0
    aborted: int = 0
    last_status: Literal["ok", "error", "aborted"] | None = None
    last_at: int | None = None
    completed: Literal["ok", "error"] | None = None
    streak: int = 0
    streak_error: str | None = None
    streak_since: int | None = None
    started: Key = NO_KEY
    started_execution: str | None = None
    started_ended: bool = False
    finished: tuple[str, ...] = ()
    deaths: int = 0
    deaths_since: int | None = None

    def add(self, fact: Fact) -> None:
        """Fold a fact that ``cell_key`` gives this cell and that is newer than all before it."""
        self.last = fact_key(fact)
        self.notebook = fact.notebook
        self.cell = fact.cell
        if fact.type == "cell_executed":
            self._ended(fact)
        elif fact.kernel_death:
            self.deaths += 1
            if self.deaths_since is None:
                self.deaths_since = fact.at
        else:
            self.started = fact_key(fact)
            self.started_execution = fact.execution
            self.started_ended = fact.execution in self.finished

    def _ended(self, fact: Fact) -> None:
        self.runs += 1
        self.last_status = fact.status
        self.last_at = fact.at
        if fact.execution is not None:
            if fact.execution == self.started_execution:
                self.started_ended = True
            else:
                # Either the end of an overtaken run or, among facts whose time was the sender's clock, an end before its start.
                self.finished = (*self.finished[1 - _FINISHED_KEPT :], fact.execution)
        if fact.status == "aborted":
            self.aborted += 1
            return
        self.deaths = 0
        self.deaths_since = None
        if fact.status == "error":
            self.errors += 1
            self.completed = "error"
            name = fact.error.name if fact.error is not None else None
            if self.streak == 0:
                self.streak_since = fact.at
                self.streak_error = name
            elif name != self.streak_error:
                self.streak_error = None
            self.streak += 1
        else:
            self.completed = "ok"
            self.streak = 0
            self.streak_error = self.streak_since = None


def cell_key(fact: Fact) -> CellKey | None:
    """Return the cell whose fold a fact belongs to, None if it is neither a run of a cell nor a death that one caused."""
    if (fact.type in RUN_TYPES or fact.kernel_death) and fact.notebook is not None and fact.cell is not None:
        return (fact.notebook.id, fact.cell.source_id)
    return None


def fold_cell(facts: Iterable[Fact]) -> CellFold:
    """Fold all facts of one cell, given in the canonical order."""
    fold = CellFold()
    for fact in facts:
        fold.add(fact)
    return fold
