"""An event log for each adapter: in memory, over one real Valkey, over a real Valkey Cluster of three masters."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cell_monitor_core.redis_client import connect
from cell_monitor_core.streams.memory_log import MemoryEventLog
from cell_monitor_core.streams.redis_log import RedisEventLog

PARTITIONS = 8


@pytest.fixture(params=["memory", "valkey", "cluster"])
def log_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "memory":
        return None
    return str(request.getfixturevalue("valkey" if request.param == "valkey" else "valkey_cluster"))


@pytest.fixture(params=["valkey", "cluster"])
def redis_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("valkey" if request.param == "valkey" else "valkey_cluster"))


@pytest.fixture
async def log(log_url: str | None) -> AsyncIterator[MemoryEventLog | RedisEventLog]:
    if log_url is None:
        yield MemoryEventLog(partitions=PARTITIONS)
        return
    async with _redis_log(log_url) as redis_log:
        yield redis_log


@pytest.fixture
async def redis_log(redis_url: str) -> AsyncIterator[RedisEventLog]:
    async with _redis_log(redis_url) as redis_log:
        yield redis_log


class _redis_log:  # noqa: N801 - used as a function
    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> RedisEventLog:
        self._client = connect(self._url, name="test")
        self._blocking = connect(self._url, name="test", blocking=True)
        self._log = RedisEventLog(self._client, self._blocking, partitions=PARTITIONS)
        return self._log

    async def __aexit__(self, *_: object) -> None:
        await self._log.aclose()
        await self._client.aclose()
        await self._blocking.aclose()
