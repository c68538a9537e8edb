"""Sharded Pub/Sub over one connection to each master. redis-py's own client polls the nodes one after another.

Pub/Sub delivers at most once, so the receiver compares offsets. This module guarantees that a lost connection, a moved
slot or an unresponsive network is detected, that the partitions are subscribed to again, and that this is reported.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import msgspec
import structlog
from redis.asyncio import ConnectionPool, RedisCluster
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from cell_monitor_core import keys
from cell_monitor_core.publications import Publication, Watermark
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, reason_of

__all__ = ["ShardListener"]

_log = structlog.get_logger(__name__)
_publications: Final = msgspec.json.Decoder(list[Publication])
_watermarks: Final = msgspec.json.Decoder(list[Watermark])

_PING_SECONDS: Final = 10.0
_SILENCE_SECONDS: Final = 20.0
_OWNERS_SECONDS: Final = 0.25
_TOPOLOGY_SECONDS: Final = 30.0
_STALE_TOPOLOGY_SECONDS: Final = 1.0
_BACKOFF_FIRST_SECONDS: Final = 0.1
_BACKOFF_LAST_SECONDS: Final = 5.0
_QUEUE_MESSAGES: Final = 1000

_SINGLE: Final = "single"


class ShardListener:
    """Receives the publications and watermarks of partitions; see ``RedisBroker.listen``."""

    def __init__(
        self,
        client: RedisClient,
        partitions: Sequence[int],
        on_subscribed: Callable[[Sequence[int]], None] | None = None,
    ) -> None:
        self._client = client
        self._partitions = tuple(partitions)
        self._on_subscribed = on_subscribed
        # Bounded: when the consumer is too slow, reads stop, Redis closes the connection and the offsets show the gap.
        self._queue: asyncio.Queue[list[Publication] | list[Watermark]] = asyncio.Queue(_QUEUE_MESSAGES)
        self._topology_stale = False

    async def messages(self) -> AsyncIterator[Publication | Watermark]:
        """Yield publications and watermarks until the iterator is closed, those of a partition in their order."""
        watch = asyncio.get_running_loop().create_task(self._watch_owners(), name="publications-owners")
        try:
            while True:
                for message in await self._queue.get():
                    yield message
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch

    async def _watch_owners(self) -> None:
        """Keep one subscription to each node that owns any of the partitions."""
        loop = asyncio.get_running_loop()
        running: dict[str, tuple[frozenset[int], asyncio.Task[None]]] = {}
        backoff = _Backoff()
        refreshed_at = loop.time()
        try:
            while True:
                owners: dict[str, frozenset[int]] = {}
                try:
                    if loop.time() - refreshed_at >= (
                        _STALE_TOPOLOGY_SECONDS if self._topology_stale else _TOPOLOGY_SECONDS
                    ):
                        self._topology_stale = False
                        refreshed_at = loop.time()
                        await self._refresh()
                    owners = await self._owners()
                    backoff.reset()
                except REDIS_ERRORS as error:
                    _log.warning("publications_topology_unavailable", error=reason_of(error))
                    await backoff.sleep()
                    continue
                for name, (partitions, task) in list(running.items()):
                    if owners.get(name) != partitions:
                        del running[name]
                        await _stop(task)
                for name, partitions in owners.items():
                    if name not in running:
                        task = loop.create_task(
                            self._subscribe_repeatedly(name, partitions), name=f"publications-{name}"
                        )
                        running[name] = (partitions, task)
                await asyncio.sleep(_OWNERS_SECONDS)
        finally:
            for _, task in running.values():
                await _stop(task)

    async def _refresh(self) -> None:
        if isinstance(self._client, RedisCluster):
            await self._client.nodes_manager.initialize()

    async def _owners(self) -> dict[str, frozenset[int]]:
        """Return which partitions each node owns, by node name."""
        if not isinstance(self._client, RedisCluster):
            return {_SINGLE: frozenset(self._partitions)}
        await self._client.initialize()
        owners: dict[str, set[int]] = {}
        for partition in self._partitions:
            try:
                node = self._client.get_node_from_key(keys.publication_channel(partition))
            except (*REDIS_ERRORS, KeyError):
                # A shard without a master: only its partitions wait for a new one.
                self._topology_stale = True
                continue
            if node is not None:
                owners.setdefault(node.name, set()).add(partition)
        return {name: frozenset(partitions) for name, partitions in owners.items()}

    async def _subscribe_repeatedly(self, name: str, partitions: frozenset[int]) -> None:
        backoff = _Backoff()
        while True:
            try:
                await self._subscribe(name, partitions, backoff)
            except (*REDIS_ERRORS, msgspec.DecodeError) as error:
                _log.warning("publications_interrupted", node=name, error=reason_of(error))
                self._topology_stale = True
            await backoff.sleep()

    async def _subscribe(self, name: str, partitions: frozenset[int], backoff: _Backoff) -> None:
        """Subscribe and queue the messages until the connection or the ownership of a slot is lost."""
        pool = self._pool(name)
        pubsub = PubSub(pool)
        try:
            for partition in sorted(partitions):
                # One command per partition: a Cluster refuses a command with channels of several slots.
                await pubsub.ssubscribe(keys.publication_channel(partition), keys.watermark_channel(partition))
            await self._pump(pubsub, partitions, backoff)
        finally:
            with contextlib.suppress(*REDIS_ERRORS):
                await pubsub.aclose()  # type: ignore[no-untyped-call]
            with contextlib.suppress(*REDIS_ERRORS):
                await pool.disconnect()

    async def _pump(self, pubsub: PubSub, partitions: frozenset[int], backoff: _Backoff) -> None:
        loop = asyncio.get_running_loop()
        last_received_at = loop.time()
        watermarks = {keys.watermark_channel(partition).encode() for partition in partitions}
        waiting = 2 * len(partitions)
        while True:
            message = await pubsub.get_message(timeout=_PING_SECONDS)
            if message is None:
                if loop.time() - last_received_at >= _SILENCE_SECONDS:
                    raise RedisConnectionError("no answer to a ping")
                await pubsub.ping("cell-monitor")
                continue
            last_received_at = loop.time()
            kind = message["type"]
            if kind == "smessage":
                decoder = _watermarks if message["channel"] in watermarks else _publications
                await self._queue.put(decoder.decode(message["data"]))
            elif kind == "ssubscribe":
                waiting -= 1
                if waiting == 0:
                    backoff.reset()
                    if self._on_subscribed is not None:
                        self._on_subscribed(sorted(partitions))
            elif kind == "sunsubscribe":
                # Sent by the server: the slot has moved to another node.
                raise ResponseError("the slot has moved")

    def _pool(self, name: str) -> ConnectionPool:
        """Return a pool for one Pub/Sub connection with the address, TLS and credentials of the client."""
        if isinstance(self._client, RedisCluster):
            node = self._client.get_node(node_name=name)
            if node is None:
                raise RedisConnectionError("the node has left the cluster")
            connection_class: Any = node.connection_class
            options = dict(node.connection_kwargs)
        else:
            pool = self._client.connection_pool
            connection_class = pool.connection_class
            options = dict(pool.connection_kwargs)
        options.pop("maint_notifications_config", None)
        # This class sends its own pings: redis-py's check does not wait for the answer on a Pub/Sub connection.
        options |= {"health_check_interval": 0, "retry": Retry(NoBackoff(), 0)}
        return ConnectionPool(connection_class=connection_class, max_connections=1, **options)


class _Backoff:
    """Exponential backoff with full jitter, so that listeners do not all reconnect at the same time."""

    def __init__(self) -> None:
        self._limit = _BACKOFF_FIRST_SECONDS

    def reset(self) -> None:
        self._limit = _BACKOFF_FIRST_SECONDS

    async def sleep(self) -> None:
        await asyncio.sleep(random.uniform(0.01, self._limit))  # noqa: S311 - spreads load, not a secret
        self._limit = min(self._limit * 2, _BACKOFF_LAST_SECONDS)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
