"""Coalescing: many callers' records travel to Redis in one write and one round trip.

Each partition has a buffer. Each Redis node has one lane, and a lane has one flush in flight: whatever arrives meanwhile
waits in the buffers and goes with the next flush. Under load the batches grow by themselves, without load nobody waits.

The connections, topology, TLS and authentication are redis-py's; only the packing of the commands is done here, by
hiredis, since redis-py's asyncio connections pack in Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

import hiredis
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from cell_monitor_core.redis_client import COMMAND_TIMEOUT_SECONDS, REDIS_ERRORS, RedisClient

__all__ = ["Lane", "Lanes"]

_TOPOLOGY_SECONDS: Final = 1.0
_ROUND_TRIP_SECONDS: Final = COMMAND_TIMEOUT_SECONDS
# Its type stub takes tuples of one item only.
_pack = cast("Callable[[tuple[bytes, ...]], bytes]", hiredis.pack_command)


class Lane:
    """One connection to one node, and the partitions that have something to send there."""

    __slots__ = ("_acquire", "_connection", "name", "ready", "task")

    def __init__(self, name: str, acquire: Callable[[], Awaitable[AbstractConnection]]) -> None:
        self.name = name
        self.ready: list[int] = []
        self.task: asyncio.Task[None] | None = None
        self._acquire = acquire
        self._connection: AbstractConnection | None = None

    async def exchange(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        """Send commands in one write and return their replies; an error reply is returned as its exception.

        Raises:
            RedisError, OSError, TimeoutError: the fate of all commands is unknown.
        """
        packed = b"".join([_pack(command) for command in commands])
        async with asyncio.timeout(_ROUND_TRIP_SECONDS):
            connection = await self._connected()
            replies: list[Any] = []
            try:
                await connection.send_packed_command(packed, check_health=False)
                for _ in commands:
                    try:
                        # No time-out of its own: the one around the round trip is cheaper.
                        replies.append(await connection.read_response(timeout=math.inf))
                    except ResponseError as error:
                        replies.append(error)
            except BaseException:
                # Replies may still be under way: they must not be taken for the next command's.
                await connection.disconnect(nowait=True)
                raise
            return replies

    async def _connected(self) -> AbstractConnection:
        connection = self._connection
        if connection is None:
            connection = await self._acquire()
            # A time-out here makes redis-py start a task for every write; the round trip has its own.
            connection.socket_timeout = None
            self._connection = connection
        if connection.is_connected and (
            connection.should_reconnect()  # type: ignore[no-untyped-call]
            or await connection.can_read()
        ):
            # The server closed it while it was idle, or redis-py saw a fail-over.
            await connection.disconnect(nowait=True)
        return connection

    async def aclose(self) -> None:
        """Close the connection; redis-py's client still counts it as its own and closes it again without harm."""
        connection, self._connection = self._connection, None
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
