"""The event streams for each adapter: in memory, over one real Valkey, over a real Valkey Cluster of three masters.

Those over Redis run twice: as a rule, and as with a redis-py whose connections hide their transport.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest

from cell_monitor_core.redis_client import RedisClient, aclose, connect
from cell_monitor_core.streams import node_connection
from cell_monitor_core.streams.consumer import RedisEventConsumer
from cell_monitor_core.streams.producer import RedisEventProducer
from cell_monitor_testing.memory_streams import MemoryEventConsumer, MemoryEventProducer, MemoryStreams

PARTITIONS = 8


class Streams(NamedTuple):
    """Both ends of the streams; ``client`` is None in memory."""

    producer: Any
    consumer: Any
    client: RedisClient | None = None


OpenStreams = Callable[[], AbstractAsyncContextManager[Streams]]


@asynccontextmanager
async def memory_streams() -> AsyncIterator[Streams]:
    streams = MemoryStreams(partitions=PARTITIONS)
    yield Streams(MemoryEventProducer(streams), MemoryEventConsumer(streams))


@asynccontextmanager
async def redis_streams(url: str) -> AsyncIterator[Streams]:
    client = connect(url, name="test")
    blocking = connect(url, name="test", blocking=True)
    producer = RedisEventProducer(client, partitions=PARTITIONS)
    try:
        yield Streams(producer, RedisEventConsumer(client, blocking, partitions=PARTITIONS), client)
    finally:
        await producer.aclose()
        await aclose(client)
        await aclose(blocking)


@pytest.fixture(params=["transport", "pipeline of redis-py"])
def sending(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How requests are sent."""
    if request.param != "transport":
        monkeypatch.setattr(node_connection, "transport_of", lambda _: None)
    return str(request.param)


@pytest.fixture(params=["memory", "valkey", "cluster", "valkey, pipeline of redis-py", "cluster, pipeline of redis-py"])
def open_streams(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OpenStreams:
    """Opens the streams of each adapter."""
    store, _, pipeline = request.param.partition(", ")
    if store == "memory":
        return memory_streams
    if pipeline:
        monkeypatch.setattr(node_connection, "transport_of", lambda _: None)
    url = str(request.getfixturevalue("valkey" if store == "valkey" else "valkey_cluster"))
    return partial(redis_streams, url)


@pytest.fixture
async def streams(open_streams: OpenStreams) -> AsyncIterator[Streams]:
    async with open_streams() as made:
        yield made


@pytest.fixture
def producer(streams: Streams) -> Any:
    return streams.producer


@pytest.fixture
def consumer(streams: Streams) -> Any:
    return streams.consumer


@pytest.fixture
def open_redis_streams() -> Callable[[str], AbstractAsyncContextManager[Streams]]:
    """Opens the streams over a Redis of the test's own."""
    return redis_streams


@pytest.fixture
async def redis_pair(redis_url: str, sending: str) -> AsyncIterator[Streams]:
    """The streams of each adapter over Redis."""
    async with redis_streams(redis_url) as made:
        yield made
