"""Memberships: person, course, role and source.

Each source keeps its own row, so that sources never overwrite each other. The role that counts, the *effective* role, is
the highest that any source gives; where the course names a ruling source, that one alone decides about everybody of whom
it has ever spoken, a removal included (docs/adr/0015). The view ``course_members`` derives it, and everything reads it
from there. With each change, in the same statement, tokens that state earlier roles are revoked and the audit log gets an entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from cell_monitor_core.auth.audit import SYSTEM, Actor
from cell_monitor_core.storage.postgres import audit
from cell_monitor_core.storage.postgres.pool import Executor
from cell_monitor_core.storage.postgres.revocations import REVOKE_CHANGED

__all__ = [
    "Member",
    "MemberOfCourses",
    "Source",
    "SourceRole",
    "courses_left",
    "is_student",
    "members_with_courses",
    "remove",
    "role_of",
    "roles_in",
    "roles_of",
    "roster",
    "said_of",
    "set_all",
    "set_source",
    "upsert_many",
]


class Source(StrEnum):
    """Who says that somebody is a member."""

    ROSTER = "roster"
    """This installation: the pages, the API, ``cell-monitor admin``."""
    HUB = "hub"
    """Groups of a JupyterHub."""
    LTI = "lti"
    """A learning platform."""
    OIDC = "oidc"
    """Groups that an OpenID Connect provider says somebody is in when they sign in."""
    JOIN = "join"
    """The person typed the course's code, see ``join_codes``."""


@dataclass(frozen=True, slots=True)
class Member:
    """A person in a course and their effective role: instructor, assistant, observer or student."""

    person_id: UUID
    role: str


@dataclass(frozen=True, slots=True)
class MemberOfCourses:
    """A person in a course, their effective role there, and of how many courses they are a member."""

    person_id: UUID
    role: str
    courses: int


@dataclass(frozen=True, slots=True)
class SourceRole:
    """What one source said last of a person in a course; a role of None: that it removed them."""

    source: Source
    role: str | None


def is_student(row: str) -> str:
    """Return the SQL condition that the person of ``row``, a table with course_id and person_id, is a student there now.

    Every query that shows or changes a person's data within a course asks for it, here or by a join with the view.
    """
    return (
        f"EXISTS (SELECT FROM course_members enrolled WHERE enrolled.course_id = {row}.course_id "
        f"AND enrolled.person_id = {row}.person_id AND enrolled.role = 'student')"
    )


async def roles_of(executor: Executor, person_id: UUID) -> dict[str, str]:
    """Return course id to effective role for all of a person's courses, in the order of the ids."""
    rows = await executor.fetch(
        "SELECT course_id, role FROM course_members WHERE person_id = $1 ORDER BY course_id", person_id
    )
    return {row["course_id"]: row["role"] for row in rows}


async def role_of(executor: Executor, course_id: str, person_id: UUID) -> str | None:
    """Return a person's effective role in a course, None if they are no member."""
    role: str | None = await executor.fetchval(
        "SELECT role FROM course_members WHERE course_id = $1 AND person_id = $2", course_id, person_id
    )
    return role


async def roles_in(executor: Executor, course_id: str, person_ids: Iterable[UUID]) -> dict[UUID, str]:
    """Return the effective roles of people in a course; who is no member is left out."""
    rows = await executor.fetch(
        "SELECT person_id, role FROM course_members WHERE course_id = $1 AND person_id = ANY($2::uuid[])",
        course_id,
        list(person_ids),
    )
    return {row["person_id"]: row["role"] for row in rows}


async def roster(executor: Executor, course_id: str) -> list[Member]:
    """Return all members of a course with their effective role, in the order of their ids."""
    rows = await executor.fetch(
        "SELECT person_id, role FROM course_members WHERE course_id = $1 ORDER BY person_id", course_id
    )
    return [Member(row["person_id"], row["role"]) for row in rows]


async def members_with_courses(executor: Executor, course_id: str) -> list[MemberOfCourses]:
    """Return all members of a course, each with the number of courses that they are a member of."""
    rows = await executor.fetch(
        "SELECT m.person_id, m.role, "
        "(SELECT count(*) FROM course_members o WHERE o.person_id = m.person_id) AS courses "
        "FROM course_members m WHERE m.course_id = $1",
        course_id,
    )
    return [MemberOfCourses(**row) for row in rows]


async def courses_left(
    executor: Executor, person_ids: Iterable[UUID], *, within: timedelta, most: int
) -> dict[UUID, list[str]]:
    """Return the courses from which people were removed lately, at most ``most`` each, the last ones first."""
    rows = await executor.fetch(
        """
        SELECT person_id, (array_agg(course_id ORDER BY changed_at DESC, course_id))[:$2] AS courses FROM (
            SELECT person_id, course_id, max(changed_at) AS changed_at FROM memberships m
            WHERE person_id = ANY($1::uuid[]) AND changed_at > now() - $3::interval AND NOT EXISTS (
                SELECT FROM course_members o WHERE o.person_id = m.person_id AND o.course_id = m.course_id)
            GROUP BY person_id, course_id
        ) AS left_courses GROUP BY person_id
        """,
        list(person_ids),
        most,
        within,
    )
    return {row["person_id"]: row["courses"] for row in rows}


