"""An event log for each adapter: in memory, over one real Valkey, over a real Valkey Cluster of three masters."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cell_monitor_core.redis_client import connect
from cell_monitor_core.streams.redis_log import RedisEventLog
from cell_monitor_testing.memory_log import MemoryEventLog

PARTITIONS = 8


@pytest.fixture
async def log(store_url: str | None) -> AsyncIterator[MemoryEventLog | RedisEventLog]:
    if store_url is None:
        yield MemoryEventLog(partitions=PARTITIONS)
        return
    async with _redis_log(store_url) as redis_log:
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
