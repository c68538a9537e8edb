"""A course after a change that was made outside of the stream of events: its counters, for open dashboards.

The API and ``cell-monitor admin`` use it for every change of a roster, so that a page shows each at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from cell_monitor_core.channels import course_channel
from cell_monitor_core.publishing import draft_of
from cell_monitor_core.storage.ports import Broker, Draft, StoreUnavailable
from cell_monitor_core.storage.postgres import course_counters
from cell_monitor_core.storage.postgres.pool import store_errors

__all__ = ["Counters", "CountersPublisher"]

_log = structlog.get_logger(__name__)


class CountersPublisher(Protocol):
    """Publishes drafts; see ``publishing.Publisher`` and the API's ``RetryingPublisher``."""

    async def publish(self, channel: str, drafts: Sequence[Draft]) -> bool | None:
        """Publish drafts on a channel."""
        ...


class Counters:
    """Reads and publishes the counters of courses.

    Args:
        pool: where they are read.
        broker: has the history of publications.
        publisher: publishes them.
    """

    def __init__(self, pool: Any, broker: Broker, publisher: CountersPublisher) -> None:
        self._pool = pool
        self._broker = broker
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

    async def roster_changed(self, course_id: str, *, left: bool) -> None:
        """Publish a course's counters after its roster was changed: dashboards that list others fetch the course again.

        Args:
            course_id: the course.
            left: whether somebody may be a student of it no longer. Then nobody recovers what was published of them:
                dashboards that missed something fetch the course as it is now.

        Raises:
            StoreUnavailable: the publisher does, where it does not try again itself; the change itself is committed.
        """
        if left:
            try:
                await self._broker.delete_history(course_channel(course_id))
            except StoreUnavailable as error:
                _log.warning("history_not_deleted", course_id=course_id, reason=str(error))
        drafts = await self.drafts(course_id)
        if drafts:
            await self._publisher.publish(course_channel(course_id), drafts)
