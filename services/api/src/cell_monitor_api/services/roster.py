"""Members of courses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from cell_monitor_api.exceptions import ManagedElsewhere, NotFound, PermissionDenied
from cell_monitor_api.models.courses import CourseMember, MemberAnswer
from cell_monitor_core.auth.audit import Actor
from cell_monitor_core.auth.roles import STAFF_ROLES, Role
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import courses, joined_computers, memberships, people
from cell_monitor_core.storage.postgres.member_list import members_of
from cell_monitor_core.storage.postgres.memberships import Source, SourceRole

__all__ = ["MemberChange", "Roster"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Somebody to add, or to bring up to date; None leaves a thing as it is."""

    username: str
    role: str
    display_name: str | None = None


class Roster:
    """Adds and removes members."""

    def __init__(self, pool: Any, keyring: KeyRing, index: BlindIndex, counters: Counters) -> None:
        self._pool = pool
        self._keyring = keyring
        self._index = index
        self._counters = counters

    async def members(self, course_id: str) -> list[CourseMember]:
        """Return everybody who belongs to a course, with what each source says of them; staff first, then by user name."""
        async with self._pool.acquire() as connection:
            listed = await members_of(connection, self._keyring, course_id)
        return [
            CourseMember(
                str(one.person.person_id),
                one.person.username,
                one.person.display_name,
                one.role,
                {str(source): role for source, role in one.sources.items()},
                one.person.is_admin,
            )
            for one in listed
        ]

    async def put_members(
        self, course_id: str, changes: Sequence[MemberChange], *, by_admin: bool, by: Actor
    ) -> list[MemberAnswer]:
        """Add members to the roster or bring them up to date, all or none. User names are spelled exactly.

        An instructor decides on the students of their own course. They may name somebody who belongs to other courses,
        too, but not rename them. Roles of the staff show every student's work, so only an admin of the site gives them;
        a list may repeat those that its people have already. Nobody gives a password here: it is its person's own.

        Raises:
            NotFound: there is no such course.
            PermissionDenied: a role of the staff that the person does not have, from somebody who is no admin.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            if await courses.get(connection, course_id) is None:
                raise NotFound("there is no such course")
            foreign = set() if by_admin else await self._foreign(connection, course_id, changes)
            person_ids = await people.upsert_many(
                connection,
                self._keyring,
                self._index,
                [
                    people.NewPerson(change.username, None if index in foreign else change.display_name)
                    for index, change in enumerate(changes)
                ],
            )
            roles = {person_id: change.role for person_id, change in zip(person_ids, changes, strict=True)}
            if not by_admin:
                roles = await self._without_staff(connection, course_id, person_ids, changes)
            await memberships.upsert_many(connection, course_id, roles, by=by)
            effective = {member.person_id: member.role for member in await memberships.roster(connection, course_id)}
        left = any(role != Role.STUDENT for role in roles.values())
        await self._counters.roster_changed(course_id, left=left)
        return [
            MemberAnswer(str(person_id), change.username, change.role, effective.get(person_id))
            for person_id, change in zip(person_ids, changes, strict=True)
        ]

    async def remove_member(self, course_id: str, person_id: UUID, *, by: Actor) -> None:
        """Remove somebody from the roster, or who joined by code; tokens that name the membership end within seconds.

        What another source says of them stays, see ``core.storage.postgres.memberships``.

        Raises:
            NotFound: there is no such member.
            ManagedElsewhere: they are a member by other sources only.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            removed = await joined_computers.remove_member(connection, course_id, person_id, by=by)
        if not removed:
            if await memberships.role_of(self._pool, course_id, person_id) is None:
                raise NotFound("there is no such member of this course")
            said = await memberships.said_of(self._pool, course_id, [person_id])
            sources = ", ".join(one.source for one in said[person_id] if one.role is not None)
            raise ManagedElsewhere(f"this person is a member by {sources}: remove them there")
        await self._counters.roster_changed(course_id, left=True)
        _log.info("member_removed", course_id=course_id, person_id=str(person_id))

    async def _foreign(self, connection: Any, course_id: str, changes: Sequence[MemberChange]) -> set[int]:
        """Return the positions of those whose names are not this course's to change."""
        names = [change.username for change in changes]
        rows = await people.belonging_elsewhere(connection, self._index, names, course_id)
        return {index for index, elsewhere in enumerate(rows) if elsewhere}

    async def _without_staff(
        self, connection: Any, course_id: str, person_ids: Sequence[UUID], changes: Sequence[MemberChange]
    ) -> dict[UUID, str]:
        """Return the roles to give without those of the staff, which the people must have already."""
        said = await memberships.said_of(connection, course_id, person_ids)
        roles = {}
        for position, (person_id, change) in enumerate(zip(person_ids, changes, strict=True)):
            if change.role not in STAFF_ROLES:
                roles[person_id] = change.role
            elif SourceRole(Source.ROSTER, change.role) not in said.get(person_id, []):
                raise PermissionDenied(
                    f"only an admin of the site can give the role {change.role}",
                    loc=["body", "members", position, "role"],
                )
        return roles
