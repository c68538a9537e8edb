"""Cells: one student's, and a course's taken together.

Who sends events decides how many cells and runs there are, so every answer has an end.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from cell_monitor_core.derivation import Thresholds, stuck_cell
from cell_monitor_core.derivation.cells import CellFold
from cell_monitor_core.derivation.facts import NO_KEY, Key, rfc3339
from cell_monitor_core.derivation.notebook_names import NotebookNames
from cell_monitor_core.derivation.students import StudentFold
from cell_monitor_core.publications import CellRef, NotebookRef
from cell_monitor_core.storage.postgres import student_queries, student_states
from cell_monitor_core.storage.postgres.memberships import is_student
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["CourseCell", "StudentCell", "course_cells", "student_cells"]

MAX_CELLS: Final = 2000
MEDIAN_WITHIN: Final = timedelta(days=30)
MEDIAN_RUNS: Final = 1000

_fold = msgspec.json.Decoder(CellFold)


class StudentCell(msgspec.Struct, frozen=True):
    """One student's runs of one cell.

    Attributes:
        runs: ended runs, failed and aborted ones included.
        last_at: when the newest run ended, RFC 3339.
        error_streak: failed runs since the last success; aborted runs do not count.
        cell_removed: the cell is gone, as far as that is known: its name may be another cell's now.
    """

    notebook: NotebookRef
    cell: CellRef
    runs: int
    errors: int
    aborted: int
    last_status: Literal["ok", "error", "aborted"] | None
    last_at: str | None
    error_streak: int
    cell_removed: bool = False


async def student_cells(executor: Executor, course_id: str, person_id: UUID) -> list[StudentCell]:
    """Return the cells that a student ran or began to run, by notebook and position; the 2,000 that ran last.

    Notebooks and cells are called as they are in the student's row. Nothing where the person is no student of the course now.
    """
    rows = await executor.fetch(
        "SELECT notebook_id, cell_id, fold::text AS fold FROM cell_states c "  # noqa: S608
        f"WHERE course_id = $1 AND person_id = $2 AND {is_student('c')} "
        "ORDER BY (fold->>'last_at')::bigint DESC NULLS LAST, notebook_id, cell_id LIMIT $3",
        course_id,
        person_id,
        MAX_CELLS,
    )
    student = await student_states.load_fold(executor, course_id, person_id)
    cells = [_student_cell(student, row) for row in rows]
    return sorted(cells, key=lambda cell: (cell.notebook.path, cell.cell.index, cell.cell.source_id))


def _student_cell(student: StudentFold, row: Any) -> StudentCell:
    fold = _fold.decode(row["fold"])
    notebook_id = row["notebook_id"]
    cell = fold.cell or CellRef(row["cell_id"], 0)
    return StudentCell(
        notebook=student.called(fold.notebook or NotebookRef(notebook_id, "")),
        cell=student.described(notebook_id, cell, fold.last),
        runs=fold.runs,
        errors=fold.errors,
        aborted=fold.aborted,
        last_status=fold.last_status,
        last_at=None if fold.last_at is None else rfc3339(fold.last_at),
        error_streak=fold.streak,
        cell_removed=student.removed_since(fold.last, notebook_id, cell),
    )


class CourseCell(msgspec.Struct, frozen=True):
    """All enrolled students' runs of one cell.

    Attributes:
        students: how many ran it.
        students_ok: of them, those whose newest completed run succeeded.
        students_stuck: those whose failed runs in a row of this cell are a reason for attention (``derivation.attention``).
        median_duration_ms: over the runs of the last 30 days whose duration is known, of each student the newest 1,000;
            None if there is none.
    """

    notebook: NotebookRef
    cell: CellRef
    students: int
    runs: int
    errors: int
    students_ok: int
    students_stuck: int
    median_duration_ms: float | None


_CELLS: Final = """
SELECT notebook_id, cell_id, count(*) AS students,
       sum(coalesce((fold->>'runs')::bigint, 0))::bigint AS runs,
       sum(coalesce((fold->>'errors')::bigint, 0))::bigint AS errors,
       count(*) FILTER (WHERE fold->>'completed' = 'ok') AS students_ok,
       -- As the newest run among all students named them.
       (array_agg(fold->'notebook' ORDER BY (fold->>'last_at')::bigint DESC NULLS LAST))[1]::text AS notebook,
       (array_agg(fold->'cell' ORDER BY (fold->>'last_at')::bigint DESC NULLS LAST))[1]::text AS cell
