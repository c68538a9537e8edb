"""Adding to the audit log, with the act in one transaction or statement; see docs/adr/0028.

Entries contain ids of people and no names: ``audit_queries`` reads them from ``people`` when the log is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID, uuid4

from cell_monitor_core.auth.audit import Actor, AuditAction
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres.pool import Connection, Executor

__all__ = [
    "ADDRESS",
    "MIN_DAYS",
    "REPEAT_S",
    "delete_older",
    "entries_from",
    "entries_of_roles",
    "record",
    "record_refused_sign_in",
    "record_work_opened",
    "release_person",
]

ADDRESS: Final = "audit_entries.address"
MIN_DAYS: Final = 30
"""For so long entries stay, whatever is set (migration 0023)."""
REPEAT_S: Final = 600
"""Seconds for which opening the work of the same student again is not entered again."""


def entries_from(
    rows: str,
    action: str,
    actor: int,
    *,
    subject: str = "NULL::uuid",
    course: str = "NULL",
    key: str = "NULL",
    details: str = "'{}'::jsonb",
) -> str:
    """Return SQL that adds an entry for each row of ``rows``, for a ``WITH`` list of the statement that does the act.

    Args:
        rows: what follows FROM.
        action: SQL of the action.
        actor: number of the first of three parameters, ``Actor.columns``.
        subject: SQL of the id of the person whom it concerns.
        course: SQL of the course's id.
        key: SQL of the id of the API key that it concerns.
        details: SQL of what else there is to say.
    """
    return (
        "INSERT INTO audit_entries (action, actor_kind, actor_id, actor_key_id, "  # noqa: S608 - no values
        "concerns_person, subject_id, course_id, key_id, details) "
        f"SELECT {action}, ${actor}::text, ${actor + 1}::uuid, ${actor + 2}::text, "
        f"{subject} IS NOT NULL, {subject}, {course}, {key}, {details} FROM {rows}"
    )


def entries_of_roles(source: int, actor: int) -> str:
    """Return part of a ``WITH`` list that enters ``changes (course_id, person_id, old_role, new_role)`` of a source.

    Args:
        source: number of its parameter.
        actor: number of the first of three parameters, ``Actor.columns``.
    """
    action = (
        f"CASE WHEN old_role IS NULL THEN '{AuditAction.MEMBER_ADDED}' "
        f"WHEN new_role IS NULL THEN '{AuditAction.MEMBER_REMOVED}' ELSE '{AuditAction.ROLE_CHANGED}' END"
    )
    details = f"jsonb_strip_nulls(jsonb_build_object('from', old_role, 'to', new_role, 'source', ${source}::text))"
    added = entries_from("changes", action, actor, subject="person_id", course="course_id", details=details)
    return f"recorded AS ({added})"


async def record(
    executor: Executor,
    action: AuditAction,
    actor: Actor,
    *,
    subject: UUID | None = None,
    course_id: str | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Add an entry, in the transaction of the act.

    Raises:
        asyncpg.ForeignKeyViolationError: the actor or the subject has been erased.
    """
    await executor.execute(
        "INSERT INTO audit_entries (action, actor_kind, actor_id, actor_key_id, concerns_person, subject_id, course_id, "
        "details) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        action.value,
        *actor.columns,
        subject is not None,
        subject,
        course_id,
        dict(details or {}),
    )


async def record_work_opened(executor: Executor, actor: Actor, course_id: str, student_id: UUID) -> None:
    """Enter that somebody opened a student's work, once within ``REPEAT_S`` seconds, by the clock of the database.

    Raises:
        asyncpg.ForeignKeyViolationError: the actor or the student has been erased.
    """
    kind, person_id, key_id = actor.columns
    await executor.execute(
        "INSERT INTO audit_entries (action, actor_kind, actor_id, actor_key_id, course_id, concerns_person, subject_id, "
        "once) VALUES ($1, $2, $3, $4, $5, true, $6, "
        "sha256(convert_to($7 || '|' || floor(extract(epoch FROM now()) / $8::int)::text, 'UTF8'))) "
        "ON CONFLICT (once) DO NOTHING",
        AuditAction.WORK_OPENED.value,
        kind,
        person_id,
        key_id,
        course_id,
        student_id,
        f"{AuditAction.WORK_OPENED}|{kind}|{person_id}|{key_id}|{course_id}|{student_id}",
        REPEAT_S,
    )


async def record_refused_sign_in(
    executor: Executor,
    keyring: KeyRing,
    index: BlindIndex,
    *,
    way: str,
    address: str,
    person_id: UUID | None,
) -> None:
    """Enter a refused sign-in, or count it in the entry of this account and address (migration 0023).

    What was typed is not entered: people type their password into the wrong field.

    Args:
        executor: pool or connection.
        keyring: encrypts the address.
        index: makes account and address unreadable in what tells one entry from another.
        way: ``password``, ``link`` and so on.
        address: the client's, or what addresses of one client have in common.
        person_id: whose account it was; all names without an account are one.
    """
    entry_id = uuid4()
    await executor.execute(
        "SELECT record_refused_sign_in($1, $2, $3, $4, $5)",
        entry_id,
        index.exact("audit.refused_sign_in", way, address, str(person_id or "")),
        way,
        person_id,
        keyring.encrypt_text(address, context=ADDRESS, row=entry_id.bytes),
    )


async def release_person(connection: Connection, person_id: UUID) -> None:
    """Take a person out of all entries, before the row of ``people`` is deleted in the same transaction.

    Entries that are being added wait for the lock on that row, or it for them.
    """
    await connection.execute("SELECT FROM people WHERE person_id = $1 FOR UPDATE", person_id)
    await connection.execute("UPDATE audit_entries SET actor_id = NULL, once = NULL WHERE actor_id = $1", person_id)
    await connection.execute(
        "UPDATE audit_entries SET subject_id = NULL, once = NULL, address_enc = NULL WHERE subject_id = $1", person_id
    )


async def delete_older(executor: Executor, days: int) -> int:
    """Delete at most 10,000 entries that are older than some days; return how many."""
    return int(await executor.fetchval("SELECT delete_audit_entries($1)", days))