async def said_of(executor: Executor, course_id: str, person_ids: Iterable[UUID]) -> dict[UUID, list[SourceRole]]:
    """Return what each source said of people in a course; people of whom none has spoken are left out."""
    rows = await executor.fetch(
        "SELECT person_id, source, role FROM memberships WHERE course_id = $1 AND person_id = ANY($2::uuid[]) "
        "ORDER BY person_id, source",
        course_id,
        list(person_ids),
    )
    said: dict[UUID, list[SourceRole]] = {}
    for row in rows:
        said.setdefault(row["person_id"], []).append(SourceRole(Source(row["source"]), row["role"]))
    return said


async def upsert_many(
    executor: Executor,
    course_id: str,
    roles: Mapping[UUID, str],
    *,
    source: Source = Source.ROSTER,
    by: Actor = SYSTEM,
) -> int:
    """Let a source make people members, or change their role; return how many of its rows were added or changed.

    Args:
        executor: a connection or a pool.
        course_id: the course.
        roles: by person.
        source: the source.
        by: who did it, for the audit log.

    Raises:
        asyncpg.ForeignKeyViolationError: no such course or person.
        asyncpg.CheckViolationError: no such role.
    """
    # In the order of the key, so that two such statements never wait for each other.
    ordered = sorted(roles.items())
    rows = await executor.fetch(
        f"""
        WITH new AS (
            SELECT * FROM unnest($2::uuid[], $3::text[]) AS new (person_id, role)
        ), before AS (
            SELECT m.person_id, m.role FROM memberships m JOIN new n USING (person_id)
            WHERE m.course_id = $1 AND m.source = $4 AND m.role IS DISTINCT FROM n.role
            ORDER BY m.person_id FOR UPDATE OF m
        ), given AS (
            INSERT INTO memberships (course_id, person_id, source, role)
            SELECT $1, n.person_id, $4, n.role FROM new n LEFT JOIN before b USING (person_id) ORDER BY n.person_id
            ON CONFLICT (course_id, person_id, source) DO UPDATE SET role = excluded.role, changed_at = now()
            WHERE memberships.role IS DISTINCT FROM excluded.role
            RETURNING course_id, person_id, role
        ), changes AS (
            SELECT g.course_id, g.person_id, b.role AS old_role, g.role AS new_role
            FROM given g LEFT JOIN before b USING (person_id)
        ), changed AS (
            SELECT person_id FROM changes
        ), {REVOKE_CHANGED}, {audit.entries_of_roles(4, 5)}
        SELECT person_id FROM changed
        """,  # noqa: S608 - no values
        course_id,
        [person_id for person_id, _ in ordered],
        [role for _, role in ordered],
        source,
        *by.columns,
    )
    return len(rows)


async def remove(
    executor: Executor, course_id: str, person_id: UUID, *, source: Source = Source.ROSTER, by: Actor = SYSTEM
) -> bool:
    """Let a source end a membership; return False if it gave none. What other sources said, and all data, stay.

    That it did so stays stored as well: as the ruling source it keeps the person out whatever others say.
    """
    sql = f"""
        WITH before AS (
            SELECT course_id, person_id, role FROM memberships
            WHERE course_id = $1 AND person_id = $2 AND source = $3 AND role IS NOT NULL FOR UPDATE
        ), ended AS (
            UPDATE memberships m SET role = NULL, changed_at = now()
            FROM before b WHERE m.course_id = b.course_id AND m.person_id = b.person_id AND m.source = $3
            RETURNING m.course_id, m.person_id, b.role
        ), changes AS (
            SELECT course_id, person_id, role AS old_role, NULL::text AS new_role FROM ended
        ), changed AS (
            SELECT person_id FROM changes
        ), {REVOKE_CHANGED}, {audit.entries_of_roles(3, 4)}
        SELECT true FROM changed
        """  # noqa: S608 - no values
    return bool(await executor.fetchval(sql, course_id, person_id, source, *by.columns))


