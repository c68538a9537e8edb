"""Which roles of a course's staff the course itself may end (docs/adr/0015).

A course decides on its students, assistants and observers. The role of an instructor is ended by an admin of the site, or by
the source that gave it: of two instructors none can shut out the other, and a course does not end up without one by its own act.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from cell_monitor_core.administration.refusals import ProtectedMember, Refusal
from cell_monitor_core.auth.audit import Actor
from cell_monitor_core.auth.roles import STAFF_ROLES, Role, rank_of
from cell_monitor_core.storage.postgres import memberships, people
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.storage.postgres.pool import Connection

__all__ = ["StaffRoles", "protected_ends"]


@dataclass(frozen=True, slots=True)
class StaffRoles:
    """The roles of some people in a course at one moment, by person.

    Attributes:
        listed: what the roster says.
        effective: the roles that count.
    """

    listed: Mapping[UUID, str | None]
    effective: Mapping[UUID, str]

    @classmethod
    async def read(cls, connection: Connection, course_id: str, person_ids: Collection[UUID]) -> StaffRoles:
        """Read the roles that these people have."""
        said = await memberships.said_of(connection, course_id, person_ids)
        listed = {
            person_id: one.role
            for person_id, all_said in said.items()
            for one in all_said
            if one.source == Source.ROSTER
        }
        return cls(listed, await memberships.roles_in(connection, course_id, person_ids))

    def ended(self, after: StaffRoles, person_id: UUID) -> set[str]:
        """Return the roles of the staff that a person has here and neither has nor exceeds ``after`` that.

        What the roster alone says counts as well: it may be what counts again once another source falls silent. So does
        what it takes from a role that another source gave, where the roster rules.
        """
        pairs = (
            (self.listed.get(person_id), after.listed.get(person_id)),
            (self.effective.get(person_id), after.effective.get(person_id)),
        )
        return {
            before for before, now in pairs if before in STAFF_ROLES and (now is None or rank_of(now) > rank_of(before))
        }


async def protected_ends(
    connection: Connection,
    before: StaffRoles,
    after: StaffRoles,
    fields: Mapping[UUID, Sequence[str | int]],
    by: Actor,
) -> list[Refusal]:
    """Return a refusal for each person whose role a course's staff, or a key of its roster, may not end.

    An admin could not be kept out anyway, and who ends their own role cannot give it back: a slip would lock them out.

    Args:
        connection: in the transaction of the change.
        before: the roles before it.
        after: the roles after it.
        fields: whose roles it concerns, with the place in what was given.
        by: who asks.
    """
    ended = {person_id: roles for person_id in fields if (roles := before.ended(after, person_id))}
    admins = await people.admins_among(connection, list(ended))
    refused: list[Refusal] = []
    for person_id, roles in ended.items():
        if person_id == by.person_id:
            msg = "only an admin of the site can end or lower your own role: ask one"
        elif person_id in admins:
            msg = "this person is an admin of the site: only an admin of the site can end or lower their role"
        elif Role.INSTRUCTOR in roles:
            msg = (
                "this person is an instructor: only an admin of the site, or the source that gave them the role, "
                "can end or lower it; ask an admin"
            )
        else:
            continue
        refused.append(ProtectedMember(msg, field=fields[person_id]))
    return refused
