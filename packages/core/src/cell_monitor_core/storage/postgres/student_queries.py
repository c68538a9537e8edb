"""What a course page shows: its students' rows, its counters, one student's cells and runs, its cells.

Only what the worker derived is read here; nothing is derived anew.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.publications import CellRef, CourseState, NotebookRef, StudentState
from cell_monitor_core.storage.postgres.event_rows import PAYLOAD, payload_row
from cell_monitor_core.storage.postgres.pool import Executor
from cell_monitor_core.storage.postgres.timestamps import to_text

__all__ = ["Run", "RunError", "RunPage", "course_counters", "course_students", "student", "student_runs"]

MAX_RUNS: Final = 200

_state = msgspec.json.Decoder(StudentState)


def _student(row: Any) -> StudentState:
    text = row["state"]
    if text is None or text == "{}":
        return StudentState(student_id=str(row["person_id"]), version=0, status="waiting")
    return _state.decode(text)


_STUDENTS = """
SELECT m.person_id, s.state::text AS state
FROM memberships m LEFT JOIN student_states s USING (course_id, person_id)
WHERE m.course_id = $1 AND m.role = 'student'
"""


async def course_students(executor: Executor, course_id: str) -> list[StudentState]:
    """Return the row of every enrolled student, those of whom nothing was seen included, in the order of their ids."""
    return [_student(row) for row in await executor.fetch(f"{_STUDENTS} ORDER BY m.person_id", course_id)]


async def student(executor: Executor, course_id: str, person_id: UUID) -> StudentState | None:
    """Return one enrolled student's row, None if the person is no student of the course."""
    row = await executor.fetchrow(f"{_STUDENTS} AND m.person_id = $2", course_id, person_id)
    return None if row is None else _student(row)


async def course_counters(executor: Executor, course_id: str) -> CourseState:
    """Return a course's counters: sums over its enrolled students, from one snapshot of the database.

    ``started`` counts students of whom anything was seen; ``help_open`` requests open or claimed.
    """
    row = await executor.fetchrow(
        """
        SELECT coalesce((SELECT version FROM course_versions WHERE course_id = $1), 0) AS version,
               count(*) AS students,
               count(*) FILTER (WHERE coalesce(s.state->>'status', 'waiting') <> 'waiting') AS started,
               coalesce(sum((s.state->>'runs')::bigint), 0)::bigint AS runs,
               coalesce(sum((s.state->>'errors')::bigint), 0)::bigint AS errors,
               (SELECT count(*) FROM help_requests h
                 WHERE h.course_id = $1 AND h.status IN ('open', 'claimed') AND h.requested_at IS NOT NULL
               ) AS help_open
        FROM memberships m LEFT JOIN student_states s USING (course_id, person_id)
        WHERE m.course_id = $1 AND m.role = 'student'
        """,
        course_id,
    )
    assert row is not None
    return CourseState(course_id=course_id, **row)


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


class _Payload(msgspec.Struct, frozen=True):
    """The parts of a ``cell_executed`` event that a run shows; all else is passed over."""

    notebook: NotebookRef
    cell: CellRef
    data: _Data


_payload = msgspec.json.Decoder(_Payload)


class Run(msgspec.Struct, frozen=True):
    """One run of a cell as its sender reported it; ``at`` RFC 3339, ``duration_ms`` milliseconds."""

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


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, newest first; ``next_before`` asks for the page after this one, None after the last."""

    runs: list[Run]
    next_before: str | None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _encode_cursor(at: datetime, event_id: UUID) -> str:
    micros = (at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(micros.to_bytes(8, "big", signed=True) + event_id.bytes).decode()


def _decode_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        if len(raw) != 24:
            raise ValueError
        at = _EPOCH + timedelta(microseconds=int.from_bytes(raw[:8], "big", signed=True))
    except (binascii.Error, ValueError, OverflowError):
        raise ValueError("not a cursor: pass on next_before of the page before, unchanged") from None
    return at, UUID(bytes=raw[8:])


RUNS_SQL: Final = """
SELECT event_id, occurred_at, status, duration_ms, execution_count, payload_enc
FROM executions
WHERE course_id = $1 AND person_id = $2 AND (occurred_at, event_id) < ($3, $4)
ORDER BY occurred_at DESC, event_id DESC LIMIT $5
"""
_NEWEST: Final = (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=2**128 - 1))


async def student_runs(
    executor: Executor, keyring: KeyRing, course_id: str, person_id: UUID, *, before: str | None = None, limit: int = 50
) -> RunPage:
    """Return a page of one student's runs in a course, newest first.

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
    at, event_id = _NEWEST if before is None else _decode_cursor(before)
    limit = max(1, min(limit, MAX_RUNS))
    rows = await executor.fetch(RUNS_SQL, course_id, person_id, at, event_id, limit + 1)
    page = rows[:limit]
    cursor = _encode_cursor(page[-1]["occurred_at"], page[-1]["event_id"]) if len(rows) > limit else None
    return RunPage([_run(keyring, person_id, row) for row in page], cursor)


def _run(keyring: KeyRing, person_id: UUID, row: Any) -> Run:
    key = payload_row(person_id, row["event_id"])
    payload = _payload.decode(keyring.decrypt(row["payload_enc"], context=PAYLOAD, row=key))
    data = payload.data
    return Run(
        event_id=str(row["event_id"]),
        at=to_text(row["occurred_at"]),
        notebook=payload.notebook,
        cell=payload.cell,
        status=row["status"],
        duration_ms=row["duration_ms"],
        execution_count=row["execution_count"],
        code=data.code,
        code_truncated=bool(data.code_truncated),
        outputs=data.outputs,
        outputs_truncated=bool(data.outputs_truncated),
        error=data.error,
    )
