"""The feed: live publications from the broker into the rooms, and the watch that none was lost on the way.

Sharded Pub/Sub may lose messages without a word. Three things bring that to light: a hole in the offsets, a subscription
that began again, and a comparison of every followed channel's position with Redis every ten seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Protocol

import structlog

from cell_monitor_core.publications import Publication
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_gateway import metrics
from cell_monitor_gateway.rooms import Rooms

__all__ = ["Feed", "PublicationSource"]

_log = structlog.get_logger(__name__)
_RESTART_SECONDS: Final = 1.0


class PublicationSource(Protocol):
    """The part of a broker that the feed listens to."""

    def listen(
        self, partitions: Sequence[int], *, on_subscribed: Callable[[Sequence[int]], None] | None = None
    ) -> AsyncIterator[Publication]:
        """Yield live publications; see ``RedisBroker.listen``."""
        ...


class Feed:
    """Connects a broker to the rooms."""

    def __init__(self, source: PublicationSource, rooms: Rooms, *, check_interval: float) -> None:
        self._source = source
        self._rooms = rooms
        self._check_interval = check_interval
        self._subscribed: set[int] = set()

    @property
    def subscribed(self) -> bool:
        """Whether every partition has been subscribed to at least once."""
        return len(self._subscribed) == self._rooms.partitions

    async def listen(self) -> None:
        """Pass on what is published, for ever."""
        partitions = range(self._rooms.partitions)
        while True:
            try:
                async for publication in self._source.listen(partitions, on_subscribed=self._on_subscribed):
                    metrics.PUBLICATIONS.inc()
                    self._rooms.take(publication)
            except StoreUnavailable:
                _log.warning("feed_interrupted")
            except Exception:  # noqa: BLE001 - nothing that one publication does may end the feed of all others
                _log.exception("feed_failed")
            await asyncio.sleep(_RESTART_SECONDS)

    def _on_subscribed(self, partitions: Sequence[int]) -> None:
        """What was published before a subscription began came to nobody: look at the history."""
        self._subscribed.update(partitions)
        for room in self._rooms.all():
            if room.partition in partitions:
                room.resync()

    async def check(self) -> None:
        """Compare positions again and again, spread over the interval."""
        while True:
            rooms = self._rooms.all()
            pause = self._check_interval / max(len(rooms), 1)
            if not rooms:
                await asyncio.sleep(pause)
            for room in rooms:
                room.resync()
                await asyncio.sleep(pause)
