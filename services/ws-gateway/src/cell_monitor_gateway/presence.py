"""Presence of this gateway's subscribers: collected here, written to Redis in batches."""

from __future__ import annotations

import asyncio
import contextlib

from cell_monitor_core.presence import PRESENCE_SECONDS, Presence
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_gateway.hub import Hub

__all__ = ["PresenceReporter"]


class PresenceReporter:
    """Reports to Redis who follows what; a listener of the hub. Best effort: what is not reported expires.

    Args:
        presence: what all gateways report to.
        hub: names those whose entries have to be refreshed.
        flush_s: seconds between two reports of what changed.
        refresh_s: seconds between two refreshes of everything.
    """

    def __init__(
        self, presence: Presence, hub: Hub, *, flush_s: float = 0.25, refresh_s: float = PRESENCE_SECONDS / 3
    ) -> None:
        self._presence = presence
        self._hub = hub
        self._flush_s = flush_s
        self._refresh_s = refresh_s
        self._joined: dict[str, set[str]] = {}
        self._left: dict[str, set[str]] = {}

    def on_join(self, channel: str, subscriber_id: str) -> None:
        """Note that a subscriber follows a channel."""
        self._left.get(channel, set()).discard(subscriber_id)
        self._joined.setdefault(channel, set()).add(subscriber_id)

    def on_leave(self, channel: str, subscriber_id: str) -> None:
        """Note that a subscriber follows a channel no longer."""
        self._joined.get(channel, set()).discard(subscriber_id)
        self._left.setdefault(channel, set()).add(subscriber_id)

    async def count(self, channel: str) -> int:
        """Return how many connections follow a channel, on all gateways.

        Raises:
            StoreUnavailable: Redis is unavailable.
        """
        await self._flush_channel(channel)
        return await self._presence.count(channel)

    async def _flush_channel(self, channel: str) -> None:
        joined = self._joined.pop(channel, None)
        if joined:
            await self._presence.refresh(channel, list(joined))
        left = self._left.pop(channel, None)
        if left:
            await self._presence.leave(channel, list(left))

    async def flush(self) -> None:
        """Report what was noted since the last time.

        Raises:
            StoreUnavailable: Redis is unavailable.
        """
        for channel in {*self._joined, *self._left}:
            await self._flush_channel(channel)

    async def run(self) -> None:
        """Report changes, and refresh everything before it expires; ends only by cancellation."""
        loop = asyncio.get_running_loop()
        refreshed_at = loop.time()
        while True:
            await asyncio.sleep(self._flush_s)
            with contextlib.suppress(StoreUnavailable):
                await self.flush()
                if loop.time() - refreshed_at >= self._refresh_s:
                    refreshed_at = loop.time()
                    for channel, members in self._hub.members().items():
                        await self._presence.refresh(channel, members)
