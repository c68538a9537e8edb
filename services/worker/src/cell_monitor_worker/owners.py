"""Leaves out the records of people and courses that were erased while their events waited in the stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import asyncpg

from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres.owners import missing_owners
from cell_monitor_core.storage.postgres.pool import store_errors

__all__ = ["Owners", "StoredOwners"]


class Owners(Protocol):
    """Knows which people and courses exist."""

    async def existing(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        """Return the records whose person and course exist, or whose person's id is malformed.

        Raises:
            StoreUnavailable: it cannot be known now.
        """
        ...


class StoredOwners:
    """``Owners`` by PostgreSQL's tables, asked for each batch: what was erased before a batch began is not in it."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def existing(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        """See ``Owners.existing``."""
        owners = {
            (record.course_id, record.person_id): (record.course_id, UUID(bytes=record.person_id))
            for record in records
            if len(record.person_id) == 16
        }
        if not owners:
            return records
        with store_errors():
            missing = await missing_owners(self._pool, owners.values())
        if not missing:
            return records
        return [record for record in records if owners.get((record.course_id, record.person_id)) not in missing]
