"""What a course page shows of its students: their rows, and one student's runs.

Only what the worker derived is read here; nothing is derived again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.facts import decode_fact, fact_key
from cell_monitor_core.derivation.students import StudentFold
from cell_monitor_core.publications import CellRef, NotebookRef, StudentState
from cell_monitor_core.storage.postgres import student_states
from cell_monitor_core.storage.postgres.event_rows import PAYLOAD, payload_row
from cell_monitor_core.storage.postgres.memberships import is_student
from cell_monitor_core.storage.postgres.page_cursors import PageCursor
from cell_monitor_core.storage.postgres.pool import Executor
from cell_monitor_core.timestamps import to_text

__all__ = ["Run", "RunError", "RunPage", "course_students", "student", "student_runs"]

MAX_RUNS: Final = 200

_STUDENTS: Final = f"""
SELECT m.person_id AS member_id, {student_states.SHOWN}
FROM course_members m LEFT JOIN student_states s USING (course_id, person_id)
WHERE m.course_id = $1 AND m.role = 'student'
"""  # noqa: S608


def _student(keyring: KeyRing | None, row: Any) -> StudentState:
    if row["state"] is None:
        return StudentState(student_id=str(row["member_id"]), version=0, status="waiting")
    return student_states.shown_state(keyring, row)


async def course_students(executor: Executor, keyring: KeyRing | None, course_id: str) -> list[StudentState]:
    """Return the row of every enrolled student, those of whom nothing was seen included, in the order of their ids.

    Args:
        executor: pool or connection.
        keyring: to read errors' texts; without it the states have none.
        course_id: the course.
    """
    rows = await executor.fetch(f"{_STUDENTS} ORDER BY m.person_id", course_id)
    return [_student(keyring, row) for row in rows]


async def student(executor: Executor, keyring: KeyRing, course_id: str, person_id: UUID) -> StudentState | None:
    """Return one enrolled student's row, None if the person is no student of the course."""
    row = await executor.fetchrow(f"{_STUDENTS} AND m.person_id = $2", course_id, person_id)
    return None if row is None else _student(keyring, row)


class RunError(msgspec.Struct, frozen=True):
    """A run's error as its sender reported it."""

    name: str
    value: str = ""
    traceback: str = ""
    truncated: bool | None = None


class _Data(msgspec.Struct, frozen=True):
    code: str = ""
    code_truncated: bool | None = None
    outputs: list[dict[str, Any]] = []
    outputs_truncated: bool | None = None
    error: RunError | None = None
    error_expected: bool | None = None


class _Payload(msgspec.Struct, frozen=True):
    """The parts of a ``cell_executed`` event that only a person reads; the rest is in the fact."""

    data: _Data


_payload = msgspec.json.Decoder(_Payload)


class Run(msgspec.Struct, frozen=True):
    """One run of a cell as its sender reported it; ``at`` RFC 3339, ``duration_ms`` milliseconds.

    Attributes:
        status: how the run counts: with ``error_expected`` an error is ``ok``.
        notebook: as it is called now; likewise ``cell``.
        cell_removed: the cell is gone, as far as that is known: its name may be another cell's now.
        error_expected: the author says that the cell may fail; false once the payload's time is over.
        content: ``deleted`` once the payload's time is over: then code, outputs and the error's text are empty.
    """

    event_id: str
    at: str
    notebook: NotebookRef
    cell: CellRef
    status: str
    duration_ms: int | None
    execution_count: int | None
    code: str
    code_truncated: bool
    outputs: list[dict[str, Any]]
    outputs_truncated: bool
    error: RunError | None
    error_expected: bool = False
    content: Literal["available", "deleted"] = "available"
    cell_removed: bool = False


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, newest first; ``next_before`` asks for the page after this one, None after the last."""

    runs: list[Run]
    next_before: str | None


_CURSOR: Final = PageCursor(numbers=1)

RUNS_SQL: Final = f"""
SELECT e.event_id, e.happened_at, e.seq, e.status, e.fact::text AS fact, p.payload_enc
FROM events e LEFT JOIN event_payloads p
     ON p.person_id = e.person_id AND p.event_id = e.event_id AND p.stored_at = e.stored_at
WHERE e.type = 'cell_executed' AND e.test_id IS NULL
  AND e.course_id = $1 AND e.person_id = $2 AND (e.happened_at, e.seq, e.event_id) < ($3, $4, $5) AND {is_student("e")}
ORDER BY e.happened_at DESC, e.seq DESC, e.event_id DESC LIMIT $6
"""  # noqa: S608
_NEWEST: Final = (datetime(9999, 1, 1, tzinfo=UTC), 2**63 - 1, UUID(int=2**128 - 1))


async def student_runs(
    executor: Executor, keyring: KeyRing, course_id: str, person_id: UUID, *, before: str | None = None, limit: int = 50
) -> RunPage:
    """Return a page of one student's runs in a course, newest first; none where the person is no student of it now.

    Args:
        executor: pool or connection.
        keyring: to read the payloads.
        course_id: the course; runs in other courses are not seen.
        person_id: the student.
        before: ``next_before`` of the page before.
        limit: at most this many, 200 at most.

    Raises:
        ValueError: ``before`` is not a cursor.
    """
    after = _NEWEST if before is None else _CURSOR.decode(before)
    limit = max(1, min(limit, MAX_RUNS))
    rows = await executor.fetch(RUNS_SQL, course_id, person_id, *after, limit + 1)
    page = rows[:limit]
    last = page[-1] if len(rows) > limit else None
    cursor = None if last is None else _CURSOR.encode((last["happened_at"], last["seq"], last["event_id"]))
    fold = await student_states.load_fold(executor, course_id, person_id)
    return RunPage([_run(keyring, person_id, fold, row) for row in page], cursor)


def _run(keyring: KeyRing, person_id: UUID, fold: StudentFold, row: Any) -> Run:
    fact = decode_fact(row["fact"])
    at = fact_key(fact)
    notebook, cell = fact.notebook or NotebookRef("", ""), fact.cell or CellRef("", 0)
    if row["payload_enc"] is None:
        data = _Data(error=None if fact.error is None else RunError(fact.error.name))
    else:
        key = payload_row(person_id, row["event_id"])
        data = _payload.decode(keyring.decrypt(row["payload_enc"], context=PAYLOAD, row=key)).data
    return Run(
        event_id=str(row["event_id"]),
        at=to_text(row["happened_at"]),
        notebook=fold.called(notebook),
        cell=fold.described(notebook.id, cell, at),
        status=row["status"],
        duration_ms=fact.duration_ms,
        execution_count=fact.execution_count,
        code=data.code,
        code_truncated=bool(data.code_truncated),
        outputs=data.outputs,
        outputs_truncated=bool(data.outputs_truncated),
        error=data.error,
        error_expected=bool(data.error_expected),
        content="deleted" if row["payload_enc"] is None else "available",
        cell_removed=fold.removed_since(at, notebook.id, cell),
    )
