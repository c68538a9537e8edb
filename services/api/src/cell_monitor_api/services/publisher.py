"""Publishes states after their transaction is committed, and again later where the broker was away."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from typing import Final

import structlog

from cell_monitor_core.redis_client import REDIS_ERRORS
from cell_monitor_core.storage.ports import Broker, Draft, StoreUnavailable
from cell_monitor_core.telemetry.metrics import PUBLICATIONS_PUBLISHED, PUBLICATIONS_SUPPRESSED, PUBLISH_SECONDS

__all__ = ["StatePublisher"]

_log = structlog.get_logger(__name__)

_ERRORS: Final = (*REDIS_ERRORS, StoreUnavailable)


class StatePublisher:
    """Publishes absolute states, so that late and repeated ones do no harm: the broker leaves older versions out.

    Args:
        broker: where to.
        max_pending: publications kept while the broker is away; beyond it the oldest is dropped, and left to the
            worker, which publishes all that is in ``help_outbox``.
        retry_s: seconds between attempts.
        deadline_s: seconds that one attempt may take.
    """

    def __init__(
        self, broker: Broker, *, max_pending: int = 1000, retry_s: float = 1.0, deadline_s: float = 2.0
    ) -> None:
        self._broker = broker
        self._pending: deque[tuple[str, Sequence[Draft]]] = deque(maxlen=max_pending)
        self._retry_s = retry_s
        self._deadline_s = deadline_s
        self._task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        """Publications that wait for the broker to come back."""
        return len(self._pending)

    async def publish(self, channel: str, drafts: Sequence[Draft]) -> bool:
        """Publish now; return False where that has to happen later."""
        if await self._attempt(channel, drafts):
            return True
        self._pending.append((channel, drafts))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._retry(), name="state-publisher")
        return False

    async def aclose(self) -> None:
        """Try once more, then give up what is left."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        while self._pending and await self._attempt(*self._pending[0]):
            self._pending.popleft()
        if self._pending:
            _log.warning("publications_given_up", count=len(self._pending))

    async def _attempt(self, channel: str, drafts: Sequence[Draft]) -> bool:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._deadline_s):
                # Kind by kind, as the worker does: the broker says how many it took, not which.
                for kind, group in groupby(drafts, attrgetter("kind")):
                    chunk = list(group)
                    published = await self._broker.publish(channel, chunk)
                    PUBLICATIONS_PUBLISHED.labels(kind).inc(published)
                    PUBLICATIONS_SUPPRESSED.labels(kind).inc(len(chunk) - published)
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
