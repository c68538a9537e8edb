"""Derived state computed anew from the stored facts, and compared with what is stored.

Works beside running workers: one student at a time, under the student's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation import (
    CellFold,
    CellKey,
    SessionFold,
    StudentFold,
    StudentRecord,
    decode_fact,
    fold_all,
    student_state,
)
from cell_monitor_core.publications import HelpRef, StudentState
from cell_monitor_core.storage.postgres import help_states, states
from cell_monitor_core.storage.postgres.event_rows import PAYLOAD, payload_row
from cell_monitor_core.storage.postgres.help_states import DerivedRequest
from cell_monitor_core.storage.postgres.pool import Connection, store_errors
from cell_monitor_core.storage.postgres.states import LockedStudent, StudentKey

__all__ = ["RebuildReport", "rebuild"]

MAX_DIFFERENCES: Final = 100

_MISSING: Final = object()


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild found.

    Attributes:
        courses: number of courses looked at; likewise ``students``, ``events``.
        difference_count: stored values that the facts contradict.
        differences: the first 100 of them, in words, without names of people.
        repaired: values written; 0 after a mere check.
        changed: (course id, person id) of the students written, whose dashboards should fetch anew.
    """

    courses: int = 0
    students: int = 0
    events: int = 0
    difference_count: int = 0
    differences: list[str] = field(default_factory=list)
    repaired: int = 0
    changed: list[StudentKey] = field(default_factory=list)

    def note(self, difference: str) -> None:
        """Count a difference."""
        self.difference_count += 1
        if len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(difference)


