"""When the groups of an issuer are read: of several processes one reads them, once in an interval."""

from __future__ import annotations

from datetime import datetime, timedelta

from cell_monitor_core.storage.postgres.due_times import due_again
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["begin"]


async def begin(executor: Executor, issuer: str, *, interval: timedelta) -> datetime | None:
    """Return the time of the database if a reading is due, which is the caller's now; None otherwise.

    A caller that fails leaves it to the next one after the interval.
    """
    begun: datetime | None = await executor.fetchval(
        f"""
        INSERT INTO group_readings AS r (issuer, due_at) VALUES ($1, {due_again("$2")})
        ON CONFLICT (issuer) DO UPDATE SET due_at = excluded.due_at WHERE r.due_at <= now()
        RETURNING now()
        """,  # noqa: S608 - no values
        issuer,
        interval,
    )
    return begun
