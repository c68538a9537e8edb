"""The list of a course's members, as the pages and ``cell-monitor admin`` show it."""

from __future__ import annotations

from dataclasses import dataclass

from cell_monitor_core.auth.roles import rank_of
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres import identities, memberships, people
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.storage.postgres.pool import Connection

__all__ = ["ListedMember", "members_of"]


@dataclass(frozen=True, slots=True)
class ListedMember:
    """Somebody who belongs to a course.

    Attributes:
        role: the one that counts.
        sources: what each source says; None that it removed them.
        issuers: where they sign in: two people of one name differ by it.
    """

    person: people.Person
    role: str
    sources: dict[Source, str | None]
    issuers: list[str]


async def members_of(connection: Connection, keyring: KeyRing, course_id: str) -> list[ListedMember]:
    """Return everybody who belongs to a course at one moment, by role, the highest first, then by user name."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        roles = {member.person_id: member.role for member in await memberships.roster(connection, course_id)}
        said = await memberships.said_of(connection, course_id, roles)
        found = await people.get_many(connection, keyring, roles)
        issuers = await identities.issuers_of(connection, roles)
    members = [
        ListedMember(
            person,
            roles[person.person_id],
            {one.source: one.role for one in said[person.person_id]},
            issuers.get(person.person_id, []),
        )
        for person in found
    ]
    return sorted(
        members,
        key=lambda member: (rank_of(member.role), member.person.username.casefold(), member.person.username),
    )
