"""Courses and their members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import structlog

from cell_monitor_api.exceptions import CourseExists, ManagedElsewhere, NotFound, PermissionDenied
from cell_monitor_api.models.courses import CourseMember, MemberAnswer
from cell_monitor_core.auth.passwords import PasswordHasher
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import accounts, courses, memberships, people, sign_in_links, sign_ins

__all__ = ["MemberChange", "Roster"]

_ORDER: Final = {role: position for position, role in enumerate(("instructor", "assistant", "observer", "student"))}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Somebody to add, or to bring up to date; None leaves a thing as it is."""

    username: str
    role: str
    display_name: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        """Leave the password out of logs and tracebacks."""
        return f"MemberChange(role={self.role!r})"


class Roster:
    """Adds courses, adds and removes members."""

    def __init__(
        self, pool: Any, keyring: KeyRing, index: BlindIndex, hasher: PasswordHasher, counters: Counters
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._index = index
        self._hasher = hasher
        self._counters = counters

    async def create_course(self, course_id: str, title: str) -> None:
        """Add a course.

        Raises:
            CourseExists: there is one of that id.
        """
        if not await courses.create(self._pool, course_id, title):
            raise CourseExists("a course of that id exists already", loc=["body", "course_id"])

    async def members(self, course_id: str) -> list[CourseMember]:
        """Return everybody who belongs to a course, with what each source says of them; staff first, then by user name."""
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            roles = {member.person_id: member.role for member in await memberships.roster(connection, course_id)}
            said = await memberships.said_of(connection, course_id, roles)
            found = await people.get_many(connection, self._keyring, roles)
        members = [
            CourseMember(
                str(person.person_id),
                person.username,
                person.display_name,
                roles[person.person_id],
                {one.source: one.role for one in said[person.person_id]},
                person.is_admin,
            )
            for person in found
        ]
        return sorted(members, key=lambda member: (_ORDER[member.role], member.username.casefold(), member.username))

    async def put_members(
        self, course_id: str, changes: Sequence[MemberChange], *, by_admin: bool
    ) -> list[MemberAnswer]:
        """Add members to the roster or bring them up to date, all or none. User names are spelled exactly.

        An instructor decides on their own course only. They may name somebody who belongs to other courses, too, but
        neither rename them nor set their password: that would be the key to those other courses.

        Raises:
            NotFound: there is no such course.
            PermissionDenied: a password for somebody who belongs to other courses or to the site's admins.
        """
        # One after the other: people who sign in meanwhile find a thread free.
        hashes = {
            index: await self._hasher.hash(change.password)
            for index, change in enumerate(changes)
            if change.password is not None
        }
        async with self._pool.acquire() as connection, connection.transaction():
            if await courses.get(connection, course_id) is None:
                raise NotFound("there is no such course")
            foreign = set() if by_admin else await self._foreign(connection, course_id, changes)
            for index in hashes:
                if index in foreign:
                    raise PermissionDenied(
                        "this person also belongs elsewhere: only an admin may set their password",
                        loc=["body", "members", index, "password"],
                    )
            person_ids = await people.upsert_many(
                connection,
                self._keyring,
                self._index,
                [
                    people.NewPerson(change.username, None if index in foreign else change.display_name)
                    for index, change in enumerate(changes)
                ],
            )
            await memberships.upsert_many(
                connection,
                course_id,
                {person_id: change.role for person_id, change in zip(person_ids, changes, strict=True)},
            )
            await self._set_passwords(connection, {person_ids[index]: text for index, text in hashes.items()})
            effective = {member.person_id: member.role for member in await memberships.roster(connection, course_id)}
        left = any(change.role != Role.STUDENT for change in changes)
        await self._counters.roster_changed(course_id, left=left)
        return [
            MemberAnswer(str(person_id), change.username, change.role, effective.get(person_id))
            for person_id, change in zip(person_ids, changes, strict=True)
        ]

    async def remove_member(self, course_id: str, person_id: UUID) -> None:
        """Remove somebody from the roster; tokens that name the membership end within seconds.

        What another source says of them stays, see ``core.storage.postgres.memberships``.

        Raises:
            NotFound: there is no such member.
            ManagedElsewhere: they are a member by other sources only.
        """
        if not await memberships.remove(self._pool, course_id, person_id):
            if await memberships.role_of(self._pool, course_id, person_id) is None:
                raise NotFound("there is no such member of this course")
            said = await memberships.said_of(self._pool, course_id, [person_id])
            sources = ", ".join(one.source for one in said[person_id] if one.role is not None)
            raise ManagedElsewhere(f"this person is a member by {sources}: remove them there")
        await self._counters.roster_changed(course_id, left=True)
        _log.info("member_removed", course_id=course_id, person_id=str(person_id))

    async def _foreign(self, connection: Any, course_id: str, changes: Sequence[MemberChange]) -> set[int]:
        """Return the positions of those whose names and passwords are not this course's to change."""
        names = [change.username for change in changes]
        rows = await people.belonging_elsewhere(connection, self._index, names, course_id)
        return {index for index, elsewhere in enumerate(rows) if elsewhere}

    async def _set_passwords(self, connection: Any, hashes: dict[UUID, str]) -> None:
        if not hashes:
            return
        await accounts.set_passwords(connection, hashes)
        for person_id in hashes:
            # All sign-ins with the old password end.
            await sign_ins.revoke_person(connection, person_id)
            await sign_in_links.revoke_person(connection, person_id)
