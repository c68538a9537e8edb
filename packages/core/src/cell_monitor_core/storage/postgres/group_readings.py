"""When the groups of an issuer are read: of several processes one reads them, once in an interval."""

from __future__ import annotations

from datetime import datetime, timedelta

from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["begin"]

_JITTER = 0.2
"""The next reading is due after 80 to 100 % of the interval."""


async def begin(executor: Executor, issuer: str, *, interval: timedelta) -> datetime | None:
    """Return the time of the database if a reading is due, which is the caller's now; None otherwise.

    A caller that fails leaves it to the next one after the interval.
    """
    begun: datetime | None = await executor.fetchval(
        """
        INSERT INTO group_readings AS r (issuer, due_at) VALUES ($1, now() + $2::interval * (1 - $3::float * random()))
        ON CONFLICT (issuer) DO UPDATE SET due_at = excluded.due_at WHERE r.due_at <= now()
        RETURNING now()
        """,
        issuer,
        interval,
        _JITTER,
    )
    return begun
