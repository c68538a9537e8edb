"""Presence of this gateway's connections: gathered here, told to Redis in batches."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from cell_monitor_core.presence import PRESENCE_SECONDS, Presence
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_gateway.rooms import Rooms

__all__ = ["PresenceKeeper"]

_FLUSH_SECONDS: Final = 1.0
_REFRESH_SECONDS: Final = PRESENCE_SECONDS / 3


class PresenceKeeper:
    """Keeps Redis informed who watches what. Best effort: what is not told expires."""

    def __init__(self, presence: Presence, rooms: Rooms) -> None:
        self._presence = presence
        self._rooms = rooms
        self._joined: dict[str, set[str]] = {}
        self._left: dict[str, set[str]] = {}

    def joined(self, channel: str, connection: str) -> None:
        """Note that a connection watches a channel."""
        self._left.get(channel, set()).discard(connection)
        self._joined.setdefault(channel, set()).add(connection)

    def left(self, channel: str, connection: str) -> None:
        """Note that a connection watches a channel no longer."""
        self._joined.get(channel, set()).discard(connection)
        self._left.setdefault(channel, set()).add(connection)

    async def count(self, channel: str) -> int:
        """Return how many connections watch a channel, on all gateways.

        Raises:
            StoreUnavailable: Redis is away.
        """
        await self._tell(channel)
        return await self._presence.count(channel)

    async def _tell(self, channel: str) -> None:
        joined = self._joined.pop(channel, None)
        if joined:
            await self._presence.refresh(channel, list(joined))
        left = self._left.pop(channel, None)
        if left:
            await self._presence.leave(channel, list(left))

    async def flush(self) -> None:
        """Tell Redis what was noted.

        Raises:
            StoreUnavailable: Redis is away.
        """
        for channel in {*self._joined, *self._left}:
            await self._tell(channel)

    async def run(self) -> None:
        """Flush each second and refresh before anything expires, for ever."""
        loop = asyncio.get_running_loop()
        refreshed_at = loop.time()
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            with contextlib.suppress(StoreUnavailable):
                await self.flush()
                if loop.time() - refreshed_at >= _REFRESH_SECONDS:
                    refreshed_at = loop.time()
                    for room in self._rooms.all():
                        await self._presence.refresh(room.channel, [member.id for member in room.members()])
