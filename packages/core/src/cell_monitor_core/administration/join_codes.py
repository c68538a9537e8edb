"""Joining by code, as the staff of a course and operators decide on it: opened, closed, ended for all, merged (docs/adr/0026)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from cell_monitor_core.administration.course_list import require_course
from cell_monitor_core.administration.refusals import Unknown, Unusable
from cell_monitor_core.auth.audit import Actor, AuditAction
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex
from cell_monitor_core.storage.postgres import audit, join_codes, joined_computers, memberships
from cell_monitor_core.storage.postgres.join_codes import JoinCode
from cell_monitor_core.storage.postgres.memberships import Source

__all__ = ["JoinCode", "JoinCodes"]


class JoinCodes:
    """Opens and closes courses for those who have the code, and decides on who joined by it.

    Args:
        pool: PostgreSQL.
        index: makes codes of what is stored.
        counters: reports changes to open pages after they are committed.
    """

    def __init__(self, pool: Any, index: BlindIndex, counters: Counters) -> None:
        self._pool = pool
        self._index = index
        self._counters = counters

    async def open(self, course_id: str, lifetime: timedelta, *, by: Actor) -> JoinCode:
        """Give a course a new code and return it; the one before lets nobody in any more.

        Raises:
            UnknownCourse: there is no such course.
            Unusable: the lifetime is not positive or longer than ``MAX_LIFETIME``.
        """
        if not timedelta() < lifetime <= join_codes.MAX_LIFETIME:
            most = int(join_codes.MAX_LIFETIME.total_seconds() // 60)
            raise Unusable(f"a code works for 1 to {most} minutes", field=["minutes"])
        async with self._pool.acquire() as connection, connection.transaction():
            await require_course(connection, course_id)
            code = await join_codes.open_new(connection, self._index, course_id, lifetime)
            minutes = int(lifetime.total_seconds() // 60)
            await audit.record(
                connection, AuditAction.JOINING_OPENED, by, course_id=course_id, details={"minutes": minutes}
            )
        return code

    async def state(self, course_id: str) -> JoinCode | None:
        """Return a course's code, None where joining is closed.

        Raises:
            UnknownCourse: there is no such course.
        """
        async with self._pool.acquire() as connection:
            await require_course(connection, course_id)
            return await join_codes.get(connection, self._index, course_id)

    async def close(self, course_id: str, *, by: Actor) -> bool:
        """Let nobody else in; who has joined stays. Return False where joining was closed before.

        Raises:
            UnknownCourse: there is no such course.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await require_course(connection, course_id)
            return await self._close(connection, course_id, by)

    async def remove_all(self, course_id: str, *, by: Actor) -> None:
        """Close a course's joining, and remove everybody who joined by code; their tokens end within seconds."""
        async with self._pool.acquire() as connection, connection.transaction():
            await self._close(connection, course_id, by)
            for person_id in sorted(await joined_computers.joined_people(connection, course_id)):
                await memberships.remove(connection, course_id, person_id, source=Source.JOIN, by=by)
            await joined_computers.revoke_all(connection, course_id)
        await self._counters.roster_changed(course_id, left=True)

    async def merge(self, course_id: str, person_id: UUID, into: UUID, *, by: Actor) -> None:
        """Let the computers of somebody who joined by code send as another student of the course from now on.

        The first one leaves the course. What was sent before stays stored as theirs.

        Raises:
            Unknown: the first did not join this course by code, or the other one is no student of it.
            Unusable: both are the same.
        """
        if person_id == into:
            raise Unusable("a student cannot be merged with themselves", field=["into"])
        async with self._pool.acquire() as connection, connection.transaction():
            if not await joined_computers.has_joined(connection, course_id, person_id):
                raise Unknown("there is no such student who joined this course by code")
            # Never somebody of the staff: what a student's computer sends must not be shown under their name.
            if await memberships.role_of(connection, course_id, into) != Role.STUDENT:
                raise Unknown("there is no such student in this course", field=["into"])
            await joined_computers.move(connection, course_id, person_id, into)
            await memberships.remove(connection, course_id, person_id, source=Source.JOIN, by=by)
            # That the first one left has its own entry; this one says as whom their computers send.
            await audit.record(connection, AuditAction.JOINED_MERGED, by, subject=into, course_id=course_id)
        await self._counters.roster_changed(course_id, left=True)

    async def _close(self, connection: Any, course_id: str, by: Actor) -> bool:
        was_open = await join_codes.close(connection, course_id)
        if was_open:
            await audit.record(connection, AuditAction.JOINING_CLOSED, by, course_id=course_id)
        return was_open
