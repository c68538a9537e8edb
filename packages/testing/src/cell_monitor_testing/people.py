"""People for tests that need their ids and nothing else of them."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from cell_monitor_core.storage.postgres import memberships
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["add_people", "add_students"]


async def add_people(executor: Executor, person_ids: Iterable[UUID]) -> None:
    """Add people without readable names; those who are there stay as they are."""
    ids = list(person_ids)
    await executor.execute(
        "INSERT INTO people (person_id, username_hash, username_enc) "
        "SELECT * FROM unnest($1::uuid[], $2::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING",
        ids,
        [person_id.bytes for person_id in ids],
    )


async def add_students(executor: Executor, course_id: str, person_ids: Iterable[UUID]) -> None:
    """Make such people students of a course, and add those who are not there."""
    ids = list(person_ids)
    await add_people(executor, ids)
    await memberships.upsert_many(executor, course_id, dict.fromkeys(ids, "student"))
