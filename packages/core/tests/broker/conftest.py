"""A broker for each adapter: in memory, over one real Valkey, over a real Valkey Cluster of three masters."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_testing.memory_broker import MemoryBroker

HISTORY_SIZE = 100


@pytest.fixture
async def broker(store_url: str | None) -> AsyncIterator[MemoryBroker | RedisBroker]:
    if store_url is None:
        yield MemoryBroker(history_size=HISTORY_SIZE)
        return
    client = connect(store_url, name="test")
    yield RedisBroker(client, history_size=HISTORY_SIZE)
    await aclose(client)


@pytest.fixture
async def redis_broker(redis_url: str) -> AsyncIterator[RedisBroker]:
    client = connect(redis_url, name="test")
    yield RedisBroker(client, history_size=HISTORY_SIZE)
    await aclose(client)
