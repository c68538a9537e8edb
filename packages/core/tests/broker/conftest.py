"""A broker for each adapter: in memory, over one real Valkey, over a real Valkey Cluster of three masters."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cell_monitor_core.broker.memory_broker import MemoryBroker
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.redis_client import aclose, connect

HISTORY_SIZE = 100


@pytest.fixture(params=["memory", "valkey", "cluster"])
def broker_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "memory":
        return None
    return str(request.getfixturevalue("valkey" if request.param == "valkey" else "valkey_cluster"))


@pytest.fixture(params=["valkey", "cluster"])
def redis_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("valkey" if request.param == "valkey" else "valkey_cluster"))


@pytest.fixture
async def broker(broker_url: str | None) -> AsyncIterator[MemoryBroker | RedisBroker]:
    if broker_url is None:
        yield MemoryBroker(history_size=HISTORY_SIZE)
        return
    client = connect(broker_url, name="test")
    yield RedisBroker(client, history_size=HISTORY_SIZE)
    await aclose(client)


@pytest.fixture
async def redis_broker(redis_url: str) -> AsyncIterator[RedisBroker]:
    client = connect(redis_url, name="test")
    yield RedisBroker(client, history_size=HISTORY_SIZE)
    await aclose(client)
