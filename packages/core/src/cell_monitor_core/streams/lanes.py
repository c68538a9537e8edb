"""The way to each Redis node: one connection for all that is written there, whoever writes it.

Connections, topology, TLS and authentication are redis-py's; commands are packed by hiredis, since redis-py's asyncio
connections pack in Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

import hiredis
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from cell_monitor_core.redis_client import COMMAND_TIMEOUT_SECONDS, REDIS_ERRORS, RedisClient
from cell_monitor_core.streams.link import Link

__all__ = ["Lane", "Lanes"]

_TOPOLOGY_SECONDS: Final = 1.0
_ROUND_TRIP_SECONDS: Final = COMMAND_TIMEOUT_SECONDS
# Its type stub takes tuples of one item only.
_pack = cast("Callable[[tuple[bytes, ...]], bytes]", hiredis.pack_command)


class Lane:
    """One connection to one node, and the partitions that have something to send there.

    Attributes:
        name: of the node.
        ready: partitions with something to send.
        flights: round trips under way.
        gathers: whether a next one is being gathered.
    """

    __slots__ = ("_acquire", "_connection", "_link", "_opening", "flights", "gathers", "name", "ready")

    def __init__(self, name: str, acquire: Callable[[], Awaitable[AbstractConnection]]) -> None:
        self.name = name
        self.ready: list[int] = []
        self.flights = 0
        self.gathers = False
        self._acquire = acquire
        self._connection: AbstractConnection | None = None
        self._link: Link | None = None
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Tell whether commands can be sent."""
        return self._link is not None and self._link.is_open

    async def open(self) -> None:
        """Connect to the node, if that is not done yet.

        Raises:
            RedisError, OSError, TimeoutError: it does not answer.
        """
        async with self._opening, asyncio.timeout(_ROUND_TRIP_SECONDS):
            if self.is_open:
                return
            connection = self._connection
            if connection is None:
                connection = self._connection = await self._acquire()
            # Whatever it was used for before, nothing of that may be read as our replies.
            await connection.disconnect(nowait=True)
            await connection.connect()  # type: ignore[no-untyped-call]
            self._link = Link(connection)

    def send(self, commands: Sequence[tuple[bytes, ...]]) -> asyncio.Future[list[Any]]:
        """Send commands in one write over the open lane; the result are their replies, see ``Link.send``."""
        assert self._link is not None
        packed = b"".join([_pack(command) for command in commands])
        return self._link.send(packed, len(commands), seconds=_ROUND_TRIP_SECONDS)

    async def aclose(self) -> None:
        """Close the connection; redis-py's client still counts it as its own and closes it again without harm."""
        connection, self._connection, self._link = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(*REDIS_ERRORS):
                await connection.disconnect(nowait=True)


class Lanes:
    """The lanes of a client: one for a single server, one for each master of a Cluster."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._lanes: dict[str, Lane] = {}
        self._refreshed_at = float("-inf")
        self._single = None if isinstance(client, RedisCluster) else Lane("single", self._acquire_single)
        self._unresolved = Lane("unresolved", self._acquire_single)

    @property
    def all(self) -> list[Lane]:
        """Every lane that may have work or a connection."""
        lanes = [*self._lanes.values(), self._unresolved]
        return lanes if self._single is None else [self._single]

    def lane_for(self, slot: int) -> Lane:
        """Return the lane of a slot, or a lane that only waits until the topology is known."""
        if self._single is not None:
            return self._single
        cluster = cast("RedisCluster", self._client)
        try:
            node = cluster.nodes_manager.get_node_from_slot(slot)
        except (RedisError, KeyError):
            return self._unresolved
        lane = self._lanes.get(node.name)
        if lane is None:

            async def acquire() -> AbstractConnection:
                return node.acquire_connection()

            lane = self._lanes[node.name] = Lane(node.name, acquire)
        return lane

    def is_unresolved(self, lane: Lane) -> bool:
        """Tell whether a lane has no node behind it."""
        return lane is self._unresolved

    async def resolve(self) -> None:
        """Learn the topology of a Cluster.

        Raises:
            RedisError, OSError, TimeoutError: no node answered.
        """
        if isinstance(self._client, RedisCluster):
            async with asyncio.timeout(_ROUND_TRIP_SECONDS):
                await self._client.initialize()
                # The client may be initialised and still not know a slot: a shard was away when it asked.
                await self.refresh()

    async def refresh(self) -> None:
        """Ask a Cluster for its topology again, at most once a second; a failure is the next command's to report."""
        now = time.monotonic()
        if isinstance(self._client, RedisCluster) and now - self._refreshed_at >= _TOPOLOGY_SECONDS:
            self._refreshed_at = now
            with contextlib.suppress(*REDIS_ERRORS):
                async with asyncio.timeout(_ROUND_TRIP_SECONDS):
                    await self._client.nodes_manager.initialize()

    async def aclose(self) -> None:
        """Close the lanes' connections."""
        for lane in self.all:
            await lane.aclose()

    async def _acquire_single(self) -> AbstractConnection:
        pool = cast("Redis", self._client).connection_pool
        return cast("AbstractConnection", await pool.get_connection())  # type: ignore[no-untyped-call]
