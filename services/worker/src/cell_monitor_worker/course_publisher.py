"""Publications of a course's counters, at most one in an interval.

A course's counters can change with every batch. The first change is published at once, later ones after the interval;
none is lost, because the counters are absolute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog

from cell_monitor_core.channels import course_channel
from cell_monitor_core.publishing import Publisher, draft_of
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres import course_counters
from cell_monitor_core.storage.postgres.pool import store_errors

__all__ = ["CoursePublisher"]

_log = structlog.get_logger(__name__)

_COURSES_PER_TRANSACTION: Final = 50
_FIRST_LOOK_BACK_S: Final = 3600.0
_SCAN_INTERVAL_S: Final = 60.0
_RETRY_S: Final = 1.0
_MAX_TRANSACTION: Final = timedelta(seconds=10)


class CoursePublisher:
    """Publishes the counters of courses that were marked as changed.

    Args:
        pool: where the counters are read.
        publisher: publishes them.
        interval: shortest time between two publications of a course, in seconds.
    """

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], publisher: Publisher, *, interval: float) -> None:
        self._pool = pool
        self._publisher = publisher
        self._interval = interval
        self._due: set[str] = set()
        self._wake = asyncio.Event()
        self._published_at: dict[str, datetime] = {}

    def mark(self, course_ids: Iterable[str]) -> None:
        """Mark courses as changed."""
        self._due.update(course_ids)
        if self._due:
            self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self.flush():
                self._wake.set()
                await asyncio.sleep(_RETRY_S)
            await asyncio.sleep(self._interval)

    async def flush(self) -> bool:
        """Publish what is due; return False if a store is unavailable and some courses stay due."""
        due = sorted(self._due)
        for start in range(0, len(due), _COURSES_PER_TRANSACTION):
            chunk = due[start : start + _COURSES_PER_TRANSACTION]
            self._due.difference_update(chunk)
            try:
                await self._publish(chunk)
            except StoreUnavailable as error:
                self._due.update(due[start:])
                _log.warning("course_counters_delayed", reason=str(error))
                return False
        return True

    async def _publish(self, course_ids: list[str]) -> None:
        with store_errors():
            async with self._pool.acquire() as connection:
                now = await connection.fetchval("SELECT now()")
                courses = await course_counters.refresh_courses(connection, course_ids)
        for course in courses:
            await self._publisher.publish(course_channel(course.course_id), [draft_of(course)])
            self._published_at[course.course_id] = now

    async def look_for_missed(self) -> None:
        """Mark courses that changed without a publication by this process, until cancelled.

        A worker that ends between a commit and its publication leaves the course's counters unpublished.
        """
        look_back = _FIRST_LOOK_BACK_S
        while True:
            try:
                with store_errors():
                    changed = await course_counters.recent_courses(self._pool, look_back)
            except StoreUnavailable:
                await asyncio.sleep(_SCAN_INTERVAL_S / 10)
                continue
            self.mark(
                course
                for course, at in changed.items()
                # now() is the beginning of a transaction; it may have committed after counters that were read later.
                if course not in self._published_at or self._published_at[course] - _MAX_TRANSACTION < at
            )
            look_back = _SCAN_INTERVAL_S * 3
            await asyncio.sleep(_SCAN_INTERVAL_S)
