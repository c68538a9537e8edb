"""Derived state computed again from the stored facts, and compared with what is stored.

It can run at the same time as workers: it processes one student at a time, under the student's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.cells import CellFold, CellKey
from cell_monitor_core.derivation.facts import decode_fact
from cell_monitor_core.derivation.help import turns_of_student
from cell_monitor_core.derivation.help_reduction import HelpInput, active_help, expired_until, reduce_help
from cell_monitor_core.derivation.records import StudentRecord, fold_all
from cell_monitor_core.derivation.reduce import Student, StudentKey
from cell_monitor_core.derivation.sessions import SessionFold
from cell_monitor_core.derivation.shown_state import student_state
from cell_monitor_core.derivation.students import StudentFold
from cell_monitor_core.publications import MAX_ERROR_VALUE, HelpRef, StudentState
from cell_monitor_core.storage.postgres import event_rows, help_requests, student_states
from cell_monitor_core.storage.postgres.pool import Connection, store_errors
from cell_monitor_core.storage.postgres.versions import FIRST_VERSION

__all__ = ["RebuildReport", "rebuild", "repair_student"]

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
        changed: (course id, person id) of the students written, whose dashboards should fetch a snapshot.
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
    students: Sequence[StudentKey] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> RebuildReport:
    """Compute all derived state from the facts; compare it and, unless ``check``, write what differs.

    Args:
        pool: connections of a role that may write derived state.
        keyring: reads the messages of help requests.
        check: only compare.
        course_id: one course; all by default.
        students: these alone; all by default.
        on_progress: called with (students done, students in all).

    Raises:
        StoreUnavailable: PostgreSQL is unavailable; students corrected so far stay corrected.
    """
    report = RebuildReport()
    with store_errors():
        if students is None:
            students = await _students_of(pool, course_id)
        report.courses = len({course for course, _ in students})
        if on_progress is not None:
            on_progress(0, len(students))
        for done, student in enumerate(students, 1):
            if not check:
                await student_states.ensure_students(pool, [student])
            async with pool.acquire() as connection, connection.transaction():
                await _Student(keyring, student, report, check=check).run(connection)
            report.students += 1
            if on_progress is not None:
                on_progress(done, len(students))
    return report


async def _students_of(pool: asyncpg.Pool[asyncpg.Record], course_id: str | None) -> list[StudentKey]:
    rows = await pool.fetch(
        """
        SELECT course_id, person_id FROM student_states WHERE $1::text IS NULL OR course_id = $1
        UNION
        SELECT e.course_id, e.person_id FROM events e JOIN courses USING (course_id)
        WHERE e.test_id IS NULL AND ($1::text IS NULL OR e.course_id = $1)
        ORDER BY 1, 2
        """,
        course_id,
    )
    return [(row["course_id"], row["person_id"]) for row in rows]


async def repair_student(connection: Connection, keyring: KeyRing, student: StudentKey) -> None:
    """Derive one student's state from the stored facts and write what differs.

    Args:
        connection: in a transaction, which may have changed facts; takes the student's lock.
        keyring: reads and writes texts.
        student: one that has a row.
    """
    await _Student(keyring, student, RebuildReport(), check=False).run(connection)


class _Student:
    """One student's rebuild."""

    def __init__(self, keyring: KeyRing, key: StudentKey, report: RebuildReport, *, check: bool) -> None:
        self._keyring = keyring
        self._key = key
        self._report = report
        self._check = check
        self._found = 0

    def _note(self, what: str) -> None:
        self._found += 1
        self._report.note(f"course {self._key[0]}, student {self._key[1]}: {what}")

    async def run(self, connection: Connection) -> None:
        row = await connection.fetchrow(
            "SELECT version, fold::text, state::text, error_text_enc FROM student_states "
            "WHERE course_id = $1 AND person_id = $2 FOR UPDATE",
            *self._key,
        )
        events = await connection.fetch(
            "SELECT fact::text, (extract(epoch FROM received_at) * 1000)::bigint FROM events "
            "WHERE course_id = $1 AND person_id = $2 AND test_id IS NULL",
            *self._key,
        )
        self._report.events += len(events)
        received = max((at for _, at in events), default=0)
        record = fold_all([decode_fact(fact) for fact, _ in events], last_received_at=received)
        record.fold.help, record.fold.help_expired_at = await self._help(connection)
        cells = await self._cells(connection, record)
        sessions = await self._sessions(connection, record)
        student = self._student(row, record.fold)
        if self._check or not self._found:
            return
        self._report.repaired += self._found
        self._report.changed.append(self._key)
        student.error_text = await self._error_text(connection, student.state)
        await self._write(connection, cells, sessions, student)

    async def _help(self, connection: Connection) -> tuple[HelpRef | None, int]:
        inputs = await help_requests.load_facts(connection, [self._key])
        given = inputs[self._key]
        wanted = set(turns_of_student(given.facts))
        await help_requests.load_requests(connection, self._keyring, inputs, {self._key: wanted})
        given.messages = await self._messages(connection, wanted - given.stored.keys())
        first_version = await connection.fetchval(f"SELECT {FIRST_VERSION}")
        changed = reduce_help(self._key, given, wanted, first_version)
        for stored in changed.values():
            request = stored.request
            self._note(f"help request {request.request_id} is {request.outcome.status} by its facts")
        stray = await self._stray(connection, given, wanted)
        if not self._check:
            await help_requests.save_requests(connection, self._keyring, list(changed.values()))
            await connection.execute("DELETE FROM help_requests WHERE request_id = ANY($1::uuid[])", stray)
        return active_help(given, changed), expired_until(given)

    async def _stray(self, connection: Connection, given: HelpInput, wanted: set[str]) -> list[UUID]:
        """Note requests that no event made, and leave them out of what is known."""
        rows = await connection.fetch(
            "SELECT request_id, event_id::text FROM help_requests "
            "WHERE course_id = $1 AND person_id = $2 AND NOT event_id::text = ANY($3::text[])",
            *self._key,
            list(wanted),
        )
        for request_id, event_id in rows:
            self._note(f"help request {request_id} has no event")
            given.stored.pop(event_id, None)
        return [request_id for request_id, _ in rows]

    async def _messages(self, connection: Connection, event_ids: set[str]) -> dict[str, str]:
        """Read the messages of requests from their payloads: one whose row is gone has it nowhere else."""
        events = await self._payloads(connection, [UUID(event_id) for event_id in event_ids])
        return {event_id: event.data.message for event_id, event in events.items() if event.data.message}

    async def _payloads(self, connection: Connection, event_ids: list[UUID]) -> dict[str, _Event]:
        keys = [(self._key[1], event_id) for event_id in event_ids]
        found = await event_rows.payloads_of(connection, self._keyring, keys)
        return {str(event_id): msgspec.json.decode(payload, type=_Event) for (_, event_id), payload in found.items()}

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

    def _student(self, row: Any, fold: StudentFold) -> Student:
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
        return Student(version + 1, fold, msgspec.structs.replace(expected, version=version + 1))

    async def _error_text(self, connection: Connection, state: StudentState) -> str | None:
        """Return the text of the shown error as far as its payload is there."""
        run = state.last_execution
        if run is None or run.error is None:
            return None
        for event in (await self._payloads(connection, [UUID(run.event_id)])).values():
            return None if event.data.error is None else event.data.error.value[:MAX_ERROR_VALUE]
        return None

    async def _write(
        self,
        connection: Connection,
        cells: dict[CellKey, CellFold | None],
        sessions: dict[str, SessionFold | None],
        student: Student,
    ) -> None:
        await student_states.save_states(
            connection,
            self._keyring,
            {self._key: student},
            {(self._key, cell): fold for cell, fold in cells.items() if fold is not None},
            {(self._key, session): fold for session, fold in sessions.items() if fold is not None},
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


class _Error(msgspec.Struct):
    value: str = ""


class _Data(msgspec.Struct):
    message: str | None = None
    error: _Error | None = None


class _Event(msgspec.Struct):
    """The texts of an event."""

    data: _Data


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
