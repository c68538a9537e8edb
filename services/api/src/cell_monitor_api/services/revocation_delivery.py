"""Brings revocations from the database, where they were committed with their cause, to the processes that verify tokens."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import structlog

from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres import revocations
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_core.streams.revocations import INTERVAL_SECONDS, RedisRevocations

__all__ = ["RevocationDelivery"]

_log = structlog.get_logger(__name__)

_BATCH: Final = 1000
_PRUNE_EVERY: Final = 600
"""Rounds between two deletions of delivered rows."""


class RevocationDelivery:
    """Looks once a second for revocations that were not delivered; of several processes each takes others.

    Args:
        pool: PostgreSQL.
        target: where they are delivered.
        interval_s: seconds between two looks.
    """

    def __init__(self, pool: Any, target: RedisRevocations, *, interval_s: float = INTERVAL_SECONDS) -> None:
        self._pool = pool
        self._target = target
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None
        self._unavailable = False
        self._closing = False

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._run(), name="revocation-delivery")

    async def aclose(self) -> None:
        """End. What is left is delivered by another process, or by the next one."""
        # A command of redis-py may end with its result although its task was cancelled, and the cancellation is gone then.
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        rounds = 0
        while not self._closing:
            try:
                more = await self.deliver()
                if rounds % _PRUNE_EVERY == _PRUNE_EVERY - 1:
                    with store_errors():
                        await revocations.prune(self._pool)
                self._unavailable = False
                rounds += 1
            except StoreUnavailable as error:
                more = False
                if not self._unavailable:
                    self._unavailable = True
                    _log.warning("revocations_not_delivered", reason=str(error))
            except Exception:  # noqa: BLE001 - logged; without deliveries tokens would live on
                more = False
                _log.exception("revocation_delivery_failed")
            if not more:
                await asyncio.sleep(self._interval_s)

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
