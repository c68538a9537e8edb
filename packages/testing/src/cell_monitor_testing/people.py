"""People for tests that need their ids and nothing else of them."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["add_people"]


async def add_people(executor: Executor, person_ids: Iterable[UUID]) -> None:
    """Add people without readable names; those who are there stay as they are."""
    ids = list(person_ids)
    await executor.execute(
        "INSERT INTO people (person_id, username_hash, username_enc) "
        "SELECT * FROM unnest($1::uuid[], $2::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING",
        ids,
        [person_id.bytes for person_id in ids],
    )
