"""The people of a JupyterHub here: who a user of the Hub is, and which courses the user's groups give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from cell_monitor_api.services.hub_rules import GroupRules
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import course_links, courses, memberships, people
from cell_monitor_core.storage.postgres.memberships import Source

__all__ = ["HubPeople"]


class HubPeople:
    """Takes over what the Hub says of its users. An identity is the Hub and the exact name: see docs/adr/0015.

    Args:
        issuer: name of the Hub among the issuers of identities.
        rules: what groups mean by their names.
    """

    def __init__(
        self, pool: Any, keyring: KeyRing, index: BlindIndex, counters: Counters, *, issuer: str, rules: GroupRules
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._index = index
        self._counters = counters
        self._issuer = issuer
        self._rules = rules

    async def update(self, name: str, groups: Sequence[str]) -> UUID:
        """Return the person of a user of the Hub, with exactly the courses that the user's groups give now."""
        async with self._pool.acquire() as connection, connection.transaction():
            (person_id,) = await people.upsert_many(
                connection, self._keyring, self._index, [people.NewPerson(name)], issuer=self._issuer
            )
            linked = await course_links.roles_of_groups(connection, self._issuer, groups)
            roles = self._rules.roles_of(groups, linked)
            known = await courses.existing(connection, roles)
            changed = await memberships.set_all(
                connection, person_id, {course: roles[course] for course in known}, source=Source.HUB
            )
        for course_id in changed:
            await self._counters.roster_changed(course_id, left=roles.get(course_id) != Role.STUDENT)
        return person_id
