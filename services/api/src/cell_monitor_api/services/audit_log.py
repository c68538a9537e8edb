"""The audit log: shown to those who may read it, and what the API itself enters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Final
from uuid import UUID

import asyncpg

from cell_monitor_api.exceptions import InvalidParameter, NotFound
from cell_monitor_api.models.audit import AuditEntryAnswer, AuditList, AuditPerson
from cell_monitor_core.auth.audit import Actor, AuditAction
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import audit, audit_queries, people
from cell_monitor_core.storage.postgres.audit_queries import AuditEntry, AuditFilter, PersonInEntry
from cell_monitor_core.timestamps import to_text

__all__ = ["AuditLog", "AuditQuestion"]

_MAX_KEPT: Final = 20_000
_SETTING_ACTIONS: Final = frozenset(
    {AuditAction.COURSE_RENAMED, AuditAction.THRESHOLDS_CHANGED, AuditAction.RULING_SOURCE_CHANGED}
)
"""Their ``from`` and ``to`` are no roles."""


@dataclass(frozen=True, slots=True)
class AuditQuestion:
    """Which entries somebody asks for.

    Attributes:
        actions: of these only, where there are any.
        person: user name, in any spelling, of somebody who acts or is concerned.
        since: at this moment or later.
        until: before this moment.
        before: ``next_before`` of the page before.
        limit: at most this many.
    """

    actions: Sequence[AuditAction]
    person: str | None
    since: datetime | None
    until: datetime | None
    before: str | None
    limit: int


class AuditLog:
    """Reads the audit log and enters whose work was opened.

    Args:
        pool: PostgreSQL.
        keyring: reads names and addresses.
        index: finds people by their user names.
        clock: seconds, monotonic.
    """

    def __init__(
        self, pool: Any, keyring: KeyRing, index: BlindIndex, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._index = index
        self._clock = clock
        self._entered: dict[tuple[Actor, str, UUID], float] = {}

    async def work_opened(self, actor: Actor, course_id: str, student_id: UUID) -> None:
        """Enter that somebody opens a student's work, before it is answered; once in ten minutes.

        Within that time this process asks the database nothing.

        Raises:
            NotFound: the student, or who asks, has been erased.
        """
        key = (actor, course_id, student_id)
        now = self._clock()
        if self._entered.get(key, 0.0) > now:
            return
        try:
            await audit.record_work_opened(self._pool, actor, course_id, student_id)
        except asyncpg.ForeignKeyViolationError:
            raise NotFound("there is no such student in this course") from None
        if len(self._entered) >= _MAX_KEPT:
            self._entered.clear()
        self._entered[key] = now + audit.REPEAT_S

    async def page(self, course_id: str | None, asked: AuditQuestion) -> AuditList:
        """Return entries, newest first; of one course only unless ``course_id`` is None.

        Raises:
            InvalidParameter: ``before`` is not a cursor, or a time has no zone.
        """
        for name, moment in (("since", asked.since), ("until", asked.until)):
            if moment is not None and moment.tzinfo is None:
                raise InvalidParameter("give the time with its zone, as 2026-04-01T09:00:00Z", loc=["query", name])
        person_ids = None
        if asked.person is not None:
            found = await people.search(self._pool, self._keyring, self._index, asked.person)
            person_ids = [each.person_id for each in found]
        wanted = AuditFilter(course_id, asked.actions, person_ids, asked.since, asked.until)
        try:
            page = await audit_queries.page(self._pool, self._keyring, wanted, before=asked.before, limit=asked.limit)
        except ValueError as error:
            raise InvalidParameter(str(error), loc=["query", "before"]) from error
        return AuditList([_answer(entry) for entry in page.entries], page.next_before)


def _answer(entry: AuditEntry) -> AuditEntryAnswer:
    details = entry.details
    of_setting = entry.action in _SETTING_ACTIONS
    return AuditEntryAnswer(
        entry_id=str(entry.entry_id),
        at=to_text(entry.acted_at),
        action=entry.action,
        actor_kind=entry.actor_kind,
        actor=_person(entry.actor),
        actor_key_id=entry.actor_key_id,
        subject=_person(entry.subject),
        course_id=entry.course_id,
        key_id=entry.key_id,
        key_name=entry.key_name,
        role_from=None if of_setting else details.get("from"),
        role_to=None if of_setting else details.get("to"),
        setting_from=details.get("from") if of_setting else None,
        setting_to=details.get("to") if of_setting else None,
        group=details.get("group"),
        source=details.get("source"),
        way=details.get("way"),
        cause=details.get("cause"),
        scopes=details.get("scopes"),
        address=entry.address,
        count=entry.count,
        queued=details.get("queued"),
        unreadable=details.get("unreadable"),
        reason=details.get("reason"),
    )


def _person(person: PersonInEntry | None) -> AuditPerson | None:
    if person is None:
        return None
    person_id = None if person.person_id is None else str(person.person_id)
    return AuditPerson(person_id, person.username, person.display_name)
