"""Drain: close all connections in batches, each with a time to reconnect, before the server closes the sockets.

uvicorn closes all WebSockets at once, and before the lifespan ends; a thousand browsers would then reconnect in the
same instant to the gateways that are left.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from typing import Final

import structlog

from cell_monitor_gateway.protocol import CloseCode, Subscriber

__all__ = ["Drain"]

_log = structlog.get_logger(__name__)

_BATCHES_PER_SECOND: Final = 10
_SMALLEST_BATCH: Final = 25
CLOSE_GRACE_SECONDS: Final = 2.0
"""How long closed connections may take to end before the drain counts as finished."""


class Drain:
    """Drain state, in this order and once: accepting, closing connections, finished.

    Args:
        connections: the gateway's connections, those that are closing included.
        seconds: time over which all are closed.
        on_start: called once, when the gateway stops accepting connections.
    """

    def __init__(self, connections: Collection[Subscriber], *, seconds: float, on_start: Callable[[], None]) -> None:
        self._connections = connections
        self._seconds = seconds
        self._on_start = on_start
        self._task: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        """Whether new connections are refused."""
        return self._task is not None

    def start(self) -> None:
        """Begin; a second call changes nothing."""
        if self._task is None:
            self._on_start()
            _log.info("drain_started", connections=len(self._connections))
            self._task = asyncio.get_running_loop().create_task(self._run(), name="drain")

    async def wait(self) -> None:
        """Begin if that has not happened, and wait until the drain has finished."""
        self.start()
        assert self._task is not None
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        waiting = list(self._connections)
        random.shuffle(waiting)
        batch = max(_SMALLEST_BATCH, round(len(waiting) / max(self._seconds * _BATCHES_PER_SECOND, 1)) + 1)
        # They reconnect within about the time that the drain takes, whatever batch they were in.
        spread_ms = round(min(max(len(waiting) * 20, 500), 10_000))
        while waiting:
            for connection in waiting[-batch:]:
                after = random.randint(100, 100 + spread_ms)  # noqa: S311 - spreads load
                connection.close(CloseCode.SHUTDOWN, reconnect_after_ms=after)
            del waiting[-batch:]
            if waiting:
                await asyncio.sleep(1 / _BATCHES_PER_SECOND)
        deadline = asyncio.get_running_loop().time() + CLOSE_GRACE_SECONDS
        while self._connections and asyncio.get_running_loop().time() < deadline:
            for connection in list(self._connections):
                # Connections whose handshake was in progress when the drain began.
                connection.close(CloseCode.SHUTDOWN, reconnect_after_ms=spread_ms)
            await asyncio.sleep(0.05)
        _log.info("drain_finished", connections_left=len(self._connections))
