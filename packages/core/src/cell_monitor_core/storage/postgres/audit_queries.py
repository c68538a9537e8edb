"""Reading the audit log, with the names that its people have now."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from cell_monitor_core.auth.audit import ActorKind
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres import people
from cell_monitor_core.storage.postgres.audit import ADDRESS
from cell_monitor_core.storage.postgres.page_cursors import PageCursor
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["MAX_ENTRIES", "AuditEntry", "AuditFilter", "AuditPage", "PersonInEntry", "page"]

MAX_ENTRIES: Final = 200
"""Entries of a page, at most."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; None and nothing: all.

    Attributes:
        course_id: of this course.
        actions: of these.
        person_ids: that one of these people did, or that concern one of them.
        since: at this moment or later.
        until: before this moment.
    """

    course_id: str | None = None
    actions: Collection[str] = ()
    person_ids: Collection[UUID] | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class PersonInEntry:
    """A person whom an entry names; all None where they have been erased."""

    person_id: UUID | None = None
    username: str | None = None
    display_name: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry, with names as they are now.

    Attributes:
        action: of ``AuditAction``, or one of a newer release.
        actor_kind: of ``ActorKind``, likewise.
        actor: None where that is no person.
        actor_key_id: the API key that was used.
        subject: whom it concerns; None for nobody.
        key_id: the API key that it concerns.
        key_name: of that key, where it is still stored.
        details: by the action: ``way``; ``cause``; ``from``, ``to`` and ``source``; ``scopes``.
        address: of refused sign-ins.
        count: how often.
    """

    entry_id: UUID
    acted_at: datetime
    action: str
    actor_kind: str
    actor: PersonInEntry | None
    actor_key_id: str | None
    subject: PersonInEntry | None
    course_id: str | None
    key_id: str | None
    key_name: str | None
    details: dict[str, Any]
    address: str | None
    count: int


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first; ``next_before`` asks for the page after this one, None after the last."""

    entries: list[AuditEntry]
    next_before: str | None


_CURSOR: Final = PageCursor()


async def page(
    executor: Executor, keyring: KeyRing, wanted: AuditFilter, *, before: str | None = None, limit: int = 50
) -> AuditPage:
    """Return a page of the log, newest first.

    Args:
        executor: pool or connection.
        keyring: to read names and addresses.
        wanted: which entries.
        before: ``next_before`` of the page before.
        limit: at most this many, ``MAX_ENTRIES`` at most.

    Raises:
        ValueError: ``before`` is not a cursor.
    """
    values: list[object] = []
    conditions: list[str] = []

    def require(condition: str, *arguments: object) -> None:
        numbers = range(len(values) + 1, len(values) + len(arguments) + 1)
        conditions.append(condition.format(*(f"${number}" for number in numbers)))
        values.extend(arguments)

    if wanted.course_id is not None:
        require("e.course_id = {}", wanted.course_id)
    if wanted.actions:
        require("e.action = ANY({}::text[])", [str(action) for action in wanted.actions])
    if wanted.person_ids is not None:
        ids = list(wanted.person_ids)
        require("(e.actor_id = ANY({}::uuid[]) OR e.subject_id = ANY({}::uuid[]))", ids, ids)
    if wanted.since is not None:
        require("e.acted_at >= {}", wanted.since)
    if wanted.until is not None:
        require("e.acted_at < {}", wanted.until)
    if before is not None:
        require("(e.acted_at, e.entry_id) < ({}, {})", *_CURSOR.decode(before))
    limit = max(1, min(limit, MAX_ENTRIES))
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = await executor.fetch(
        f"SELECT e.*, k.name AS key_name FROM audit_entries e LEFT JOIN api_keys k ON k.key_id = e.key_id {where} "  # noqa: S608
        f"ORDER BY e.acted_at DESC, e.entry_id DESC LIMIT ${len(values) + 1}",
        *values,
        limit + 1,
    )
    shown = rows[:limit]
    named = await _names(executor, keyring, shown)
    last = shown[-1] if len(rows) > limit else None
    return AuditPage(
        [_entry(keyring, row, named) for row in shown],
        None if last is None else _CURSOR.encode((last["acted_at"], last["entry_id"])),
    )


async def _names(executor: Executor, keyring: KeyRing, rows: Iterable[Any]) -> dict[UUID, people.PersonName]:
    ids = {row[column] for row in rows for column in ("actor_id", "subject_id")} - {None}
    return await people.names_of(executor, keyring, ids) if ids else {}


def _entry(keyring: KeyRing, row: Any, named: Mapping[UUID, people.PersonName]) -> AuditEntry:
    def person(person_id: UUID | None) -> PersonInEntry:
        name = None if person_id is None else named.get(person_id)
        # One who was erased between the two reads is nobody, too.
        return PersonInEntry() if name is None else PersonInEntry(person_id, name.username, name.display_name)

    address = row["address_enc"]
    return AuditEntry(
        entry_id=row["entry_id"],
        acted_at=row["acted_at"],
        action=row["action"],
        actor_kind=row["actor_kind"],
        actor=person(row["actor_id"]) if row["actor_kind"] == ActorKind.PERSON else None,
        actor_key_id=row["actor_key_id"],
        subject=person(row["subject_id"]) if row["concerns_person"] else None,
        course_id=row["course_id"],
        key_id=row["key_id"],
        key_name=row["key_name"],
        details=row["details"],
        address=None if address is None else keyring.decrypt_text(address, context=ADDRESS, row=row["entry_id"].bytes),
        count=row["count"],
    )
