"""Publishes states after their transaction is committed, and retries while the broker is unavailable."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog

from cell_monitor_core.publishing import Publisher
from cell_monitor_core.redis_client import REDIS_ERRORS
from cell_monitor_core.storage.ports import Draft, StoreUnavailable
from cell_monitor_core.telemetry.metrics import PUBLISH_SECONDS

__all__ = ["RetryingPublisher"]

_log = structlog.get_logger(__name__)

_ERRORS: Final = (*REDIS_ERRORS, StoreUnavailable)


class RetryingPublisher:
    """Publishes absolute states with a deadline and keeps those that failed for a later attempt.

    Args:
        publisher: publishes and counts.
        max_pending: publications kept while the broker is unavailable; beyond it the oldest is dropped. The worker
            publishes it then, because it is still in ``help_outbox``.
        retry_s: seconds between attempts.
        deadline_s: seconds that one attempt may take.
    """

    def __init__(
        self, publisher: Publisher, *, max_pending: int = 1000, retry_s: float = 1.0, deadline_s: float = 2.0
    ) -> None:
        self._publisher = publisher
        self._pending: deque[tuple[str, Sequence[Draft]]] = deque(maxlen=max_pending)
        self._retry_s = retry_s
        self._deadline_s = deadline_s
        self._task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        """Publications that wait until the broker is available."""
        return len(self._pending)

    async def publish(self, channel: str, drafts: Sequence[Draft]) -> bool:
        """Publish now; return False if it failed and is retried later."""
        if await self._attempt(channel, drafts):
            return True
        self._pending.append((channel, drafts))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._retry(), name="retrying-publisher")
        return False

    async def aclose(self) -> None:
        """Try once more and drop what still fails."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        while self._pending and await self._attempt(*self._pending[0]):
            self._pending.popleft()
        if self._pending:
            _log.warning("publications_dropped", count=len(self._pending))

    async def _attempt(self, channel: str, drafts: Sequence[Draft]) -> bool:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._publisher.publish(channel, drafts)
        except _ERRORS as error:
            _log.warning("publication_delayed", channel=channel, reason=type(error).__name__)
            return False
        PUBLISH_SECONDS.observe(time.perf_counter() - began)
        return True

    async def _retry(self) -> None:
        while self._pending:
            await asyncio.sleep(self._retry_s)
            while self._pending:
                item = self._pending[0]
                if not await self._attempt(*item):
                    break
                # The bound may have dropped it meanwhile.
                if self._pending and self._pending[0] is item:
                    self._pending.popleft()
