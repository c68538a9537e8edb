"""How far each event of a run in test mode got: one hash for each sender, written by the API and the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cell_monitor_core import channels, keys
from cell_monitor_core.redis_client import REDIS_ERRORS, reason_of
from cell_monitor_core.storage.ports import RedisUnavailable

__all__ = ["STAGES", "TestProgress"]

STAGES: Final = ("received", "postgres", "timeseries", "published")
"""In the order in which events pass them; a field of the hash is ``<event_id>:<stage>``."""

_LIFETIME_S: Final = 3600


class TestProgress:
    """Read and begin the record of one sender's events in a run."""

    __test__ = False

    def __init__(self, redis: Any, *, partitions: int) -> None:
        self._redis = redis
        self._partitions = partitions

    def _key(self, test_id: str, person_id: bytes) -> str:
        partition = channels.partition_of(channels.test_channel(test_id), self._partitions)
        return keys.test_progress(partition, test_id, person_id)

    async def received(self, test_id: str, person_id: bytes, event_ids: Sequence[str], at: str) -> None:
        """Note that events were queued at ``at`` (RFC 3339), unless an earlier time is noted already.

        Raises:
            RedisUnavailable: Redis is unavailable or full.
        """
        key = self._key(test_id, person_id)
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for event_id in event_ids:
                pipeline.hsetnx(key, f"{event_id}:{STAGES[0]}", at)
            pipeline.expire(key, _LIFETIME_S)
            await pipeline.execute()
        except REDIS_ERRORS as error:
            raise RedisUnavailable(f"Redis: {reason_of(error)}") from error

    async def read(self, test_id: str, person_id: bytes) -> Mapping[str, Mapping[str, str]]:
        """Return event id → stage → time, oldest event first.

        Raises:
            RedisUnavailable: Redis is unavailable.
        """
        try:
            fields: dict[bytes, bytes] = await self._redis.hgetall(self._key(test_id, person_id))
        except REDIS_ERRORS as error:
            raise RedisUnavailable(f"Redis: {reason_of(error)}") from error
        events: dict[str, dict[str, str]] = {}
        for name, at in fields.items():
            event_id, _, stage = name.decode().rpartition(":")
            if stage in STAGES:
                events.setdefault(event_id, {})[stage] = at.decode()
        return dict(sorted(events.items()))