async def rebuild(
    pool: asyncpg.Pool[asyncpg.Record],
    keyring: KeyRing,
    *,
    check: bool,
    course_id: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> RebuildReport:
    """Compute all derived state from the facts; compare it and, unless ``check``, write what differs.

    Args:
        pool: connections of a role that may write derived state.
        keyring: reads the messages of help requests.
        check: only compare.
        course_id: one course; all by default.
        on_progress: called with (students done, students in all).

    Raises:
        StoreUnavailable: PostgreSQL is away; students done so far stay mended.
    """
    report = RebuildReport()
    with store_errors():
        students = [
            (row["course_id"], row["person_id"])
            for row in await pool.fetch(
                """
                SELECT course_id, person_id FROM student_states WHERE $1::text IS NULL OR course_id = $1
                UNION
                SELECT e.course_id, e.person_id FROM events e JOIN courses USING (course_id)
                WHERE e.test_id IS NULL AND ($1::text IS NULL OR e.course_id = $1)
                ORDER BY 1, 2
                """,
                course_id,
            )
        ]
        report.courses = len({course for course, _ in students})
        if on_progress is not None:
            on_progress(0, len(students))
        for done, student in enumerate(students, 1):
            await _Student(pool, keyring, student, report, check=check).run()
            report.students += 1
            if on_progress is not None:
                on_progress(done, len(students))
    return report


class _Student:
    """One student's rebuild."""

    def __init__(
        self,
        pool: asyncpg.Pool[asyncpg.Record],
        keyring: KeyRing,
        key: StudentKey,
        report: RebuildReport,
        *,
        check: bool,
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._key = key
        self._report = report
        self._check = check
        self._found = 0

    def _note(self, what: str) -> None:
        self._found += 1
        self._report.note(f"course {self._key[0]}, student {self._key[1]}: {what}")

    async def run(self) -> None:
        if not self._check:
            await states.ensure_students(self._pool, [self._key])
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                "SELECT version, fold::text, state::text FROM student_states "
                "WHERE course_id = $1 AND person_id = $2 FOR UPDATE",
                *self._key,
            )
            events = await connection.fetch(
                "SELECT fact::text, (extract(epoch FROM received_at) * 1000)::bigint FROM events "
                "WHERE course_id = $1 AND person_id = $2 AND test_id IS NULL ORDER BY occurred_at, event_id",
                *self._key,
            )
            self._report.events += len(events)
            record = fold_all([decode_fact(fact) for fact, _ in events], heard=max((at for _, at in events), default=0))
            record.fold.help = await self._help(connection)
            cells = await self._cells(connection, record)
            sessions = await self._sessions(connection, record)
            student = self._student(row, record.fold)
            if self._check or not self._found:
                return
            self._report.repaired += self._found
            self._report.changed.append(self._key)
            await self._write(connection, cells, sessions, student)

    async def _help(self, connection: Connection) -> HelpRef | None:
        rows = await connection.fetch(
            """
            SELECT event_id FROM events
            WHERE course_id = $1 AND person_id = $2 AND type = 'help_requested' AND test_id IS NULL
            """,
            *self._key,
        )
        planned = await help_states.plan_requests(connection, [row["event_id"] for row in rows])
        differing = [request for request in planned if request.differs]
        for request in differing:
            self._note(f"help request {request.request_id} is {request.outcome.status} by its facts")
        stray = await connection.fetch(
            "SELECT request_id FROM help_requests "
            "WHERE course_id = $1 AND person_id = $2 AND NOT request_id = ANY($3::uuid[])",
            *self._key,
            [request.request_id for request in planned],
        )
        for (request_id,) in stray:
            self._note(f"help request {request_id} has no event")
        if not self._check:
            if differing:
                await help_states.save_requests(
                    connection, self._keyring, differing, await self._messages(connection, differing)
                )
            await connection.execute(
                "DELETE FROM help_requests WHERE request_id = ANY($1::uuid[])", [row["request_id"] for row in stray]
            )
        active = [request for request in planned if request.outcome.active]
        if not active:
            return None
        newest = max(active, key=lambda request: (request.fact.at, request.fact.id))
        return help_states.help_ref(newest)

    async def _messages(self, connection: Connection, requests: list[DerivedRequest]) -> dict[UUID, str]:
        """Read the messages of requests from their payloads: one whose row is gone has it nowhere else."""
        rows = await connection.fetch(
            "SELECT event_id, payload_enc FROM events WHERE event_id = ANY($1::uuid[])",
            [request.request_id for request in requests],
        )
        messages = {}
        for event_id, payload in rows:
            plain = self._keyring.decrypt(payload, context=PAYLOAD, row=payload_row(self._key[1], event_id))
            event = msgspec.json.decode(plain, type=_HelpEvent)
            if event.data.message:
                messages[event_id] = event.data.message
        return messages

    async def _cells(self, connection: Connection, record: StudentRecord) -> dict[CellKey, CellFold | None]:
        """Return the cells to be written; None for one that no fact knows."""
        rows = await connection.fetch(
            "SELECT notebook_id, cell_id, fold::text FROM cell_states WHERE course_id = $1 AND person_id = $2",
            *self._key,
        )
        stored = {(notebook, cell): _decoded(text, CellFold) for notebook, cell, text in rows}
        wrong: dict[CellKey, CellFold | None] = {}
        for cell in record.cells.keys() | stored.keys():
            expected = record.cells.get(cell)
            if stored.get(cell, _MISSING) != (_MISSING if expected is None else expected):
                self._note(f"cell {cell[1]} of notebook {cell[0]}")
                wrong[cell] = expected
        return wrong

    async def _sessions(self, connection: Connection, record: StudentRecord) -> dict[str, SessionFold | None]:
        """Return the sessions to be written; None for one that no fact knows."""
        rows = await connection.fetch(
            "SELECT session_id::text, fold::text FROM session_states WHERE course_id = $1 AND person_id = $2",
            *self._key,
        )
        stored = {session: _decoded(text, SessionFold) for session, text in rows}
        wrong: dict[str, SessionFold | None] = {}
        for session in record.sessions.keys() | stored.keys():
            expected = record.sessions.get(session)
            if stored.get(session, _MISSING) != (_MISSING if expected is None else expected):
                self._note(f"session {session}")
                wrong[session] = expected
        return wrong

    def _student(self, row: Any, fold: StudentFold) -> LockedStudent:
        """Compare the student's own row; return it as it should be, with its next version."""
        version = 0 if row is None else row["version"]
        stored_fold = None if row is None else _decoded(row["fold"], StudentFold)
        stored_state = None if row is None else _decoded(row["state"], StudentState)
        expected = student_state(str(self._key[1]), version, fold)
        if row is None:
            self._note("the row is missing")
        else:
            if stored_fold != fold:
                self._note("the fold")
            if stored_state != expected and not (stored_state is None and row["state"] == "{}" and version == 0):
                self._note(f"what is shown{_fields(stored_state, expected)}")
        return LockedStudent(version + 1, fold, msgspec.structs.replace(expected, version=version + 1))

    async def _write(
        self,
        connection: Connection,
        cells: dict[CellKey, CellFold | None],
        sessions: dict[str, SessionFold | None],
        student: LockedStudent,
    ) -> None:
        await states.save_cells(
            connection, {(self._key, cell): fold for cell, fold in cells.items() if fold is not None}
        )
        await states.save_sessions(
            connection, {(self._key, session): fold for session, fold in sessions.items() if fold is not None}
        )
        gone_cells = [cell for cell, fold in cells.items() if fold is None]
        await connection.execute(
            "DELETE FROM cell_states c USING unnest($3::text[], $4::text[]) AS u(notebook_id, cell_id) "
            "WHERE c.course_id = $1 AND c.person_id = $2 AND c.notebook_id = u.notebook_id AND c.cell_id = u.cell_id",
            *self._key,
            [notebook for notebook, _ in gone_cells],
            [cell for _, cell in gone_cells],
        )
        await connection.execute(
            "DELETE FROM session_states WHERE course_id = $1 AND person_id = $2 AND session_id = ANY($3::uuid[])",
            *self._key,
            [session for session, fold in sessions.items() if fold is None],
        )
        await states.save_students(connection, {self._key: student})


class _HelpData(msgspec.Struct):
    message: str | None = None


class _HelpEvent(msgspec.Struct):
    data: _HelpData


def _decoded(text: str, type_: type[Any]) -> Any:
    """Return a stored value, None where it cannot be read: that is a difference too."""
    try:
        return msgspec.json.decode(text, type=type_)
    except msgspec.DecodeError:
        return None


def _fields(stored: StudentState | None, expected: StudentState) -> str:
    """Name the fields that differ; their values may be personal."""
    if stored is None:
        return ""
    names = [name for name in expected.__struct_fields__ if getattr(stored, name) != getattr(expected, name)]
    return f" ({', '.join(names)})"
