"""Courses and their thresholds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from cell_monitor_core.auth.audit import SYSTEM, Actor, AuditAction
from cell_monitor_core.derivation import Thresholds
from cell_monitor_core.storage.postgres import words
from cell_monitor_core.storage.postgres.audit import entries_from
from cell_monitor_core.storage.postgres.pool import Connection, Executor

__all__ = [
    "Course",
    "CourseSummary",
    "create",
    "existing",
    "get",
    "ids",
    "list_all",
    "list_of_person",
    "locked",
    "set_ruling_source",
    "set_thresholds",
    "set_title",
]


@dataclass(frozen=True, slots=True)
class Course:
    """A course.

    Attributes:
        course_id: its permanent id.
        title: shown on the dashboard.
        thresholds: with the defaults for what was never set.
        created_at: when it was added.
        ruling_source: the source of memberships that alone decides about those of whom it has spoken; None for none.
    """

    course_id: str
    title: str
    thresholds: Thresholds
    created_at: datetime
    ruling_source: str | None = None


@dataclass(frozen=True, slots=True)
class CourseSummary:
    """One line of the list of courses.

    Attributes:
        role: of the person who asks; None where an admin is no member.
        students: enrolled ones.
        help_open: their requests that are open or claimed.
        active: students who are here and not quiet (``derivation.words``); likewise ``running``, ``left``.
        need_help: requests among ``help_open`` whose students have not left.
    """

    course_id: str
    title: str
    role: str | None
    students: int
    help_open: int
    active: int
    running: int
    left: int
    need_help: int


def _course(row: Any) -> Course:
    return Course(
        course_id=row["course_id"],
        title=row["title"],
        thresholds=msgspec.convert(row["thresholds"], Thresholds),
        created_at=row["created_at"],
        ruling_source=row["ruling_source"],
    )


async def create(executor: Executor, course_id: str, title: str, *, by: Actor = SYSTEM) -> bool:
    """Add a course; return False, changing nothing, where one of that id exists.

    Raises:
        asyncpg.CheckViolationError: the id is not of ``channels.COURSE_ID_PATTERN`` or the title not 1 to 200 long.
    """
    entry = entries_from("added", f"'{AuditAction.COURSE_CREATED}'", 3, course="course_id")
    sql = f"""
        WITH added AS (
            INSERT INTO courses (course_id, title) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING course_id
        ), recorded AS ({entry})
        SELECT true FROM added
        """  # noqa: S608 - no values
    return bool(await executor.fetchval(sql, course_id, title, *by.columns))


_BY_ID: Final = "SELECT course_id, title, thresholds, created_at, ruling_source FROM courses WHERE course_id = $1"


async def get(executor: Executor, course_id: str) -> Course | None:
    """Return a course, None if there is none of that id."""
    row = await executor.fetchrow(_BY_ID, course_id)
    return None if row is None else _course(row)


async def locked(connection: Connection, course_id: str, *, members: bool = False) -> Course | None:
    """Return a course as ``get`` does, and let nobody else change its settings until the transaction ends.

    Args:
        connection: in a transaction.
        course_id: the course.
        members: whether nobody may change memberships of the course meanwhile, either.
    """
    if members:
        # In the order of ``memberships``: its rows first, then the course, which a new row refers to.
        await connection.execute(
            "SELECT FROM memberships WHERE course_id = $1 ORDER BY person_id, source FOR UPDATE", course_id
        )
    row = await connection.fetchrow(f"{_BY_ID} FOR {'UPDATE' if members else 'NO KEY UPDATE'}", course_id)
    return None if row is None else _course(row)


async def set_title(executor: Executor, course_id: str, title: str) -> bool:
    """Set a course's title; return False if there is no such course.

    Raises:
        asyncpg.CheckViolationError: it is not 1 to 200 long.
    """
    sql = "UPDATE courses SET title = $2 WHERE course_id = $1 RETURNING true"
    return bool(await executor.fetchval(sql, course_id, title))


async def set_thresholds(executor: Executor, course_id: str, thresholds: Thresholds) -> bool:
    """Set a course's thresholds; return False if there is no such course."""
    sql = "UPDATE courses SET thresholds = $2 WHERE course_id = $1 RETURNING true"
    return bool(await executor.fetchval(sql, course_id, thresholds))


async def set_ruling_source(executor: Executor, course_id: str, source: str | None) -> bool:
    """Name the source of memberships that rules in a course, or None for none; return False if there is no such course.

    Tokens that state earlier roles are not revoked here: see ``administration.course_settings``.

    Raises:
        asyncpg.CheckViolationError: no such source.
    """
    sql = "UPDATE courses SET ruling_source = $2 WHERE course_id = $1 RETURNING true"
    return bool(await executor.fetchval(sql, course_id, source))


_SUMMARY: Final = f"""
SELECT c.course_id, c.title, mine.role, n.*
FROM courses c {{join}} course_members mine ON mine.course_id = c.course_id AND mine.person_id = $1
     CROSS JOIN LATERAL (
         SELECT count(*) AS students, count(h.request_id) AS help_open,
                count(*) FILTER (WHERE {words.active("$2")}) AS active,
                count(*) FILTER (WHERE {words.running("$2")}) AS running,
                count(*) FILTER (WHERE {words.left("$2")}) AS "left",
                count(h.request_id) FILTER (WHERE NOT {words.left("$2")}) AS need_help
         FROM course_members m LEFT JOIN student_states s USING (course_id, person_id)
              LEFT JOIN help_requests h ON h.course_id = m.course_id AND h.person_id = m.person_id
                   AND h.status IN ('open', 'claimed') AND h.requested_at IS NOT NULL
         WHERE m.course_id = c.course_id AND m.role = 'student'
     ) n
ORDER BY c.title, c.course_id
"""  # noqa: S608


async def _summaries(executor: Executor, sql: str, person_id: UUID, now: datetime) -> list[CourseSummary]:
    return [CourseSummary(**row) for row in await executor.fetch(sql, person_id, now)]


async def list_of_person(executor: Executor, person_id: UUID, *, now: datetime) -> list[CourseSummary]:
    """Return the courses that a person is a member of, by title, as they are at the server's time ``now``."""
    return await _summaries(executor, _SUMMARY.format(join="JOIN"), person_id, now)


async def list_all(executor: Executor, person_id: UUID, *, now: datetime) -> list[CourseSummary]:
    """Return all courses likewise, each with the person's own role in it."""
    return await _summaries(executor, _SUMMARY.format(join="LEFT JOIN"), person_id, now)


async def existing(executor: Executor, course_ids: Collection[str]) -> set[str]:
    """Return those of the ids that are a course's."""
    rows = await executor.fetch("SELECT course_id FROM courses WHERE course_id = ANY($1::text[])", list(course_ids))
    return {row[0] for row in rows}


async def ids(executor: Executor) -> list[str]:
    """Return the ids of all courses, in their order."""
    return [row[0] for row in await executor.fetch("SELECT course_id FROM courses ORDER BY course_id")]