async def set_all(
    executor: Executor,
    person_id: UUID,
    roles: Mapping[str, str],
    *,
    source: Source,
    age: timedelta | None = None,
    by: Actor = SYSTEM,
) -> list[str]:
    """Take over all that a source says of one person, as role by course id; return the courses in which that changed.

    Courses that it gave before and does not name now are removed, see ``remove``; other sources' rows stay.

    Args:
        executor: a connection or a pool.
        person_id: the person.
        roles: by course id.
        source: the source.
        age: how long before this transaction the source was asked: what changed since stays. None: everything counts.
        by: who did it, for the audit log.

    Raises:
        asyncpg.ForeignKeyViolationError: no such course or person.
        asyncpg.CheckViolationError: no such role.
    """
    # One statement: nobody sees the person with half of their courses. In the order of the key.
    ordered = sorted(roles.items())
    rows = await executor.fetch(
        f"""
        WITH new AS (
            SELECT * FROM unnest($2::text[], $3::text[]) AS new (course_id, role)
        ), before AS (
            SELECT m.course_id, m.role FROM memberships m LEFT JOIN new n USING (course_id)
            WHERE m.person_id = $1 AND m.source = $4 AND m.role IS DISTINCT FROM n.role
              AND ($5::interval IS NULL OR m.changed_at < now() - $5)
            ORDER BY m.course_id FOR UPDATE OF m
        ), ended AS (
            UPDATE memberships m SET role = NULL, changed_at = now()
            FROM before b WHERE m.course_id = b.course_id AND m.person_id = $1 AND m.source = $4
              AND b.course_id NOT IN (SELECT course_id FROM new)
            RETURNING m.course_id, b.role
        ), given AS (
            INSERT INTO memberships (course_id, person_id, source, role)
            SELECT n.course_id, $1, $4, n.role FROM new n LEFT JOIN before b USING (course_id) ORDER BY n.course_id
            ON CONFLICT (course_id, person_id, source) DO UPDATE SET role = excluded.role, changed_at = now()
            WHERE memberships.role IS DISTINCT FROM excluded.role
              AND ($5::interval IS NULL OR memberships.changed_at < now() - $5)
            RETURNING course_id, role
        ), changes AS (
            SELECT course_id, $1::uuid AS person_id, role AS old_role, NULL::text AS new_role FROM ended
            UNION ALL
            SELECT g.course_id, $1::uuid, b.role, g.role FROM given g LEFT JOIN before b USING (course_id)
        ), changed AS (
            SELECT $1::uuid AS person_id WHERE EXISTS (SELECT FROM changes)
        ), {REVOKE_CHANGED}, {audit.entries_of_roles(4, 6)}
        SELECT course_id FROM changes ORDER BY course_id
        """,  # noqa: S608 - no values
        person_id,
        [course_id for course_id, _ in ordered],
        [role for _, role in ordered],
        source,
        age,
        *by.columns,
    )
    return [row["course_id"] for row in rows]


async def set_source(
    executor: Executor,
    roles: Mapping[UUID, Mapping[str, str]],
    *,
    source: Source,
    read_at: datetime,
    by: Actor = SYSTEM,
) -> list[str]:
    """Take over all that a source says of everybody, as role by course id by person; return the courses in which that changed.

    Whom it does not name any more is removed, see ``remove``; other sources' rows stay, and so does what this source
    said of somebody after it was read.

    Args:
        executor: a connection or a pool.
        roles: by person and course id.
        source: the source.
        read_at: when that was read from the source, by the clock of the database.
        by: who did it, for the audit log.

    Raises:
        asyncpg.ForeignKeyViolationError: no such course or person.
        asyncpg.CheckViolationError: no such role.
    """
    # In the order of the key, so that two such statements never wait for each other.
    ordered = sorted(
        (course_id, person_id, role) for person_id, said in roles.items() for course_id, role in said.items()
    )
    rows = await executor.fetch(
        f"""
        WITH new AS (
            SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[]) AS new (course_id, person_id, role)
        ), before AS (
            SELECT m.course_id, m.person_id, m.role FROM memberships m LEFT JOIN new n USING (course_id, person_id)
            WHERE m.source = $4 AND m.changed_at < $5 AND m.role IS DISTINCT FROM n.role
            ORDER BY m.course_id, m.person_id FOR UPDATE OF m
        ), ended AS (
            UPDATE memberships m SET role = NULL, changed_at = now()
            FROM before b WHERE m.course_id = b.course_id AND m.person_id = b.person_id AND m.source = $4
              AND NOT EXISTS (SELECT FROM new n WHERE n.course_id = b.course_id AND n.person_id = b.person_id)
            RETURNING m.course_id, m.person_id, b.role
        ), given AS (
            INSERT INTO memberships (course_id, person_id, source, role)
            SELECT n.course_id, n.person_id, $4, n.role FROM new n LEFT JOIN before b USING (course_id, person_id)
            ORDER BY n.course_id, n.person_id
            ON CONFLICT (course_id, person_id, source) DO UPDATE SET role = excluded.role, changed_at = now()
            WHERE memberships.role IS DISTINCT FROM excluded.role AND memberships.changed_at < $5
            RETURNING course_id, person_id, role
        ), changes AS (
            SELECT course_id, person_id, role AS old_role, NULL::text AS new_role FROM ended
            UNION ALL
            SELECT g.course_id, g.person_id, b.role, g.role FROM given g LEFT JOIN before b USING (course_id, person_id)
        ), changed AS (
            SELECT DISTINCT person_id FROM changes
        ), {REVOKE_CHANGED}, {audit.entries_of_roles(4, 6)}
        SELECT DISTINCT course_id FROM changes ORDER BY course_id
        """,  # noqa: S608 - no values
        [course_id for course_id, _, _ in ordered],
        [person_id for _, person_id, _ in ordered],
        [role for _, _, role in ordered],
        source,
        read_at,
        *by.columns,
    )
    return [row["course_id"] for row in rows]
