"""The people of a JupyterHub here: who a user of the Hub is, and which courses the user's groups give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from cell_monitor_api.services.hub_rules import GroupRules, HubVisitor
from cell_monitor_api.services.issuer_people import IssuerPeople
from cell_monitor_api.storage.hub_api import HubGroup
from cell_monitor_core.auth.audit import HUB
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import course_links, courses, group_readings, memberships, people
from cell_monitor_core.storage.postgres.course_links import CourseLink
from cell_monitor_core.storage.postgres.group_readings import Reading
from cell_monitor_core.storage.postgres.memberships import Source

__all__ = ["HubPeople"]

_MAX_GROUP_CHARS: Final = 512
_NAMES_AT_ONCE: Final = 200


class HubPeople(IssuerPeople):
    """Takes over what the Hub says of its users.

    Args:
        issuer: name of the Hub among the issuers of identities.
        rules: what groups mean by their names.
        admins: whether admins of the Hub are admins of the site.
    """

    def __init__(
        self,
        pool: Any,
        keyring: KeyRing,
        index: BlindIndex,
        counters: Counters,
        *,
        issuer: str,
        rules: GroupRules,
        admins: bool = False,
    ) -> None:
        super().__init__(pool, keyring, index, counters, issuer=issuer, rules=rules, source=Source.HUB)
        self._admins = admins

    async def visit(self, visitor: HubVisitor, *, asked_at: float) -> UUID:
        """Return the person of a user who signs in or is signed in, as ``update`` does, with the Hub's word on admins."""
        person_id = await self.update(visitor.name, visitor.groups, asked_at=asked_at)
        # Where the setting is off this ends what it gave before.
        await people.set_admin_by_hub(self._pool, person_id, is_admin=self._admins and visitor.is_admin)
        return person_id

    async def update_all(self, groups: Sequence[HubGroup], reading: Reading) -> int | None:
        """Take over who is in which course by all groups of the Hub; return how many people they name.

        People who have not signed in yet are added. What other sources say stays; somebody whom no group names any more
        is removed, unless that changed after the reading began. Where a later reading has begun, the groups are as they
        were before: nothing is taken over, and None is returned.
        """
        properties = [
            CourseLink(self._issuer, group.name, role, course_id)
            for group in groups
            for course_id, role in self._rules.links_of(group)
            if len(group.name) <= _MAX_GROUP_CHARS
        ]
        async with self._pool.acquire() as connection, connection.transaction():
            if not await group_readings.is_newest(connection, reading):
                return None
            await course_links.set_properties(connection, self._issuer, properties)
        links: dict[str, list[tuple[str, str]]] = {}
        for link in await course_links.of_issuer(self._pool, self._issuer):
            links.setdefault(link.group, []).append((link.course_id, link.role))
        said = self._rules.roles_of_users(groups, links)
        known = await courses.existing(self._pool, {course_id for roles in said.values() for course_id in roles})
        roles_by_name = {
            name: kept
            for name, roles in said.items()
            if (kept := {course_id: role for course_id, role in roles.items() if course_id in known})
        }
        person_ids = await self._person_ids(sorted(roles_by_name))
        # Again: adding the people of a whole university takes long.
        if not await group_readings.is_newest(self._pool, reading):
            return None
        changed = await memberships.set_source(
            self._pool,
            {person_ids[name]: roles for name, roles in roles_by_name.items()},
            source=Source.HUB,
            read_at=reading.begun_at,
            by=HUB,
        )
        for course_id in changed:
            await self._counters.roster_changed(course_id, left=True)
        return len(roles_by_name)

    async def _person_ids(self, names: Sequence[str]) -> dict[str, UUID]:
        found: dict[str, UUID] = {}
        # In parts: hashing and encrypting the names of a whole university would stop all other requests of this process.
        for start in range(0, len(names), _NAMES_AT_ONCE):
            part = names[start : start + _NAMES_AT_ONCE]
            async with self._pool.acquire() as connection, connection.transaction():
                added = await people.upsert_many(
                    connection,
                    self._keyring,
                    self._index,
                    [people.NewPerson(name) for name in part],
                    issuer=self._issuer,
                )
            found |= dict(zip(part, added, strict=True))
        return found
