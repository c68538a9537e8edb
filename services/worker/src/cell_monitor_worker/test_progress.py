"""Records the stage that each event of a test run has reached, in a hash that the API reads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

import msgspec
import structlog
from redis.exceptions import OutOfMemoryError

from cell_monitor_core import keys
from cell_monitor_core.channels import partition_of, test_channel
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, Script, reason_of, run_script
from cell_monitor_core.storage.ports import RedisUnavailable
from cell_monitor_core.timestamps import to_text

__all__ = ["Stage", "TestProgress", "event_head"]

Stage: TypeAlias = Literal["postgres", "timeseries", "published"]

_log = structlog.get_logger(__name__)

_LIFETIME_S: Final = 3600

_MARK: Final = Script("""\
-- KEYS: progress. ARGV: seconds to keep it, time, field, ...
-- The first time is kept: an event that is delivered again has reached the stage before.
for i = 3, #ARGV do redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[2]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return #ARGV - 2
""")


class EventHead(msgspec.Struct, frozen=True):
    """The fields of a test event that are published."""

    event_id: str
    type: str


_head = msgspec.json.Decoder(EventHead)


def event_head(record: StreamRecord) -> EventHead:
    """Return id and type of a valid event."""
    return _head.decode(record.event)


class TestProgress:
    """Writes the stages of test events; the hash of a run expires an hour after its last write."""

    __test__ = False

    def __init__(self, redis: RedisClient, *, partitions: int) -> None:
        self._redis = redis
        self._partitions = partitions

    async def reached(self, stage: Stage, records: Sequence[StreamRecord]) -> None:
        """Record that test events reached a stage now.

        Raises:
            RedisUnavailable: Redis is unavailable; the events themselves are stored.
        """
        if not records:
            return
        now = to_text(datetime.now(UTC))
        runs: dict[tuple[str, bytes], list[str]] = {}
        for record in records:
            if record.test_id is not None:
                fields = runs.setdefault((record.test_id, record.person_id), [])
                fields.append(f"{event_head(record).event_id}:{stage}")
        for (test_id, person_id), fields in runs.items():
            key = keys.test_progress(partition_of(test_channel(test_id), self._partitions), test_id, person_id)
            try:
                await run_script(self._redis, _MARK, [key], [_LIFETIME_S, now, *fields])
            except OutOfMemoryError:
                # The stage stays unknown: a full Redis must be able to store and delete what fills it.
                _log.warning("test_progress_lost", reason="Redis is full")
            except REDIS_ERRORS as error:
                raise RedisUnavailable(f"Redis: {reason_of(error)}") from error
