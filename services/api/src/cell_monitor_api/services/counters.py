"""A course's counters after a change that this process made: read, then published for open dashboards."""

from __future__ import annotations

from typing import Any

import structlog

from cell_monitor_api.services.retrying_publisher import RetryingPublisher
from cell_monitor_core.channels import course_channel
from cell_monitor_core.publishing import draft_of
from cell_monitor_core.storage.ports import Draft, StoreUnavailable
from cell_monitor_core.storage.postgres import course_counters
from cell_monitor_core.storage.postgres.pool import store_errors

__all__ = ["Counters"]

_log = structlog.get_logger(__name__)


class Counters:
    """Reads and publishes the counters of courses.

    Args:
        pool: where they are read.
        publisher: publishes them.
    """

    def __init__(self, pool: Any, publisher: RetryingPublisher) -> None:
        self._pool = pool
        self._publisher = publisher

    async def drafts(self, course_id: str) -> list[Draft]:
        """Return the draft of a course's counters; none if they cannot be read: the change itself is committed."""
        try:
            with store_errors():
                async with self._pool.acquire() as connection:
                    counted = await course_counters.refresh_courses(connection, [course_id])
        except StoreUnavailable as error:
            _log.warning("course_counters_unavailable", course_id=course_id, reason=str(error))
            return []
        return [draft_of(course) for course in counted]

    async def publish(self, course_id: str) -> None:
        """Publish a course's counters now, or later if the broker is unavailable."""
        drafts = await self.drafts(course_id)
        if drafts:
            await self._publisher.publish(course_channel(course_id), drafts)
