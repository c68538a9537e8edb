"""Publishes what staff did about help requests, whatever became of the API process that committed it."""

from __future__ import annotations

from typing import Final

import asyncpg
import structlog

from cell_monitor_core.channels import course_channel
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.publishing import Publisher, State, draft_of
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres import help_outbox
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_worker.course_publisher import CoursePublisher

__all__ = ["HelpOutbox"]

_log = structlog.get_logger(__name__)

_LIMIT: Final = 1000


class HelpOutbox:
    """Empties the outbox of help actions.

    The API publishes at once as well, so most of what is published here is left out by its version. Several workers
    may do this at the same time for the same reason.

    Args:
        pool: where the outbox is.
        keyring: reads the requests' messages.
        publisher: where states go.
        courses: publishes the counters, which count open requests.
    """

    def __init__(
        self, pool: asyncpg.Pool[asyncpg.Record], keyring: KeyRing, publisher: Publisher, courses: CoursePublisher
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._publisher = publisher
        self._courses = courses

    async def publish(self) -> bool:
        """Publish all that waits, then delete it; return False where a store is away and some of it still waits."""
        try:
            with store_errors():
                waiting = await help_outbox.read(self._pool, self._keyring, limit=_LIMIT)
        except StoreUnavailable as error:
            _log.info("help_outbox_skipped", reason=str(error))
            return False
        # Course by course: another one's node may be there.
        return all([await self._publish(actions) for actions in waiting])

    async def _publish(self, actions: help_outbox.UntoldActions) -> bool:
        channel = course_channel(actions.course_id)
        try:
            states: list[State] = [*actions.help, *actions.students]
            await self._publisher.publish(channel, [draft_of(state) for state in states])
            self._courses.mark([actions.course_id])
            # Last: an entry outlives whoever dies on the way, and publishing twice does no harm.
            with store_errors():
                await help_outbox.delete(self._pool, actions.action_ids)
        except StoreUnavailable as error:
            _log.warning("help_actions_delayed", course_id=actions.course_id, reason=str(error))
            return False
        return True