FROM cell_states JOIN course_members USING (course_id, person_id)
WHERE course_id = $1 AND role = 'student'
GROUP BY notebook_id, cell_id
-- One student's cells, however many, do not push out those of the class.
ORDER BY count(*) DESC, notebook_id, cell_id LIMIT $2
"""

_MEDIANS: Final = """
SELECT notebook_id, cell_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) AS median
FROM course_members m CROSS JOIN LATERAL (
    SELECT e.notebook_id, e.cell_id, e.duration_ms FROM executions e
    WHERE e.course_id = m.course_id AND e.person_id = m.person_id AND e.duration_ms IS NOT NULL
      AND e.happened_at > now() - $2::interval
    ORDER BY e.happened_at DESC, e.event_id DESC LIMIT $3
) newest
WHERE m.course_id = $1 AND m.role = 'student'
GROUP BY notebook_id, cell_id
"""

# What each student's notebooks are called.
_NAMES: Final = """
SELECT s.fold->>'notebook_names' AS names
FROM student_states s JOIN course_members m USING (course_id, person_id)
WHERE s.course_id = $1 AND m.role = 'student' AND s.fold ? 'notebook_names'
"""

_names = msgspec.json.Decoder(NotebookNames)
_notebook = msgspec.json.Decoder(NotebookRef)
_cell = msgspec.json.Decoder(CellRef)


async def course_cells(
    executor: Executor, course_id: str, *, thresholds: Thresholds, now: datetime
) -> list[CourseCell]:
    """Return the cells that a course's students ran, by notebook and position; the 2,000 that most students ran.

    Args:
        executor: pool or connection.
        course_id: the course.
        thresholds: of the course.
        now: the server's time: who has left is not stuck.
    """
    rows = await executor.fetch(_CELLS, course_id, MAX_CELLS)
    found = await executor.fetch(_MEDIANS, course_id, MEDIAN_WITHIN, MEDIAN_RUNS)
    names = _class_names(await executor.fetch(_NAMES, course_id))
    states = await student_queries.course_students(executor, None, course_id)
    stuck = Counter(stuck_cell(state, thresholds, now) for state in states)
    medians = {(row["notebook_id"], row["cell_id"]): row["median"] for row in found}
    cells = [
        CourseCell(
            notebook=names.get(row["notebook_id"]) or _notebook_of(row),
            cell=_cell.decode(row["cell"]) if row["cell"] else CellRef(row["cell_id"], 0),
            students=row["students"],
            runs=row["runs"],
            errors=row["errors"],
            students_ok=row["students_ok"],
            students_stuck=stuck[row["notebook_id"], row["cell_id"]],
            median_duration_ms=medians.get((row["notebook_id"], row["cell_id"])),
        )
        for row in rows
    ]
    return sorted(cells, key=lambda cell: (cell.notebook.path, cell.cell.index, cell.cell.source_id))


def _notebook_of(row: Any) -> NotebookRef:
    return _notebook.decode(row["notebook"]) if row["notebook"] else NotebookRef(row["notebook_id"], "")


def _class_names(rows: list[Any]) -> dict[str, NotebookRef]:
    """Return what most students call each notebook, of several names the newest: one student's renaming is not the class's."""
    counted: dict[str, dict[NotebookRef, tuple[int, Key]]] = {}
    for row in rows:
        for notebook_id, name in _names.decode(row["names"]).items():
            of_notebook = counted.setdefault(notebook_id, {})
            count, newest = of_notebook.get(name.ref, (0, NO_KEY))
            of_notebook[name.ref] = (count + 1, max(newest, name.key))
    return {notebook_id: max(of, key=lambda ref: of[ref]) for notebook_id, of in counted.items()}
