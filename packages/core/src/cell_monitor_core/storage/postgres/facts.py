"""Facts and derived state in one transaction.

A batch costs a constant number of statements, however many students it names. Duplicates change nothing, and still
answer with the absolute states of their students: the worker that stored the first copy may have died before it could
publish them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation import (
    CellKey,
    Fact,
    FactError,
    StudentRecord,
    group_by_cell,
    moment,
    read_event,
)
from cell_monitor_core.publications import CourseState, HelpState, StudentState
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import AppliedBatch, StoreUnavailable
from cell_monitor_core.storage.postgres import help_requests, help_states, states
from cell_monitor_core.storage.postgres.event_rows import FactRow, insert_facts
from cell_monitor_core.storage.postgres.pool import Connection, is_row_fault, store_errors
from cell_monitor_core.storage.postgres.states import LockedStudent, StudentKey

__all__ = ["PostgresFactStore"]

_log = structlog.get_logger(__name__)

_KNOWN_STUDENTS: Final = 100_000
_MAX_RECEIVED_AT: Final = 253_402_300_799_000
"""The end of the year 9999 in milliseconds, the last that a datetime holds."""


@dataclass(slots=True)
class _Result:
    """What transactions did so far; of each thing the newest state."""

    stored: int = 0
    duplicates: int = 0
    students: dict[str, dict[str, StudentState]] = field(default_factory=dict)
    help: dict[str, dict[str, HelpState]] = field(default_factory=dict)
    courses: dict[str, CourseState] = field(default_factory=dict)
    failed: list[tuple[StreamRecord, str]] = field(default_factory=list)

    def batch(self) -> AppliedBatch:
        return AppliedBatch(
            stored=self.stored,
            duplicates=self.duplicates,
            students={course: list(found.values()) for course, found in self.students.items()},
            help={course: list(found.values()) for course, found in self.help.items()},
            courses=list(self.courses.values()),
            failed=self.failed,
        )


class _RowsGoneError(Exception):
    """A student's row that was there is not: the course was deleted, or the student's data."""


class PostgresFactStore:
    """``FactStore`` over PostgreSQL.

    Args:
        pool: see ``create_pool``.
        keyring: encrypts payloads and messages.
        with_counters: also give the courses of the batch their next version and counters. The worker leaves that out
            and asks ``states.refresh_courses`` at its own, slower pace.
    """

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], keyring: KeyRing, *, with_counters: bool = True) -> None:
        self._pool = pool
        self._keyring = keyring
        self._with_counters = with_counters
        self._known: set[StudentKey] = set()
        self._people: dict[bytes, UUID] = {}

    async def apply(self, records: Sequence[StreamRecord]) -> AppliedBatch:
        """Store the facts of a batch and all that derives from them, once, whatever the order and repetition.

        A record that cannot be stored is left out and reported in ``failed`` as (record, ``code: what is wrong``);
        the rest is stored.

        Raises:
            StoreUnavailable: PostgreSQL is away or overloaded. Where the batch had to be split around a faulty record
                a part may be stored; applying all of it again is right in any case.
        """
        result = _Result()
        await self._apply(self._read(records, result), result)
        return result.batch()

    def _read(self, records: Sequence[StreamRecord], result: _Result) -> list[FactRow]:
        """Decode records; of equal ones in the batch the first counts."""
        rows: dict[str, FactRow] = {}
        people = self._people
        if len(people) > _KNOWN_STUDENTS:
            people.clear()
        for record in records:
            person = people.get(record.person_id)
            try:
                if person is None:
                    person = people[record.person_id] = UUID(bytes=record.person_id)
                if not 0 <= record.received_at <= _MAX_RECEIVED_AT:
                    raise FactError("invalid_event", f"received_at {record.received_at} is no time")
                fact, message = read_event(record.event, record.received_at)
            except FactError as error:
                result.failed.append((record, f"{error.reason}: {error}"))
                continue
            except ValueError as error:
                result.failed.append((record, f"invalid_event: {error}"))
                continue
            if fact.id in rows:
                result.duplicates += 1
            else:
                student = None if record.test_id is not None else (record.course_id, person)
                rows[fact.id] = FactRow(record, fact, message, person, student)
        return list(rows.values())

    async def _apply(self, rows: list[FactRow], result: _Result) -> None:
        """Store rows, in halves where the whole cannot be stored."""
        if not rows:
            return
        try:
            with store_errors():
                await self._store(rows, result)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a fault in one record must not stop the others
            if len(rows) > 1:
                middle = len(rows) // 2
                await self._apply(rows[:middle], result)
                await self._apply(rows[middle:], result)
                return
            if not is_row_fault(error):
                _log.exception("fact_not_derived", event_id=rows[0].fact.id)
            result.failed.append((rows[0].record, _reason(error)))

    async def _store(self, rows: list[FactRow], result: _Result) -> None:
        try:
            await self._transaction(rows, result)
        except _RowsGoneError:
            # Either made anew now, or reported as of an unknown course.
            self._known.clear()
            await self._transaction(rows, result)

    async def _transaction(self, rows: list[FactRow], result: _Result) -> None:
        named = sorted({row.student for row in rows if row.student is not None})
        unknown = [student for student in named if student not in self._known]
        if unknown:
            await states.ensure_students(self._pool, unknown)
        batch = _Transaction(self._keyring)
        async with self._pool.acquire() as connection, connection.transaction():
            if named:
                batch.students = await states.lock_students(connection, named)
            missing = [student for student in named if student not in batch.students]
            if any(student in self._known for student in missing):
                raise _RowsGoneError
            gone = set(missing)
            kept = [row for row in rows if row.student not in gone] if gone else rows
            await batch.run(connection, kept)
            if self._with_counters and batch.changed_courses:
                batch.courses = await states.refresh_courses(connection, batch.changed_courses)
        # Committed: from here on nothing fails.
        if len(self._known) > _KNOWN_STUDENTS:
            self._known.clear()
        self._known.update(batch.students)
        result.failed += [
            (row.record, f"unknown_course: there is no course {row.record.course_id!r}")
            for row in rows
            if row.student in gone
        ]
        batch.report(result, len(kept))


def _reason(error: Exception) -> str:
    if is_row_fault(error):
        return f"data_error: PostgreSQL refuses it: {type(error).__name__}"
    if isinstance(error, msgspec.DecodeError):
        return f"state_unreadable: run rebuild, then replay: {error}"
    return f"internal_error: {type(error).__name__}"


class _Transaction:
    """One transaction's work, between the locks and the commit."""

    def __init__(self, keyring: KeyRing) -> None:
        self._keyring = keyring
        self.students: dict[StudentKey, LockedStudent] = {}
        self.stored = 0
        self.help: dict[str, list[HelpState]] = {}
        self.courses: list[CourseState] = []
        self.changed_courses: set[str] = set()

    def report(self, result: _Result, rows: int) -> None:
        """Add what was committed to a result."""
        result.stored += self.stored
        result.duplicates += rows - self.stored
        for (course_id, _), student in self.students.items():
            result.students.setdefault(course_id, {})[student.state.student_id] = student.state
        for course_id, requests in self.help.items():
            for request in requests:
                result.help.setdefault(course_id, {})[request.request_id] = request
        for course in self.courses:
            result.courses[course.course_id] = course

    async def run(self, connection: Connection, rows: list[FactRow]) -> None:
        """Insert facts and derive from those that are new."""
        if not rows:
            return
        rows.sort(key=lambda row: row.fact.id)
        new_ids = await insert_facts(connection, self._keyring, rows)
        self.stored = len(new_ids)
        new = [row for row in rows if row.fact.id in new_ids and row.student is not None]
        if new:
            await self._derive(connection, new)
        # Of all rows, not of the new ones alone: what they changed may never have been published.
        superseded = await _superseded(connection, rows)
        concerned = _named_requests(rows) | await self._overtaken(connection, rows) | superseded
        for request_id in superseded:
            # Nobody has ever seen it wait: a hundred requests in a batch are one publication.
            if str(request_id) in new_ids:
                del concerned[request_id]
        if concerned:
            await self._read_help(connection, concerned)

    async def _derive(self, connection: Connection, new: list[FactRow]) -> None:
        by_student: dict[StudentKey, list[Fact]] = {}
        heard: dict[StudentKey, int] = {}
        for row in new:
            if row.student is not None:
                by_student.setdefault(row.student, []).append(row.fact)
                heard[row.student] = max(heard.get(row.student, 0), row.record.received_at)
        by_cell = {student: group_by_cell(facts) for student, facts in by_student.items()}
        records = {student: StudentRecord(self.students[student].fold) for student in by_student}
        await _load(connection, by_student, by_cell, records)

        late = [(student, cell) for student, record in records.items() for cell in record.late_cells(by_cell[student])]
        histories: dict[StudentKey, dict[CellKey, list[Fact]]] = {}
        if late:
            for (student, cell), facts in zip(late, await states.load_histories(connection, late), strict=True):
                histories.setdefault(student, {})[cell] = facts

        cells, sessions = {}, {}
        for student, record in records.items():
            touched = record.apply(
                by_student[student], by_cell[student], histories.get(student, {}), heard=heard[student]
            )
            for cell, cell_fold in touched.cells.items():
                cells[student, cell] = cell_fold
            for session, session_fold in touched.sessions.items():
                sessions[student, session] = session_fold
        if cells:
            await states.save_cells(connection, cells)
        await states.save_sessions(connection, sessions)
        await self._derive_help(connection, new)

        changed = {student: self.students[student] for student in by_student}
        for student, locked in changed.items():
            if locked.advance(str(student[1])):
                self.changed_courses.add(student[0])
        await states.save_students(connection, changed)

    async def _overtaken(self, connection: Connection, rows: Iterable[FactRow]) -> dict[UUID, StudentKey]:
        """Return the requests that were made after a run of these rows: it may be the run before them."""
        earliest: dict[StudentKey, int] = {}
        for row in rows:
            fact, student = row.fact, row.student
            if (
                student is not None
                and fact.type == "cell_executed"
                and (fact.at, fact.id) < self.students[student].fold.asked
            ):
                earliest[student] = min(fact.at, earliest.get(student, fact.at))
        if not earliest:
            return {}
        return await help_states.requests_after(connection, {student: moment(at) for student, at in earliest.items()})

    async def _derive_help(self, connection: Connection, new: list[FactRow]) -> None:
        """Derive the requests that new facts ask for, cancel, supersede or put another run before."""
        wanted = set(_named_requests(new)) | set(await self._overtaken(connection, new))
        wanted.update(await _superseded(connection, new))
        messages = {UUID(row.fact.id): row.message for row in new if row.message}
        if not wanted:
            return
        changed = await help_states.derive_requests(
            connection, self._keyring, wanted, students=self.students, messages=messages
        )
        if changed:
            active = await help_states.newest_active(connection, changed)
            for student in changed:
                self.students[student].fold.help = active.get(student)
                self.changed_courses.add(student[0])

    async def _read_help(self, connection: Connection, named: dict[UUID, StudentKey]) -> None:
        found = await connection.fetch(
            f"SELECT {help_requests.COLUMNS} FROM help_requests "  # noqa: S608
            "WHERE request_id = ANY($1::uuid[]) AND requested_at IS NOT NULL ORDER BY request_id",
            list(named),
        )
        for row in found:
            if named[row["request_id"]] == (row["course_id"], row["person_id"]):
                self.help.setdefault(row["course_id"], []).append(help_requests.help_state(self._keyring, row))


