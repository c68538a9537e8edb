"""What the groups of an issuer, such as a Hub or a learning platform, mean in courses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cell_monitor_core.auth.roles import Role, highest_by_course
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["CourseLink", "add", "list_of_course", "remove", "roles_of_groups"]


@dataclass(frozen=True, slots=True)
class CourseLink:
    """The members of a group have a role in a course; group names are compared byte for byte."""

    issuer: str
    group: str
    role: str
    course_id: str


async def add(executor: Executor, link: CourseLink) -> bool:
    """Add a link; return False if it exists.

    Raises:
        asyncpg.ForeignKeyViolationError: no such course.
        asyncpg.CheckViolationError: no such role, or an empty or overlong name.
    """
    sql = (
        "INSERT INTO course_links (issuer, group_name, role, course_id) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT DO NOTHING RETURNING true"
    )
    return bool(await executor.fetchval(sql, link.issuer, link.group, link.role, link.course_id))


async def remove(executor: Executor, link: CourseLink) -> bool:
    """Remove a link; return False if there is none. Memberships that came of it change at the issuer's next word."""
    sql = (
        "DELETE FROM course_links WHERE issuer = $1 AND group_name = $2 AND role = $3 AND course_id = $4 RETURNING true"
    )
    return bool(await executor.fetchval(sql, link.issuer, link.group, link.role, link.course_id))


async def list_of_course(executor: Executor, course_id: str) -> list[CourseLink]:
    """Return a course's links, by issuer and group."""
    rows = await executor.fetch(
        "SELECT issuer, group_name, role, course_id FROM course_links WHERE course_id = $1 ORDER BY 1, 2, 3", course_id
    )
    return [CourseLink(*row) for row in rows]


async def roles_of_groups(executor: Executor, issuer: str, groups: Iterable[str]) -> dict[str, str]:
    """Return the highest role by course id that groups of an issuer give; a group without a link gives nothing."""
    rows = await executor.fetch(
        "SELECT course_id, role FROM course_links WHERE issuer = $1 AND group_name = ANY($2::text[])",
        issuer,
        list(groups),
    )
    highest = highest_by_course((row["course_id"], Role(row["role"])) for row in rows)
    return {course_id: str(role) for course_id, role in sorted(highest.items())}
