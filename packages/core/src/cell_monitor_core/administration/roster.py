"""Members of courses: listed, added, given roles, removed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cell_monitor_core.administration.authority import Authority
from cell_monitor_core.administration.course_list import require_course
from cell_monitor_core.administration.refusals import (
    ManagedBySource,
    NotPermitted,
    Refusal,
    Unknown,
    Unusable,
    refuse_all,
)
from cell_monitor_core.administration.staff_roles import StaffRoles, protected_ends
from cell_monitor_core.auth.audit import OPERATOR, Actor
from cell_monitor_core.auth.roles import STAFF_ROLES, Role
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import identities, joined_computers, memberships, people
from cell_monitor_core.storage.postgres.member_list import ListedMember, members_of
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.storage.postgres.pool import Connection

__all__ = ["MemberChange", "Roster", "StoredMember"]


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Somebody to add, or to bring up to date; None leaves a thing as it is.

    Attributes:
        username: spelled exactly.
        role: in the course.
        display_name: shown on the dashboard.
        site_admin: whether they are an admin of the whole site from now on.
    """

    username: str
    role: str
    display_name: str | None = None
    site_admin: bool | None = None


@dataclass(frozen=True, slots=True)
class StoredMember:
    """A member as stored.

    Attributes:
        role: in the roster.
        effective_role: the one that counts, None for none: other sources give a higher one or rule in the course.
    """

    person_id: UUID
    username: str
    role: str
    effective_role: str | None


