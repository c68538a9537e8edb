"""Periodic tasks: delete finished entries, measure the backlog, create partitions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg
import structlog

from cell_monitor_core.repeating_task import RepeatingTask
from cell_monitor_core.storage.ports import EventConsumer, LogUnavailable, StoreUnavailable
from cell_monitor_core.storage.postgres.audit import delete_older
from cell_monitor_core.storage.postgres.partitions import ensure_event_partitions
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_core.telemetry.background_tasks import background_task
from cell_monitor_core.telemetry.metrics import BACKLOG_AGE_SECONDS, BACKLOG_ENTRIES, ENTRIES_TRIMMED

__all__ = ["delete_old_audit_entries", "every", "make_partitions", "measure_backlog", "trim_streams"]

_log = structlog.get_logger(__name__)

HELP_OUTBOX_INTERVAL_S: Final = 2.0
HELP_EXPIRY_INTERVAL_S: Final = 30.0
OPAQUE_EVENTS_INTERVAL_S: Final = 60.0
PARTITIONS_INTERVAL_S: Final = 6 * 3600.0
AUDIT_INTERVAL_S: Final = 6 * 3600.0


def every(
    name: str, seconds: float, work: Callable[[], Awaitable[bool]], *, retry_s: float | None = None
) -> RepeatingTask:
    """Return a task that calls ``work`` now and every ``seconds``; after it returned False or failed, after ``retry_s``."""
    soon = seconds if retry_s is None else min(retry_s, seconds)

    async def step() -> float:
        return seconds if await work() else soon

    return background_task(name, step, interval_s=soon)


async def trim_streams(log: EventConsumer, partitions: int) -> bool:
    """Delete entries that all groups have acknowledged; return False if the log is unavailable."""
    try:
        for partition in range(partitions):
            ENTRIES_TRIMMED.inc(await log.trim(partition))
    except LogUnavailable as error:
        _log.info("trim_skipped", reason=error.reason)
        return False
    return True


async def measure_backlog(log: EventConsumer, partitions: int, groups: Sequence[str]) -> bool:
    """Set the gauges of the backlog; return False if the log is unavailable."""
    try:
        for partition in range(partitions):
            for group in groups:
                entries, age = await log.lag(partition, group)
                BACKLOG_ENTRIES.labels(partition, group).set(entries)
                BACKLOG_AGE_SECONDS.labels(partition, group).set(age)
    except LogUnavailable:
        # Without a measurement the gauges are removed: old values would look current.
        for partition in range(partitions):
            for group in groups:
                BACKLOG_ENTRIES.remove(partition, group)
                BACKLOG_AGE_SECONDS.remove(partition, group)
        return False
    return True


async def make_partitions(pool: asyncpg.Pool[asyncpg.Record]) -> bool:
    """Make the partitions of the coming weeks; this may fail for weeks before one is missing."""
    try:
        with store_errors():
            made = await ensure_event_partitions(pool)
    except (StoreUnavailable, asyncpg.PostgresError) as error:
        _log.warning("partitions_not_made", error=type(error).__name__, reason=str(error)[:300])
        return False
    if made:
        _log.info("partitions_made", partitions=made)
    return True


async def delete_old_audit_entries(pool: asyncpg.Pool[asyncpg.Record], days: int) -> bool:
    """Delete entries of the audit log that are older than some days; return False if that failed or more may be left."""
    try:
        with store_errors():
            deleted = await delete_older(pool, days)
    except (StoreUnavailable, asyncpg.PostgresError) as error:
        _log.warning("audit_entries_not_deleted", error=type(error).__name__, reason=str(error)[:300])
        return False
    if deleted:
        _log.info("audit_entries_deleted", entries=deleted)
    return deleted == 0
