"""A course's counters: sums over its enrolled students, and its open requests for help."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from cell_monitor_core.publications import CourseState
from cell_monitor_core.storage.postgres.memberships import is_student
from cell_monitor_core.storage.postgres.pool import Connection, Executor
from cell_monitor_core.storage.postgres.versions import FIRST_VERSION

__all__ = ["read_counters", "recent_courses", "refresh_courses"]

_ENSURE: Final = f"""
INSERT INTO course_versions (course_id, version)
SELECT c.course_id, {FIRST_VERSION} FROM courses c WHERE c.course_id = ANY($1::text[]) ORDER BY 1
ON CONFLICT (course_id) DO NOTHING
"""  # noqa: S608

_LOCK: Final = "SELECT FROM course_versions WHERE course_id = ANY($1::text[]) ORDER BY course_id FOR UPDATE"

_ADVANCE: Final = """
UPDATE course_versions v SET version = v.version + 1, counters = ARRAY[u.students, u.started, u.runs, u.errors, u.help_open]
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
     AS u(course_id, students, started, runs, errors, help_open)
WHERE v.course_id = u.course_id
  AND v.counters IS DISTINCT FROM ARRAY[u.students, u.started, u.runs, u.errors, u.help_open]
RETURNING v.course_id, v.version
"""

_COUNTERS: Final = f"""
SELECT u.course_id, coalesce(v.version, 0) AS version, count(m.person_id) AS students,
       count(m.person_id) FILTER (WHERE coalesce(s.state->>'status', 'waiting') <> 'waiting') AS started,
       coalesce(sum((s.state->>'runs')::bigint), 0)::bigint AS runs,
       coalesce(sum((s.state->>'errors')::bigint), 0)::bigint AS errors,
       (SELECT count(*) FROM help_requests h
         WHERE h.course_id = u.course_id AND h.status IN ('open', 'claimed') AND h.requested_at IS NOT NULL
           AND {is_student("h")}
       ) AS help_open
FROM unnest($1::text[]) AS u(course_id)
     LEFT JOIN course_versions v USING (course_id)
     LEFT JOIN course_members m ON m.course_id = u.course_id AND m.role = 'student'
     LEFT JOIN student_states s ON s.course_id = m.course_id AND s.person_id = m.person_id
GROUP BY u.course_id, v.version ORDER BY u.course_id
"""  # noqa: S608


async def read_counters(executor: Executor, course_ids: Iterable[str]) -> list[CourseState]:
    """Return courses' counters with their present versions, from one snapshot of the database.

    ``started`` counts students of whom anything was seen. ``help_open`` counts requests open or claimed, those of
    students who have left included: who has left changes with the time, and each reader decides it (``derivation.words``).
    A course that does not exist has version 0 and nothing to count.
    """
    return [CourseState(**row) for row in await executor.fetch(_COUNTERS, sorted(set(course_ids)))]


async def refresh_courses(connection: Connection, course_ids: Iterable[str]) -> list[CourseState]:
    """Count courses and return their counters, ready to be published; unknown courses are left out.

    A course's version grows only if one of its counters has changed, so publishing unchanged counters is suppressed by
    the broker. Runs in the caller's transaction, or in one of its own. The version's row is locked before anything is
    counted, so that a higher version never shows less than a lower one.
    """
    wanted = sorted(set(course_ids))
    if not wanted:
        return []
    async with connection.transaction():
        await connection.execute(_ENSURE, wanted)
        await connection.execute(_LOCK, wanted)
        counted = [state for state in await read_counters(connection, wanted) if state.version]
        columns = zip(*map(_counters, counted), strict=True)
        advanced = await connection.fetch(_ADVANCE, [state.course_id for state in counted], *columns) if counted else []
        versions = {row["course_id"]: row["version"] for row in advanced}
    return [replace(state, version=versions.get(state.course_id, state.version)) for state in counted]


def _counters(state: CourseState) -> tuple[int, ...]:
    return (state.students, state.started, state.runs, state.errors, state.help_open)


async def recent_courses(executor: Executor, seconds: float) -> dict[str, datetime]:
    """Return when any student's state last changed, of the courses where that was within the last seconds."""
    rows = await executor.fetch(
        "SELECT course_id, max(updated_at) FROM student_states "
        "WHERE updated_at > now() - make_interval(secs => $1) GROUP BY course_id",
        seconds,
    )
    return {row[0]: row[1] for row in rows}