class Roster:
    """Adds and removes members.

    Args:
        pool: PostgreSQL.
        keyring: encrypts names.
        index: finds people by their names.
        counters: reports changes to open pages after they are committed.
        issuers: where people sign in whom a course may name, beside this installation. An operator may name any.
    """

    def __init__(
        self, pool: Any, keyring: KeyRing, index: BlindIndex, counters: Counters, *, issuers: Collection[str] = ()
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._index = index
        self._counters = counters
        self._issuers = issuers

    @property
    def issuers(self) -> list[str]:
        """Where people sign in whom a course may name; this installation is the last."""
        return [*self._issuers, identities.LOCAL]

    async def members(self, course_id: str) -> list[ListedMember]:
        """Return everybody who belongs to a course, with what each source says of them; staff first, then by user name.

        Raises:
            UnknownCourse: there is no such course.
        """
        async with self._pool.acquire() as connection:
            await require_course(connection, course_id)
            return await members_of(connection, self._keyring, course_id)

    async def similar_names(self, username: str) -> list[str]:
        """Return the user names, of any issuer, that differ from this one in case or Unicode form at most, itself included."""
        return [found.username for found in await people.search(self._pool, self._keyring, self._index, username)]

    async def put_members(
        self,
        course_id: str,
        changes: Sequence[MemberChange],
        *,
        authority: Authority,
        by: Actor,
        issuer: str = identities.LOCAL,
    ) -> list[StoredMember]:
        """Add members to the roster or bring them up to date, all or none. Return them in the order given.

        A course's staff decides on the students of its course. It may name somebody who belongs to other courses, too,
        but not rename them. Roles of the staff show every student's work, so only who decides on the site gives them;
        a list may repeat those that its people have already. It ends no role of an instructor, and none of the staff that is
        the asker's own or that of an admin of the site, see ``staff_roles``. Nobody gives a password here: it is its
        person's own.

        Args:
            course_id: the course.
            changes: each user name once.
            authority: over what the one who asks decides.
            by: who asks.
            issuer: where these people sign in, as it is configured; the default is this installation.

        Raises:
            UnknownCourse: there is no such course.
            Unusable: nobody who is named here signs in at this issuer.
            NotPermitted: something that only who decides on the site may do: a role of the staff that the person does
                not have, or rights of an admin; also where they decide on it no longer.
            ProtectedMember: a role of the staff would end that only who decides on the site can end.

            Of several that are not permitted or protected all are named, in the order given: ``Refusal.further``.
        """
        of_site = authority is Authority.SITE
        if issuer not in self.issuers and not (of_site and by == OPERATOR):
            raise Unusable(f"students can be added of these issuers: {', '.join(self.issuers)}", field=["issuer"])
        async with self._pool.acquire() as connection, connection.transaction():
            await require_course(connection, course_id)
            # Not by the right that the request began with: a role of the staff would outlast it.
            if of_site and not await people.is_asking_admin(connection, by):
                raise NotPermitted("only an admin of the site may do this")
            foreign = set() if of_site else await self._foreign(connection, course_id, changes, issuer)
            person_ids = await people.upsert_many(
                connection,
                self._keyring,
                self._index,
                [
                    people.NewPerson(change.username, None if index in foreign else change.display_name)
                    for index, change in enumerate(changes)
                ],
                issuer=issuer,
            )
            roles = {person_id: change.role for person_id, change in zip(person_ids, changes, strict=True)}
            if of_site:
                await memberships.upsert_many(connection, course_id, roles, by=by)
            else:
                roles = await self._put_students(connection, course_id, person_ids, changes, by)
            for person_id, change in zip(person_ids, changes, strict=True):
                if change.site_admin is not None:
                    await people.set_admin(connection, person_id, is_admin=change.site_admin, by=by)
            effective = await memberships.roles_in(connection, course_id, person_ids)
        left = any(role != Role.STUDENT for role in roles.values())
        await self._counters.roster_changed(course_id, left=left)
        return [
            StoredMember(person_id, change.username, change.role, effective.get(person_id))
            for person_id, change in zip(person_ids, changes, strict=True)
        ]

    async def has_instructor(self, course_id: str) -> bool:
        """Return whether anybody's role in a course is that of an instructor, by whatever source."""
        members = await memberships.roster(self._pool, course_id)
        return any(member.role == Role.INSTRUCTOR for member in members)

    async def removable_role(self, course_id: str, person_id: UUID) -> str:
        """Return the role of a member that ``remove_member`` ends: of the roster, else of joining by code.

        Raises:
            UnknownCourse: there is no such course.
            Unknown: there is no such member.
            ManagedBySource: they are a member by other sources only.
        """
        async with self._pool.acquire() as connection:
            await require_course(connection, course_id)
            return await self._removable_role(connection, course_id, person_id)

    async def remove_member(
        self, course_id: str, person_id: UUID, *, authority: Authority, by: Actor, end_site_admin: bool = False
    ) -> str | None:
        """Remove somebody from the roster, or who joined by code; tokens that name the membership end within seconds.

        What another source says of them stays, see ``core.storage.postgres.memberships``.

        Args:
            course_id: the course.
            person_id: the member.
            authority: over what the one who asks decides.
            by: who asks.
            end_site_admin: whether they are an admin of the whole site no longer either.

        Returns:
            The role that they still have by another source, None for no member.

        Raises:
            Unknown: there is no such member.
            ManagedBySource: they are a member by other sources only.
            ProtectedMember: a role of the staff would end that only who decides on the site can end.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await self._removable_role(connection, course_id, person_id)
            # Not by the right that the request began with, as in put_members.
            of_site = authority is Authority.SITE and await people.is_asking_admin(connection, by)
            before = await StaffRoles.read(connection, course_id, [person_id])
            await joined_computers.remove_member(connection, course_id, person_id, by=by)
            if not of_site:
                after = await StaffRoles.read(connection, course_id, [person_id])
                refuse_all(await protected_ends(connection, before, after, {person_id: ()}, by))
            if end_site_admin:
                await people.set_admin(connection, person_id, is_admin=False, by=by)
            still = await memberships.role_of(connection, course_id, person_id)
        await self._counters.roster_changed(course_id, left=still != Role.STUDENT)
        return still

    async def _removable_role(self, connection: Any, course_id: str, person_id: UUID) -> str:
        said = (await memberships.said_of(connection, course_id, [person_id])).get(person_id, [])
        given = {one.source: one.role for one in said if one.role is not None}
        for source in (Source.ROSTER, Source.JOIN):
            if source in given:
                return given[source]
        if await memberships.role_of(connection, course_id, person_id) is None:
            raise Unknown("there is no such member of this course")
        raise ManagedBySource(f"this person is a member by {', '.join(given)}: remove them there")

    async def _foreign(self, connection: Any, course_id: str, changes: Sequence[MemberChange], issuer: str) -> set[int]:
        """Return the positions of those whose names are not this course's to change."""
        names = [change.username for change in changes]
        rows = await people.belonging_elsewhere(connection, self._index, names, course_id, issuer)
        return {index for index, elsewhere in enumerate(rows) if elsewhere}

    async def _put_students(
        self,
        connection: Connection,
        course_id: str,
        person_ids: Sequence[UUID],
        changes: Sequence[MemberChange],
        by: Actor,
    ) -> dict[UUID, str]:
        """Store what a course's staff may store: roles of the staff must be there already, and protected ones stay.

        Return the roles that were stored, those of students.
        """
        before = await StaffRoles.read(connection, course_id, person_ids)
        refused: dict[int, Refusal] = {}
        roles = {}
        for position, (person_id, change) in enumerate(zip(person_ids, changes, strict=True)):
            field = ("members", position)
            if change.site_admin is not None:
                msg = "only an admin of the site can decide who is one"
                refused[position] = NotPermitted(msg, field=[*field, "site_admin"])
            elif change.role not in STAFF_ROLES:
                roles[person_id] = change.role
            elif before.listed.get(person_id) != change.role:
                msg = f"only an admin of the site can give the role {change.role}"
                refused[position] = NotPermitted(msg, field=[*field, "role"])
        await memberships.upsert_many(connection, course_id, roles, by=by)
        after = await StaffRoles.read(connection, course_id, person_ids)
        fields = {person_id: ("members", position, "role") for position, person_id in enumerate(person_ids)}
        for refusal in await protected_ends(connection, before, after, fields, by):
            refused[int(refusal.field[1])] = refusal
        refuse_all([refused[position] for position in sorted(refused)])
        return roles
