"""Leaves out the records of people and courses that were erased while their events waited in the stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias
from uuid import UUID

import asyncpg

from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres.owners import missing_owners
from cell_monitor_core.storage.postgres.pool import store_errors

__all__ = ["Owners", "StoredOwners"]

_Owner: TypeAlias = tuple[str, UUID]
"""Course id and person id."""
_MAX_KNOWN: Final = 100_000


class Owners(Protocol):
    """Knows which people and courses exist."""

    async def existing(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        """Return the records whose person and course exist, or whose person's id is malformed.

        Raises:
            StoreUnavailable: it cannot be known now.
        """
        ...


class StoredOwners:
    """``Owners`` by PostgreSQL's tables, read for each batch: a batch never holds what was erased before it began.

    While PostgreSQL is unavailable, owners that existed when they were last read count as existing, so that the time
    series do not wait for it (docs/adr/0011). A batch with any other owner waits.

    Args:
        pool: PostgreSQL.
        retry_s: seconds after a failure during which PostgreSQL is not asked again: each attempt may last until its
            deadline.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[asyncpg.Record],
        *,
        retry_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._retry_s = retry_s
        self._clock = clock
        self._ask_at = 0.0
        self._known: set[_Owner] = set()

    async def existing(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        """See ``Owners.existing``."""
        owners = {
            (record.course_id, record.person_id): (record.course_id, UUID(bytes=record.person_id))
            for record in records
            if len(record.person_id) == 16
        }
        if not owners:
            return records
        missing = await self._missing(set(owners.values()))
        if not missing:
            return records
        return [record for record in records if owners.get((record.course_id, record.person_id)) not in missing]

    async def _missing(self, owners: set[_Owner]) -> set[_Owner]:
        """Return the owners that do not exist."""
        known = owners <= self._known
        if known and self._clock() < self._ask_at:
            return set()
        try:
            with store_errors():
                missing = await missing_owners(self._pool, owners)
        except StoreUnavailable:
            self._ask_at = self._clock() + self._retry_s
            if known:
                return set()
            raise
        self._ask_at = 0.0
        if len(self._known) > _MAX_KNOWN:
            self._known.clear()
        self._known -= missing
        self._known |= owners - missing
        return missing