def _named_requests(rows: Iterable[FactRow]) -> dict[UUID, StudentKey]:
    """Return the requests that rows make or cancel, each with the student who does."""
    named: dict[UUID, StudentKey] = {}
    for row in rows:
        student = row.student
        if student is None:
            continue
        if row.fact.type == "help_requested":
            named[UUID(row.fact.id)] = student
        elif row.fact.request is not None:
            # One's own request has the last word over a stranger's cancellation of it.
            named.setdefault(UUID(row.fact.request), student)
    return named


async def _superseded(connection: Connection, rows: Iterable[FactRow]) -> dict[UUID, StudentKey]:
    """Return the requests that the requests among rows take the place of."""
    made = {
        UUID(row.fact.id): row.student for row in rows if row.student is not None and row.fact.type == "help_requested"
    }
    return await help_states.requests_before(connection, made) if made else {}


async def _load(
    connection: Connection,
    by_student: dict[StudentKey, list[Fact]],
    by_cell: dict[StudentKey, dict[CellKey, list[Fact]]],
    records: dict[StudentKey, StudentRecord],
) -> None:
    """Load the folds of the cells and sessions that new facts name."""
    cells = [(student, cell) for student, groups in by_cell.items() for cell in groups]
    if cells:
        for (student, cell), cell_fold in zip(cells, await states.load_cells(connection, cells), strict=True):
            if cell_fold is not None:
                records[student].cells[cell] = cell_fold
    sessions = [
        (student, session) for student, facts in by_student.items() for session in {fact.session for fact in facts}
    ]
    for (student, session), fold in zip(sessions, await states.load_sessions(connection, sessions), strict=True):
        if fold is not None:
            records[student].sessions[session] = fold
