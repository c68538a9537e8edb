"""Facts and derived state in one transaction: load, reduce, save.

Duplicates change nothing, and still answer with the absolute states of their students: the worker that stored the first
copy may have died before it could publish them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.errors import ErrorSigner
from cell_monitor_core.derivation.facts import FactError, read_event
from cell_monitor_core.derivation.opaque_types import is_opaque
from cell_monitor_core.derivation.reduce import Changes, Student, StudentKey, reduce
from cell_monitor_core.events.reasons import FailureReason
from cell_monitor_core.publications import HelpState, StudentState
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import AppliedBatch, StoreUnavailable
from cell_monitor_core.storage.postgres import batch_load, batch_save, derivation_keys, student_states
from cell_monitor_core.storage.postgres.event_rows import FactRow
from cell_monitor_core.storage.postgres.pool import Connection, is_row_fault, store_errors
from cell_monitor_core.storage.postgres.rebuild import repair_student

__all__ = ["PostgresFactStore"]

_log = structlog.get_logger(__name__)

_KNOWN_STUDENTS: Final = 100_000
_MAX_RECEIVED_AT: Final = 253_402_300_799_000
"""The end of the year 9999 in milliseconds, the last that a datetime holds."""


@dataclass(slots=True)
class _Result:
    """What transactions did so far; of each thing the newest state."""

    stored: int = 0
    opaque: int = 0
    duplicates: int = 0
    discarded: int = 0
    students: dict[str, dict[str, StudentState]] = field(default_factory=dict)
    help: dict[str, dict[str, HelpState]] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)
    failed: list[tuple[StreamRecord, str]] = field(default_factory=list)

    def add(self, changes: Changes, students: Mapping[StudentKey, Student]) -> None:
        """Add what was committed; states of people who are no students of the course now are shown to nobody."""
        shown = {(course_id, str(person_id)) for (course_id, person_id), each in students.items() if each.enrolled}
        for course_id, student in changes.shown:
            if (course_id, student.student_id) in shown:
                self.students.setdefault(course_id, {})[student.student_id] = student
        for course_id, request in changes.help:
            if (course_id, request.student_id) in shown:
                self.help.setdefault(course_id, {})[request.request_id] = request
        self.counted |= changes.counted

    def batch(self) -> AppliedBatch:
        return AppliedBatch(
            stored=self.stored,
            opaque=self.opaque,
            duplicates=self.duplicates,
            discarded=self.discarded,
            students={course: list(found.values()) for course, found in self.students.items()},
            help={course: list(found.values()) for course, found in self.help.items()},
            counted=frozenset(self.counted),
            failed=self.failed,
        )


class _RowsGoneError(Exception):
    """A student's row that was there is not: the course or the person was deleted."""


class PostgresFactStore:
    """``FactStore`` over PostgreSQL.

    Args:
        pool: see ``create_pool``.
        keyring: encrypts payloads and texts.
    """

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], keyring: KeyRing) -> None:
        self._pool = pool
        self._keyring = keyring
        self._signer: ErrorSigner | None = None
        self._known: set[StudentKey] = set()
        self._people: dict[bytes, UUID] = {}

    async def apply(self, records: Sequence[StreamRecord]) -> AppliedBatch:
        """Store the facts of a batch and all that derives from them, once, whatever the order and repetition.

        A record that cannot be stored is left out and reported in ``failed`` as (record, ``code: what is wrong``);
        the rest is stored. Records of people and courses that do not exist, as they were erased while their events
        waited, are discarded: kept as failed ones, they would outlive the erasing.

        Raises:
            StoreUnavailable: PostgreSQL is unavailable or overloaded. Where the batch had to be split around a faulty record
                a part may be stored; applying all of it again is right in any case.
        """
        result = _Result()
        if self._signer is None:
            with store_errors():
                self._signer = ErrorSigner(await derivation_keys.error_signature_key(self._pool, self._keyring))
        await self._apply(self._read(records, self._signer, result), result)
        return result.batch()

    def _read(self, records: Sequence[StreamRecord], signer: ErrorSigner, result: _Result) -> list[FactRow]:
        """Decode records; of equal ones in the batch the first counts."""
        rows: dict[tuple[bytes, str], FactRow] = {}
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
                fact, text = read_event(record.event, record.received_at, signer, waited_ms=record.waited_ms)
            except FactError as error:
                result.failed.append((record, f"{error.reason}: {error}"))
                continue
            except ValueError as error:
                result.failed.append((record, f"invalid_event: {error}"))
                continue
            key = (record.person_id, fact.id)
            if key in rows:
                result.duplicates += 1
            else:
                student = None if record.test_id is not None else (record.course_id, person)
                rows[key] = FactRow(record, fact, text, person, student)
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
            # Made again now, or discarded.
            self._known.clear()
            await self._transaction(rows, result)

    async def _transaction(self, rows: list[FactRow], result: _Result) -> None:
        named = sorted({row.student for row in rows if row.student is not None})
        unknown = [student for student in named if student not in self._known]
        if unknown:
            try:
                await student_states.ensure_students(self._pool, unknown)
            except asyncpg.ForeignKeyViolationError as error:
                # A person or course is being deleted at this moment.
                raise _RowsGoneError from error
        async with self._pool.acquire() as connection, connection.transaction():
            students = await self._lock(connection, named) if named else {}
            gone = {student for student in named if student not in students}
            if not gone.isdisjoint(self._known):
                raise _RowsGoneError
            kept = [row for row in rows if row.student not in gone]
            stored: Sequence[FactRow] = ()
            changes = Changes()
            if kept:
                loaded, stored = await batch_load.load(connection, self._keyring, kept, students)
                changes = reduce(loaded)
                await batch_save.save(connection, self._keyring, changes)
        # Committed: from here on nothing fails.
        if len(self._known) > _KNOWN_STUDENTS:
            self._known.clear()
        self._known.update(students)
        result.discarded += len(rows) - len(kept)
        result.stored += len(stored)
        result.opaque += sum(is_opaque(row.fact.type) for row in stored)
        result.duplicates += len(kept) - len(stored)
        result.add(changes, students)

    async def _lock(self, connection: Connection, named: Sequence[StudentKey]) -> dict[StudentKey, Student]:
        """Lock the rows of students; what an older worker wrote after the migration is folded again first."""
        students = await student_states.lock_students(connection, self._keyring, named)
        outdated = [key for key, student in students.items() if student.fold.outdated]
        if outdated:
            for key in outdated:
                await repair_student(connection, self._keyring, key)
            students |= await student_states.lock_students(connection, self._keyring, outdated)
        return students


def _reason(error: Exception) -> str:
    if is_row_fault(error):
        return f"{FailureReason.DATA_ERROR}: PostgreSQL refuses it: {type(error).__name__}"
    if isinstance(error, msgspec.DecodeError):
        return f"{FailureReason.STATE_UNREADABLE}: run rebuild, then replay: {error}"
    return f"{FailureReason.INTERNAL_ERROR}: {type(error).__name__}"
