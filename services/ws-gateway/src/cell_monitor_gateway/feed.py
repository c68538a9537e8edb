"""The feed: live publications from the broker into the hub, and the checks that none was lost on the way.

Sharded Pub/Sub loses messages without an error. Three things reveal that: a gap in the offsets, a subscription to Redis
that began again, and a comparison of every followed channel's position with Redis every ten seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import structlog

from cell_monitor_core.publications import Publication, Watermark
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_gateway import metrics
from cell_monitor_gateway.hub import Hub

__all__ = ["Feed", "FeedNotSubscribed", "PublicationSource"]

_log = structlog.get_logger(__name__)


class FeedNotSubscribed(Exception):  # noqa: N818 - its name is what /readyz shows
    """Live publications do not arrive yet."""


class PublicationSource(Protocol):
    """The part of a broker that the feed listens to."""

    def listen(
        self, partitions: Sequence[int], *, on_subscribed: Callable[[Sequence[int]], None] | None = None
    ) -> AsyncIterator[Publication | Watermark]:
        """Yield live publications and watermarks; see ``RedisBroker.listen``."""
        ...


class Feed:
    """Connects a broker to the hub.

    Args:
        source: where live publications come from.
        hub: where they go.
        partitions: number of partitions, the same in every process.
        check_interval_s: seconds within which every channel's position is compared once.
        restart_s: seconds before a source that failed is listened to again.
    """

    def __init__(
        self,
        source: PublicationSource,
        hub: Hub,
        *,
        partitions: int,
        check_interval_s: float,
        restart_s: float = 1.0,
    ) -> None:
        self._source = source
        self._hub = hub
        self._partitions = range(partitions)
        self._check_interval_s = check_interval_s
        self._restart_s = restart_s
        self._subscribed: set[int] = set()

    async def check_subscribed(self) -> None:
        """Return if every partition has been subscribed to at least once.

        Raises:
            FeedNotSubscribed: one has not.
        """
        if len(self._subscribed) < len(self._partitions):
            raise FeedNotSubscribed("not yet subscribed to every partition")

    async def listen(self) -> None:
        """Deliver what is published; ends only by cancellation."""
        while True:
            try:
                async for message in self._source.listen(self._partitions, on_subscribed=self._on_subscribed):
                    if isinstance(message, Watermark):
                        self._hub.deliver_watermark(message)
                    else:
                        metrics.PUBLICATIONS.inc()
                        self._hub.deliver(message)
            except StoreUnavailable:
                _log.warning("feed_interrupted")
            except Exception:  # noqa: BLE001 - nothing that one publication does may end the feed of all others
                _log.exception("feed_failed")
            await asyncio.sleep(self._restart_s)

    def _on_subscribed(self, partitions: Sequence[int]) -> None:
        """What was published before a subscription began arrived nowhere: compare with the history."""
        self._subscribed.update(partitions)
        self._hub.check_positions(partitions)

    async def check_positions(self) -> None:
        """Compare every channel's position again and again, spread over the interval; ends only by cancellation."""
        while True:
            channels = self._hub.channels()
            pause = self._check_interval_s / max(len(channels), 1)
            if not channels:
                await asyncio.sleep(pause)
            for channel in channels:
                channel.check_position()
                await asyncio.sleep(pause)
