"""The settings of a course: its title, its thresholds, the ruling source of its memberships, and the links of groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from cell_monitor_core.administration.authority import Authority
from cell_monitor_core.administration.course_list import require_course
from cell_monitor_core.administration.refusals import NotPermitted, Unknown, UnknownCourse, Unusable, require_readable
from cell_monitor_core.auth.audit import Actor, AuditAction
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.counters import Counters
from cell_monitor_core.derivation import Thresholds
from cell_monitor_core.storage.postgres import audit, course_links, courses, identities, memberships, revocations
from cell_monitor_core.storage.postgres.course_links import CourseLink
from cell_monitor_core.storage.postgres.courses import Course
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.storage.postgres.pool import Connection

__all__ = ["MAX_LINKS", "RULING_SOURCES", "UNCHANGED", "CourseSettings", "GroupIssuer", "SettingsChange", "Unchanged"]

RULING_SOURCES: Final = (Source.ROSTER, Source.HUB, Source.LTI, Source.OIDC)
"""The sources of memberships that may rule in a course."""
MAX_LINKS: Final = 200
"""Links of groups to roles in one course, at most."""

Unchanged = Literal["unchanged"]
UNCHANGED: Final[Unchanged] = "unchanged"
"""In place of a ruling source, of which None means that no source rules."""


@dataclass(frozen=True, slots=True)
class GroupIssuer:
    """An issuer that is configured and whose groups may give roles in courses.

    Attributes:
        name: of the issuer.
        staff_only: whether its groups give the roles of staff only.
    """

    name: str
    staff_only: bool = False


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """What of a course's settings is to change; the rest stays, whatever it is at that moment.

    Attributes:
        title: the new title.
        thresholds: new values by the names of ``Thresholds``.
        ruling_source: one of ``RULING_SOURCES``, or None for none.
        reset_thresholds: first set all thresholds to their defaults.
    """

    title: str | None = None
    thresholds: Mapping[str, int] = field(default_factory=dict)
    ruling_source: str | Unchanged | None = UNCHANGED
    reset_thresholds: bool = False


class CourseSettings:
    """Reads and changes the settings of courses.

    Args:
        pool: PostgreSQL.
        counters: publishes a changed roster.
        issuers: all that are configured; None where that is not known, and links are then not checked against them.
    """

    def __init__(self, pool: Any, counters: Counters, *, issuers: Sequence[GroupIssuer] | None) -> None:
        self._pool = pool
        self._counters = counters
        self._issuers = issuers

    async def read(self, course_id: str) -> tuple[Course, list[CourseLink]]:
        """Return a course and the links of groups to roles in it, by issuer and group.

        Raises:
            UnknownCourse: there is none of that id.
        """
        async with self._pool.acquire() as connection:
            course = await require_course(connection, course_id)
            return course, await course_links.list_of_course(connection, course_id)

    async def properties(self, course_id: str) -> list[CourseLink]:
        """Return which groups give which roles in a course by their properties at the issuer, as last read."""
        return await course_links.properties_of_course(self._pool, course_id)

    async def change(self, course_id: str, change: SettingsChange, *, authority: Authority, by: Actor) -> Course:
        """Change settings, all or none; return the course as it is then. What is as wanted already has no entry.

        The ruling source gives and ends roles of the staff, which only an admin of the site decides on. Tokens of
        everybody whose role it changes are revoked in the same transaction.

        Raises:
            UnknownCourse: there is none of that id.
            NotPermitted: another ruling source, from somebody who is no admin.
            Unusable: a value is out of its bounds.
        """
        roles_may_change = change.ruling_source != UNCHANGED
        if roles_may_change and authority is not Authority.SITE:
            raise NotPermitted("only an admin of the site can change which source decides", field=["ruling_source"])
        async with self._pool.acquire() as connection, connection.transaction():
            course = await courses.locked(connection, course_id, members=roles_may_change)
            if course is None:
                raise UnknownCourse(course_id)
            await self._rename(connection, course, change.title, by)
            await self._set_thresholds(connection, course, change, by)
            left = roles_may_change and await self._set_ruling_source(connection, course, change.ruling_source, by)
            changed = await require_course(connection, course_id)
        if left:
            await self._counters.roster_changed(course_id, left=True)
        return changed

    async def link_group(self, link: CourseLink, *, authority: Authority, by: Actor) -> bool:
        """Let a group's members have a role in a course from the issuer's next word on; return False if they do already.

        Raises:
            UnknownCourse: there is none of that id.
            NotPermitted: who asks is no admin of the site.
            Unusable: the issuer has no groups, is not configured or does not give this role, or the course has ``MAX_LINKS``
                links.
        """
        _require_admin(authority)
        self._require_effect(link)
        async with self._pool.acquire() as connection, connection.transaction():
            if await courses.locked(connection, link.course_id) is None:
                raise UnknownCourse(link.course_id)
            present = await course_links.list_of_course(connection, link.course_id)
            if link in present:
                return False
            if len(present) >= MAX_LINKS:
                raise Unusable(f"a course has at most {MAX_LINKS} links of groups: remove one first")
            await course_links.add(connection, link)
            await _enter_link(connection, AuditAction.GROUP_LINKED, link, "to", by)
        return True

    def _require_effect(self, link: CourseLink) -> None:
        """Refuse a link that would give nothing."""
        if link.issuer == identities.LOCAL:
            raise Unusable("this installation has no groups: name the issuer that has this one", field=["issuer"])
        if self._issuers is None:
            return
        issuer = next((each for each in self._issuers if each.name == link.issuer), None)
        if issuer is None:
            names = ", ".join(each.name for each in self._issuers)
            way = (
                f"name one of these: {names}"
                if names
                else "configure a JupyterHub or a sign-in service with groups first"
            )
            raise Unusable(
                f"no issuer of this name is configured, so that the link would give nothing: {way}", field=["issuer"]
            )
        if issuer.staff_only and link.role == Role.STUDENT:
            raise Unusable(
                "the groups of a sign-in service give the roles of staff only: link the group as instructor, assistant or "
                "observer, and add students to the course as members",
                field=["role"],
            )

    async def unlink_group(self, link: CourseLink, *, authority: Authority, by: Actor) -> None:
        """Remove a link. Who is a member by it is so until the issuer's next word.

        Raises:
            UnknownCourse: there is none of that id.
            Unknown: there is no such link.
            NotPermitted: who asks is no admin of the site.
        """
        _require_admin(authority)
        async with self._pool.acquire() as connection, connection.transaction():
            await require_course(connection, link.course_id)
            if not await course_links.remove(connection, link):
                raise Unknown("this group has no such link in this course")
            await _enter_link(connection, AuditAction.GROUP_UNLINKED, link, "from", by)

    async def _rename(self, connection: Connection, course: Course, title: str | None, by: Actor) -> None:
        if title is None or title == course.title:
            return
        require_readable(title, field="title")
        await courses.set_title(connection, course.course_id, title)
        details = {"from": course.title, "to": title}
        await audit.record(connection, AuditAction.COURSE_RENAMED, by, course_id=course.course_id, details=details)

    async def _set_thresholds(self, connection: Connection, course: Course, change: SettingsChange, by: Actor) -> None:
        before = msgspec.to_builtins(course.thresholds)
        start = msgspec.to_builtins(Thresholds()) if change.reset_thresholds else before
        try:
            wanted = msgspec.convert(start | dict(change.thresholds), Thresholds)
        except msgspec.ValidationError as error:
            raise Unusable(f"a threshold is out of its bounds: {error}", field=["thresholds"]) from error
        after = msgspec.to_builtins(wanted)
        differing = [name for name in after if after[name] != before[name]]
        if not differing:
            return
        await courses.set_thresholds(connection, course.course_id, wanted)
        details = {"from": {name: before[name] for name in differing}, "to": {name: after[name] for name in differing}}
        await audit.record(connection, AuditAction.THRESHOLDS_CHANGED, by, course_id=course.course_id, details=details)

    async def _set_ruling_source(self, connection: Connection, course: Course, source: str | None, by: Actor) -> bool:
        """Set it and revoke the tokens of those whose role changes; return whether it was another one."""
        if source == course.ruling_source:
            return False
        if source is not None and source not in RULING_SOURCES:
            raise Unusable(f"a ruling source is one of {', '.join(RULING_SOURCES)}", field=["ruling_source"])
        course_id = course.course_id
        before = await memberships.roster(connection, course_id)
        await courses.set_ruling_source(connection, course_id, source)
        after = await memberships.roster(connection, course_id)
        await revocations.revoke_people(connection, {member.person_id for member in set(before) ^ set(after)})
        said = {"from": course.ruling_source, "to": source}
        details = {name: value for name, value in said.items() if value is not None}
        await audit.record(connection, AuditAction.RULING_SOURCE_CHANGED, by, course_id=course_id, details=details)
        return True


def _require_admin(authority: Authority) -> None:
    if authority is not Authority.SITE:
        raise NotPermitted("only an admin of the site can change what groups mean")


async def _enter_link(connection: Connection, action: AuditAction, link: CourseLink, role: str, by: Actor) -> None:
    details = {"issuer": link.issuer, "group": link.group, role: link.role}
    await audit.record(connection, action, by, course_id=link.course_id, details=details)
