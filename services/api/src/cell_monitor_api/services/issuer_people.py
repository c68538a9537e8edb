"""The people of an issuer here: who one of its subjects is, and which courses their groups give."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from cell_monitor_api.services.hub_rules import GroupRules
from cell_monitor_core.auth.audit import Actor, ActorKind
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.counters import Counters
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import course_links, courses, memberships, people
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.storage.postgres.pool import Connection

__all__ = ["IssuerPeople"]


class IssuerPeople:
    """Takes over what an issuer says of a person. An identity is the issuer and the exact subject: see docs/adr/0015.

    Args:
        issuer: of the identities.
        rules: what groups mean by their names.
        source: of the memberships that the groups give.
        staff_only: whether groups give the roles of staff only; others' groups then give nothing.
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
        source: Source,
        staff_only: bool = False,
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._index = index
        self._counters = counters
        self._issuer = issuer
        self._rules = rules
        self._source = source
        self._actor = Actor(ActorKind(source.value))
        self._staff_only = staff_only

    async def update(
        self, subject: str, groups: Sequence[str] | None, *, asked_at: float, display_name: str | None = None
    ) -> UUID:
        """Return the person of a subject, with exactly the courses that the groups give now.

        What the issuer said of a course in an answer to a later question stays.

        Args:
            subject: exactly as the issuer spells it.
            groups: of the person; None where the issuer does not say: courses then stay as they are.
            asked_at: when the issuer was asked, in seconds of ``time.monotonic``.
            display_name: to be shown; None leaves what is stored.
        """
        changed: list[str] = []
        roles: dict[str, str] = {}
        async with self._pool.acquire() as connection, connection.transaction():
            (person_id,) = await people.upsert_many(
                connection,
                self._keyring,
                self._index,
                [people.NewPerson(subject, display_name)],
                issuer=self._issuer,
            )
            if groups is not None:
                roles = await self._roles(connection, groups)
                # Measured within the transaction: its beginning less this age is not later than the question.
                age = timedelta(seconds=max(0.0, monotonic() - asked_at))
                changed = await memberships.set_all(
                    connection, person_id, roles, source=self._source, age=age, by=self._actor
                )
        for course_id in changed:
            await self._counters.roster_changed(course_id, left=roles.get(course_id) != Role.STUDENT)
        return person_id

    async def _roles(self, connection: Connection, groups: Sequence[str]) -> dict[str, str]:
        linked = await course_links.roles_of_groups(connection, self._issuer, groups)
        roles = self._rules.roles_of(groups, linked)
        if self._staff_only:
            roles = {course_id: role for course_id, role in roles.items() if role != Role.STUDENT}
        known = await courses.existing(connection, roles)
        return {course: roles[course] for course in known}
