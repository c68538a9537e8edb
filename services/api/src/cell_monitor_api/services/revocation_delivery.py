"""Brings revocations from the database, where they were committed with their cause, to the processes that verify tokens."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import structlog

from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres import revocations
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_core.streams.revocations import RedisRevocations

__all__ = ["RevocationDelivery"]

_log = structlog.get_logger(__name__)

_BATCH: Final = 1000
_PRUNE_EVERY: Final = 60
"""Rounds between two deletions of delivered rows."""


class RevocationDelivery:
    """Delivers revocations, by ``step`` every ``INTERVAL_SECONDS``; of several processes each takes others.

    Args:
        pool: PostgreSQL.
        target: where they are delivered.
        clock: seconds, monotonic.

    Attributes:
        complete_at: everything that was committed before this moment was delivered.
    """

    def __init__(self, pool: Any, target: RedisRevocations, *, clock: Callable[[], float] = monotonic) -> None:
        self._pool = pool
        self._target = target
        self._clock = clock
        self._rounds = 0
        self._unavailable = False
        self.complete_at = float("-inf")

    async def step(self) -> float | None:
        """Deliver what is committed and, from time to time, delete what was delivered; return 0 where there may be more."""
        began = self._clock()
        try:
            more = await self.deliver()
            if not more:
                self.complete_at = began
            self._rounds += 1
            if self._rounds % _PRUNE_EVERY == 0:
                with store_errors():
                    await revocations.prune(self._pool)
        except StoreUnavailable as error:
            if not self._unavailable:
                self._unavailable = True
                _log.warning("revocations_not_delivered", reason=str(error))
            return None
        self._unavailable = False
        return 0.0 if more else None

    async def deliver(self) -> bool:
        """Deliver what is committed; return whether there may be more.

        Raises:
            StoreUnavailable: PostgreSQL or Redis is; nothing is lost, and what was delivered may be delivered again.
        """
        with store_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                found = await revocations.pending(connection, _BATCH)
                if found:
                    await self._target.append(found.values())
                    await revocations.delivered(connection, found)
        return len(found) == _BATCH
