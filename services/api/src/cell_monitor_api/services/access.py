"""Who may do what in which course, by what the database says now.

A token carries the memberships of the moment it was made, up to ten minutes ago. Here they are looked up again, at most
five seconds old, so that a person who was removed from a course loses access soon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final
from uuid import UUID

from cell_monitor_api.exceptions import InsufficientScope, NotFound, PermissionDenied
from cell_monitor_core.administration.authority import Authority
from cell_monitor_core.auth.roles import SERVICE_PERMISSIONS, Permission, may_in_course
from cell_monitor_core.auth.tokens import Claims
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres import courses, memberships, people

__all__ = ["Access", "CourseAccess"]

_MAX_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class CourseAccess:
    """A caller who may do what was asked for in a course; ``role`` is None for an admin or a service, no members."""

    course_id: str
    person_id: UUID
    role: str | None
    admin: bool

    @property
    def authority(self) -> Authority:
        """Over what they decide, for the services of ``core.administration``."""
        return Authority.SITE if self.admin else Authority.COURSE


class Access:
    """Decides on every request of the query API.

    Args:
        pool: PostgreSQL.
        keyring: to read people.
        lifetime_s: seconds for which an answer of the database holds.
        clock: seconds, monotonic.
    """

    def __init__(
        self, pool: Any, keyring: KeyRing, *, lifetime_s: float = 5.0, clock: Callable[[], float] = monotonic
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._kept: dict[tuple[str, str], tuple[Any, float]] = {}

    def forget(self) -> None:
        """Read the database again from now on: a membership was changed by this process."""
        self._kept.clear()

    async def require(self, claims: Claims, course_id: str, permission: Permission) -> CourseAccess:
        """Return what the caller is in a course, where they may do what is asked for.

        Raises:
            NotFound: there is no such course, or the caller has nothing to do with it.
            PermissionDenied: the caller's role or token does not allow it.
        """
        person_id = claims.person_id
        admin = await self._is_admin(claims)
        service = claims.is_service
        role = None if service else await self._role(course_id, person_id)
        if role is None and not admin and not (service and _reaches_courses(claims)):
            raise NotFound("there is no such course")
        if role is None and not await self._exists(course_id):
            raise NotFound("there is no such course")
        if not claims.allows(permission):
            raise PermissionDenied("your access token does not allow this")
        if not may_in_course(role, permission, admin=admin, service=service):
            raise PermissionDenied("your role in this course does not allow this")
        return CourseAccess(course_id, person_id, role, admin)

    async def require_admin(self, claims: Claims) -> None:
        """Let admins of the site pass.

        Raises:
            PermissionDenied: the caller is none.
        """
        if not await self._is_admin(claims):
            raise PermissionDenied("only an admin of the site may do this")

    async def sees_all_courses(self, claims: Claims) -> bool:
        """Return whether the caller's list of courses holds all of them.

        Raises:
            InsufficientScope: the token does not allow reading courses.
        """
        if not claims.allows(Permission.READ_COURSE):
            raise InsufficientScope(f"the access token does not allow this ({Permission.READ_COURSE})")
        return claims.is_service or await self._is_admin(claims)

    async def _is_admin(self, claims: Claims) -> bool:
        if not claims.administers:
            return False
        if claims.is_service:
            return True
        person_id = claims.person_id
        person = await self._remember(("person", claims.sub), lambda: people.get(self._pool, self._keyring, person_id))
        return person is not None and bool(person.is_admin)

    async def _role(self, course_id: str, person_id: UUID) -> str | None:
        key = (course_id, str(person_id))
        role: str | None = await self._remember(key, lambda: memberships.role_of(self._pool, course_id, person_id))
        return role

    async def _exists(self, course_id: str) -> bool:
        course = await self._remember(("course", course_id), lambda: courses.get(self._pool, course_id))
        return course is not None

    async def _remember(self, key: tuple[str, str], read: Callable[[], Any]) -> Any:
        now = self._clock()
        kept = self._kept.get(key)
        if kept is not None and kept[1] > now:
            return kept[0]
        value = await read()
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        self._kept[key] = (value, now + self._lifetime_s)
        return value


def _reaches_courses(claims: Claims) -> bool:
    """Return whether a service's token allows anything in courses, so that it may learn which exist."""
    return any(claims.allows(permission) for permission in SERVICE_PERMISSIONS)
