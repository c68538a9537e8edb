"""Closes requests for help whose students left half an hour ago."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog

from cell_monitor_core import keys
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.ports import EventConsumer, LogUnavailable, StoreUnavailable
from cell_monitor_core.storage.postgres import help_expiry
from cell_monitor_core.telemetry.metrics import HELP_EXPIRED

__all__ = ["HelpExpiry"]

_log = structlog.get_logger(__name__)

_LIMIT: Final = 200
_BACKLOG_S: Final = 60.0
"""With an older entry unread, a student may be there whose events are not stored yet."""


class HelpExpiry:
    """Stores that requests close themselves; the outbox of help actions publishes it.

    Several workers may do so concurrently: under the student's lock one of them finds the request still open.

    Args:
        pool: connections to PostgreSQL.
        keyring: decrypts the messages of the requests.
        log: says how old the oldest unread event is.
        partitions: of the log.
    """

    def __init__(
        self, pool: asyncpg.Pool[asyncpg.Record], keyring: KeyRing, log: EventConsumer, partitions: Sequence[int]
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._log = log
        self._partitions = partitions

    async def run(self) -> bool:
        """Close what is due; return False if a store is unavailable or events wait to be stored."""
        try:
            due = await help_expiry.due_requests(self._pool, limit=_LIMIT)
            if not due:
                return True
            if await self._behind():
                _log.info("help_expiry_skipped", reason="events wait to be stored")
                return False
            for request in due:
                if await help_expiry.expire_request(self._pool, self._keyring, request):
                    HELP_EXPIRED.inc()
        except (StoreUnavailable, LogUnavailable) as error:
            _log.info("help_expiry_skipped", reason=str(error))
            return False
        return True

    async def _behind(self) -> bool:
        for partition in self._partitions:
            _, age = await self._log.lag(partition, keys.GROUP_POSTGRES)
            if age > _BACKLOG_S:
                return True
        return False
