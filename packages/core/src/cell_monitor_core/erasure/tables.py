"""Deleting what PostgreSQL holds of a person or of a course, by the list of ``places``."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from cell_monitor_core.auth.audit import OPERATOR, AuditAction
from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.derivation.reduce import StudentKey
from cell_monitor_core.erasure.places import TABLES
from cell_monitor_core.storage.postgres import audit, failed_events, revocations
from cell_monitor_core.storage.postgres.pool import Connection

__all__ = [
    "NOBODY",
    "begin_person",
    "courses_of",
    "delete_course_rows",
    "delete_person_rows",
    "finish_person",
    "release_staff",
]

NOBODY: Final = UUID(int=0)
"""Stands for an erased member of the staff where their action for a student must stay."""

_BY_OTHERS: Final = frozenset({"erasures", "people", "courses", "time_series", "audit_entries"})
"""Tables that another step erases: the first and the last one, and the store of the time series."""

_SEARCHED_ROWS: Final = 100

_COURSES: Final = """
SELECT DISTINCT course_id FROM (
    SELECT course_id FROM memberships WHERE person_id = $1
    UNION ALL SELECT course_id FROM student_states WHERE person_id = $1
    UNION ALL SELECT course_id FROM help_requests WHERE person_id = $1 OR claimed_by = $1 OR resolved_by = $1
    UNION ALL SELECT course_id FROM help_actions WHERE person_id = $1
) c
"""


async def begin_person(connection: Connection, person_id: UUID) -> None:
    """Delete a person, so that nothing more is stored of them, and note that the rest is to be erased.

    Waits for the transactions that hold the person's rows as a student: they are stored, and deleted with the rest.
    """
    async with connection.transaction():
        await connection.execute(
            f"INSERT INTO erasures AS e (person_id, course_ids) "  # noqa: S608
            f"SELECT $1, coalesce(array_agg(course_id), '{{}}') FROM ({_COURSES}) found "
            "ON CONFLICT (person_id) DO UPDATE SET course_ids = e.course_ids || excluded.course_ids",
            person_id,
        )
        # Rows that refer to the person end with this one, student_states among them: the row that a worker locks.
        await revocations.erase_person(connection, person_id)
        await audit.release_person(connection, person_id)
        if await connection.fetchval("DELETE FROM people WHERE person_id = $1 RETURNING true", person_id):
            await audit.record(connection, AuditAction.PERSON_ERASED, OPERATOR)


async def courses_of(connection: Connection, person_id: UUID) -> list[str]:
    """Return the courses of a person whose erasing has begun."""
    found = await connection.fetchval("SELECT course_ids FROM erasures WHERE person_id = $1", person_id)
    return sorted(set(found or ()))


async def delete_person_rows(connection: Connection, keyring: KeyRing, person_id: UUID) -> int:
    """Delete all rows of a person; return how many."""
    deleted = 0
    async with connection.transaction():
        of_person = "request_id IN (SELECT request_id FROM help_requests WHERE person_id = $1)"
        for name in ("help_outbox", "help_actions"):
            deleted += await _delete(connection, name, of_person, person_id)
        for name, table in TABLES.items():
            if name not in _BY_OTHERS:
                for column in table.person:
                    deleted += await _delete(connection, name, f"{column} = $1", person_id)
    return deleted + await _delete_unread_entries(connection, keyring, person_id)


async def _delete(connection: Connection, table: str, condition: str, *arguments: object) -> int:
    status = await connection.execute(f"DELETE FROM {table} WHERE {condition}", *arguments)  # noqa: S608
    return int(status.rpartition(" ")[2])


async def _delete_unread_entries(connection: Connection, keyring: KeyRing, person_id: UUID) -> int:
    """Delete failed entries that could not be taken apart and hold the person's id somewhere: they name nobody.

    One that no key opens is deleted as well: what cannot be read cannot be shown not to be the person's.
    """
    found: list[int] = []
    after = 0
    while rows := await connection.fetch(
        "SELECT failed_id, consumer_group, partition, entry_id, record_index, record_enc FROM failed_events "
        "WHERE person_id IS NULL AND failed_id > $1 ORDER BY failed_id LIMIT $2",
        after,
        _SEARCHED_ROWS,
    ):
        after = rows[-1]["failed_id"]
        for row in rows:
            place = failed_events.record_row(
                row["consumer_group"], row["partition"], row["entry_id"], row["record_index"]
            )
            try:
                record = keyring.decrypt(row["record_enc"], context=failed_events.RECORD, row=place)
            except DecryptionError:
                found.append(row["failed_id"])
                continue
            if person_id.bytes in record or str(person_id).encode() in record:
                found.append(row["failed_id"])
    return await _delete(connection, "failed_events", "failed_id = ANY($1::bigint[])", found)


async def release_staff(connection: Connection, person_id: UUID) -> list[StudentKey]:
    """Put nobody in the place of a person who helped others; return the students whose state names them."""
    async with connection.transaction():
        students = await connection.fetch(
            "SELECT DISTINCT r.course_id, r.person_id FROM help_requests r LEFT JOIN help_actions a USING (request_id) "
            "WHERE r.claimed_by = $1 OR r.resolved_by = $1 OR a.person_id = $1",
            person_id,
        )
        await connection.execute("UPDATE help_actions SET person_id = $2 WHERE person_id = $1", person_id, NOBODY)
    return [(course_id, student_id) for course_id, student_id in students]


async def finish_person(connection: Connection, person_id: UUID) -> None:
    """Note that a person is erased: nothing that names them is left."""
    await connection.execute("DELETE FROM erasures WHERE person_id = $1", person_id)


async def delete_course_rows(connection: Connection, course_id: str) -> int:
    """Delete a course, so that nothing more is stored of it, and then all its rows; return how many."""
    async with connection.transaction():
        deleted = await _delete(connection, "courses", "course_id = $1", course_id)
        if deleted:
            await audit.record(connection, AuditAction.COURSE_DELETED, OPERATOR, course_id=course_id)
    async with connection.transaction():
        deleted += await _delete(
            connection, "audit_entries", "course_id = $1 AND action <> $2", course_id, AuditAction.COURSE_DELETED.value
        )
        for name in ("event_payloads", "event_keys"):
            deleted += await _delete(
                connection,
                name,
                "(person_id, event_id) IN (SELECT person_id, event_id FROM events WHERE course_id = $1)",
                course_id,
            )
        for name, table in TABLES.items():
            if name not in _BY_OTHERS:
                for column in table.course:
                    deleted += await _delete(connection, name, f"{column} = $1", course_id)
    return deleted
