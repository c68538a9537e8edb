"""Publishes actions on help requests that the API committed but may not have published."""

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
    """Publishes and deletes the entries of the outbox of help actions.

    The API also publishes them after its commit, so most publications here are suppressed by their version. For the
    same reason several workers can process the outbox concurrently.

    Args:
        pool: connections to PostgreSQL.
        keyring: decrypts the messages of the requests.
        publisher: publishes the states.
        courses: publishes the counters of courses, which include open requests.
    """

    def __init__(
        self, pool: asyncpg.Pool[asyncpg.Record], keyring: KeyRing, publisher: Publisher, courses: CoursePublisher
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._publisher = publisher
        self._courses = courses

    async def publish(self) -> bool:
        """Publish and delete all entries; return False if a store is unavailable and entries are left."""
        try:
            with store_errors():
                waiting = await help_outbox.read(self._pool, self._keyring, limit=_LIMIT)
        except StoreUnavailable as error:
            _log.info("help_outbox_skipped", reason=str(error))
            return False
        # Each course separately: the node of another course may be available.
        return all([await self._publish(actions) for actions in waiting])

    async def _publish(self, actions: help_outbox.UntoldActions) -> bool:
        channel = course_channel(actions.course_id)
        try:
            states: list[State] = [*actions.help, *actions.students]
            await self._publisher.publish(channel, [draft_of(state) for state in states])
            self._courses.mark([actions.course_id])
            # Deleted last: after a crash the entry still exists, and a second publication is idempotent.
            with store_errors():
                await help_outbox.delete(self._pool, actions.action_ids)
        except StoreUnavailable as error:
            _log.warning("help_actions_delayed", course_id=actions.course_id, reason=str(error))
            return False
        return True
