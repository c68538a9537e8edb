"""All that is known of one student in one course, and how new facts change it.

The canonical order of facts is that of ``facts.fact_key``. Whatever the order of arrival, the repetition and the batches, a
record is the one that a single pass over all its facts in the canonical order gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cell_monitor_core.derivation.cells import CellFold, CellKey, cell_key, fold_cell
from cell_monitor_core.derivation.facts import Fact, fact_key
from cell_monitor_core.derivation.sessions import SessionFold
from cell_monitor_core.derivation.students import StudentFold

__all__ = ["StudentRecord", "Touched", "fold_all", "group_by_cell"]


@dataclass(slots=True)
class Touched:
    """The changes of a batch of facts, without the student's fold."""

    cells: dict[CellKey, CellFold]
    sessions: dict[str, SessionFold]


@dataclass(slots=True)
class StudentRecord:
    """A student's folds: of the cells and sessions at least those that the new facts name."""

    fold: StudentFold = field(default_factory=StudentFold)
    cells: dict[CellKey, CellFold] = field(default_factory=dict)
    sessions: dict[str, SessionFold] = field(default_factory=dict)

    def late_cells(self, by_cell: Mapping[CellKey, Sequence[Fact]]) -> list[CellKey]:
        """Return the cells that must be folded again, because a new fact is older than one already folded."""
        late = []
        for cell, facts in by_cell.items():
            known = self.cells.get(cell)
            if known is not None and fact_key(facts[0]) < known.last:
                late.append(cell)
        return late

    def apply(
        self,
        facts: Sequence[Fact],
        by_cell: Mapping[CellKey, Sequence[Fact]],
        histories: Mapping[CellKey, Sequence[Fact]],
        *,
        last_received_at: int = 0,
    ) -> Touched:
        """Fold facts that were not folded before.

        Args:
            facts: the new facts, in any order.
            by_cell: the runs among them (``group_by_cell``).
            histories: all stored runs, the new ones included, of each of the ``late_cells``, in the canonical order.
            last_received_at: when the API received the newest of the facts, milliseconds since the epoch.
        """
        fold = self.fold
        fold.last_received_at = max(fold.last_received_at, last_received_at)
        touched = Touched({}, {})
        before: dict[str, tuple[int, bool]] = {}
        for fact in facts:
            fold.add(fact)
            session = self.sessions.get(fact.session)
            if session is None:
                session = self.sessions[fact.session] = SessionFold()
            if fact.session not in before:
                before[fact.session] = (session.missing, session.open)
                touched.sessions[fact.session] = session
            session.add(fact)
        for session_id, (missing, was_open) in before.items():
            fold.session_changed(session_id, missing, was_open, self.sessions[session_id])
        for key, runs in by_cell.items():
            cell = self.cells.get(key)
            was_ok = cell is not None and cell.completed == "ok"
            history = histories.get(key)
            if history is not None:
                cell = fold_cell(history)
            else:
                if cell is None:
                    cell = CellFold()
                for fact in runs:
                    cell.add(fact)
            self.cells[key] = touched.cells[key] = cell
            fold.cell_changed(key, was_ok, cell)
        return touched


def group_by_cell(facts: Iterable[Fact]) -> dict[CellKey, list[Fact]]:
    """Return the runs among the facts by cell, each in the canonical order."""
    groups: dict[CellKey, list[Fact]] = {}
    for fact in facts:
        key = cell_key(fact)
        if key is not None:
            groups.setdefault(key, []).append(fact)
    for runs in groups.values():
        runs.sort(key=fact_key)
    return groups


def fold_all(facts: Iterable[Fact], *, last_received_at: int = 0) -> StudentRecord:
    """Fold all facts of one student and course from nothing: what every other way must agree with.

    Args:
        facts: in any order, each once.
        last_received_at: when the API received the newest of them, milliseconds since the epoch.
    """
    ordered = sorted(facts, key=fact_key)
    record = StudentRecord()
    record.apply(ordered, group_by_cell(ordered), {}, last_received_at=last_received_at)
    return record
