"""When the groups of an issuer are read: of several processes one reads them, once in an interval."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cell_monitor_core.storage.postgres.due_times import due_again
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["Reading", "begin", "is_newest"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading that has begun.

    Attributes:
        issuer: whose groups are read.
        begun_at: when, by the clock of the database.
        next_at: when the next one is due.
    """

    issuer: str
    begun_at: datetime
    next_at: datetime


async def begin(executor: Executor, issuer: str, *, interval: timedelta) -> Reading | None:
    """Return the reading that is due, which is the caller's now; None where none is.

    A caller that fails leaves it to the next one after the interval.
    """
    row = await executor.fetchrow(
        f"""
        INSERT INTO group_readings AS r (issuer, due_at) VALUES ($1, {due_again("$2")})
        ON CONFLICT (issuer) DO UPDATE SET due_at = excluded.due_at WHERE r.due_at <= now()
        RETURNING now() AS begun_at, due_at
        """,  # noqa: S608 - no values
        issuer,
        interval,
    )
    return None if row is None else Reading(issuer, row["begun_at"], row["due_at"])


async def is_newest(executor: Executor, reading: Reading) -> bool:
    """Return whether no other reading of the issuer has begun since this one, whose answers are then older."""
    sql = "SELECT true FROM group_readings WHERE issuer = $1 AND due_at = $2"
    return bool(await executor.fetchval(sql, reading.issuer, reading.next_at))
