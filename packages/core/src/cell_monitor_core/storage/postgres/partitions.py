"""Monthly partitions of ``events``.

An event's id is its partition key and begins with its time, so "no duplicates" stays one unique index while old months
can be dropped as whole tables (docs/adr/0004). A row whose month has no partition yet lies in ``events_default`` until
the month's partition is made, which moves it.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import Final

import asyncpg

from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["MONTHS_AHEAD", "MONTHS_BACK", "ensure_event_partitions"]

MONTHS_BACK: Final = 1
MONTHS_AHEAD: Final = 2
ATTEMPTS: Final = 4


def _month(origin: date, offset: int) -> date:
    index = origin.year * 12 + origin.month - 1 + offset
    return date(index // 12, index % 12 + 1, 1)


async def ensure_event_partitions(executor: Executor, *, today: date | None = None) -> list[str]:
    """Make the partitions of the previous, the current and the next two months that are not there yet.

    Safe to repeat and to run twice at once. Rows already in the default partition are moved.

    Args:
        executor: a pool or connection of the owner, or of a role that may call ``ensure_event_partition``.
        today: the day to count from, UTC; today by default.

    Returns:
        Names of the partitions made.

    Raises:
        asyncpg.LockNotAvailableError: some long transaction holds the default partition; try again later.
    """
    day = today or datetime.now(UTC).date()
    made = []
    for offset in range(-MONTHS_BACK, MONTHS_AHEAD + 1):
        name = await _ensure(executor, _month(day, offset))
        if name is not None:
            made.append(name)
    return made


async def _ensure(executor: Executor, month: date) -> str | None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            name: str | None = await executor.fetchval("SELECT ensure_event_partition($1)", month)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            if attempt == ATTEMPTS:
                raise
            await asyncio.sleep(attempt / 2)
        else:
            return name
    raise AssertionError  # pragma: no cover - the loop returns or raises
