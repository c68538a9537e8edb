"""What the groups of an issuer, such as a Hub or a learning platform, mean in courses.

Links are set here; besides, a group may name a course by its own properties at the issuer, which are read from time to time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cell_monitor_core.auth.roles import Role, highest_by_course
from cell_monitor_core.storage.postgres.pool import Connection, Executor

__all__ = [
    "CourseLink",
    "add",
    "list_of_course",
    "of_issuer",
    "properties_of_course",
    "remove",
    "roles_of_groups",
    "set_properties",
]

_ALL_LINKS: Final = """(
    SELECT issuer, group_name, role, course_id FROM course_links
    UNION
    SELECT issuer, group_name, role, course_id FROM group_properties
) AS links"""
"""Those that are set here and those by the groups' properties."""


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


async def properties_of_course(executor: Executor, course_id: str) -> list[CourseLink]:
    """Return what groups say of a course by their properties, as last read, by issuer and group."""
    rows = await executor.fetch(
        "SELECT issuer, group_name, role, course_id FROM group_properties WHERE course_id = $1 ORDER BY 1, 2, 3",
        course_id,
    )
    return [CourseLink(*row) for row in rows]


async def roles_of_groups(executor: Executor, issuer: str, groups: Iterable[str]) -> dict[str, str]:
    """Return the highest role by course id that groups of an issuer give; a group without a link gives nothing."""
    rows = await executor.fetch(
        f"SELECT course_id, role FROM {_ALL_LINKS} WHERE issuer = $1 AND group_name = ANY($2::text[])",  # noqa: S608
        issuer,
        list(groups),
    )
    highest = highest_by_course((row["course_id"], Role(row["role"])) for row in rows)
    return {course_id: str(role) for course_id, role in sorted(highest.items())}


async def of_issuer(executor: Executor, issuer: str) -> list[CourseLink]:
    """Return all links of an issuer's groups, those by the groups' properties included."""
    rows = await executor.fetch(
        f"SELECT issuer, group_name, role, course_id FROM {_ALL_LINKS} WHERE issuer = $1",  # noqa: S608
        issuer,
    )
    return [CourseLink(*row) for row in rows]


async def set_properties(connection: Connection, issuer: str, links: Iterable[CourseLink]) -> None:
    """Take over what all groups of an issuer say by their properties; courses that do not exist are left out."""
    ordered = sorted({(link.group, link.role, link.course_id) for link in links})
    groups, roles, course_ids = ([link[part] for link in ordered] for part in range(3))
    await connection.execute(
        """
        DELETE FROM group_properties WHERE issuer = $1 AND (group_name, role, course_id) NOT IN (
            SELECT * FROM unnest($2::text[], $3::text[], $4::text[]))
        """,
        issuer,
        groups,
        roles,
        course_ids,
    )
    await connection.execute(
        """
        INSERT INTO group_properties (issuer, group_name, role, course_id)
        SELECT $1, group_name, role, course_id
        FROM unnest($2::text[], $3::text[], $4::text[]) AS new (group_name, role, course_id)
             JOIN courses USING (course_id)
        ON CONFLICT DO NOTHING
        """,
        issuer,
        groups,
        roles,
        course_ids,
    )
