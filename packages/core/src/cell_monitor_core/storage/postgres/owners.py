"""Whether people and courses still exist: nothing is stored of those who were erased while their events waited."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["missing_owners"]


async def missing_owners(executor: Executor, owners: Iterable[tuple[str, UUID]]) -> set[tuple[str, UUID]]:
    """Return the (course id, person id) of which the person or the course does not exist.

    Args:
        executor: pool or connection.
        owners: of records; an empty course id, as test events have it, is not looked for.
    """
    wanted = list(owners)
    rows = await executor.fetch(
        """
        SELECT u.course_id, u.person_id FROM unnest($1::text[], $2::uuid[]) AS u(course_id, person_id)
        WHERE (NOT EXISTS (SELECT FROM people p WHERE p.person_id = u.person_id)
               -- A service's key sends test events: its subject is a UUID of version 5, which no person has.
               AND NOT (u.course_id = '' AND substr(u.person_id::text, 15, 1) = '5'))
           OR (u.course_id <> '' AND NOT EXISTS (SELECT FROM courses c WHERE c.course_id = u.course_id))
        """,
        [course for course, _ in wanted],
        [person for _, person in wanted],
    )
    return {(course_id, person_id) for course_id, person_id in rows}
