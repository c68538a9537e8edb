"""A course's counters: sums over its enrolled students, and its open requests for help."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from cell_monitor_core.publications import CourseState
from cell_monitor_core.storage.postgres.pool import Connection, Executor
from cell_monitor_core.storage.postgres.versions import FIRST_VERSION

__all__ = ["read_counters", "recent_courses", "refresh_courses"]

_BUMP: Final = f"""
INSERT INTO course_versions AS v (course_id, version)
SELECT c.course_id, {FIRST_VERSION} FROM courses c WHERE c.course_id = ANY($1::text[]) ORDER BY 1
ON CONFLICT (course_id) DO UPDATE SET version = v.version + 1
"""  # noqa: S608

_COUNTERS: Final = """
SELECT u.course_id, coalesce(v.version, 0) AS version, count(m.person_id) AS students,
       count(m.person_id) FILTER (WHERE coalesce(s.state->>'status', 'waiting') <> 'waiting') AS started,
       coalesce(sum((s.state->>'runs')::bigint), 0)::bigint AS runs,
       coalesce(sum((s.state->>'errors')::bigint), 0)::bigint AS errors,
       (SELECT count(*) FROM help_requests h
         WHERE h.course_id = u.course_id AND h.status IN ('open', 'claimed') AND h.requested_at IS NOT NULL
       ) AS help_open
FROM unnest($1::text[]) AS u(course_id)
     LEFT JOIN course_versions v USING (course_id)
     LEFT JOIN memberships m ON m.course_id = u.course_id AND m.role = 'student'
     LEFT JOIN student_states s ON s.course_id = m.course_id AND s.person_id = m.person_id
GROUP BY u.course_id, v.version ORDER BY u.course_id
"""


async def read_counters(executor: Executor, course_ids: Iterable[str]) -> list[CourseState]:
    """Return courses' counters with their present versions, from one snapshot of the database.

    ``started`` counts students of whom anything was seen; ``help_open`` requests open or claimed. A course that does not
    exist has version 0 and nothing to count.
    """
    return [CourseState(**row) for row in await executor.fetch(_COUNTERS, sorted(set(course_ids)))]


async def refresh_courses(connection: Connection, course_ids: Iterable[str]) -> list[CourseState]:
    """Give courses their next version and return their counters, ready to be published; unknown courses are left out.

    Runs in the caller's transaction, or in one of its own. The version's row is locked before anything is counted, so
    that a higher version never shows less than a lower one.
    """
    wanted = sorted(set(course_ids))
    if not wanted:
        return []
    async with connection.transaction():
        await connection.execute(_BUMP, wanted)
        return [state for state in await read_counters(connection, wanted) if state.version]


async def recent_courses(executor: Executor, seconds: float) -> dict[str, datetime]:
    """Return when any student's state last changed, of the courses where that was within the last seconds."""
    rows = await executor.fetch(
        "SELECT course_id, max(updated_at) FROM student_states "
        "WHERE updated_at > now() - make_interval(secs => $1) GROUP BY course_id",
        seconds,
    )
    return {row[0]: row[1] for row in rows}
