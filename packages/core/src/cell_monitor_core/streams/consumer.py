"""The consumer: reads the partitions' streams for a group, acknowledges what is done, trims what every group has done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from redis.exceptions import OutOfMemoryError, ResponseError

from cell_monitor_core import keys
from cell_monitor_core.redis_client import (
    BLOCK_LIMIT_SECONDS,
    REDIS_ERRORS,
    RedisClient,
    reason_of,
    run_command,
    run_script,
)
from cell_monitor_core.storage.ports import LogEntry, LogUnavailable
from cell_monitor_core.streams.scripts import LAG, RECLAIM, TRIM

__all__ = ["RedisEventConsumer"]

CONSUMER_IDLE: Final = timedelta(hours=1)
_FIRST_ID: Final = "0-0"


class RedisEventConsumer:
    """``EventConsumer`` over the partitions' streams of Redis or Valkey, single or Cluster.

    Args:
        client: for everything that answers at once.
        blocking_client: for ``read``.
        partitions: number of streams, the same in every process.

    Every method raises ``LogUnavailable`` when Redis is unavailable, refuses or answers too late.
    """

    def __init__(self, client: RedisClient, blocking_client: RedisClient, *, partitions: int = 8) -> None:
        keys.check_partitions(partitions)
        self.partitions = partitions
        self._client = client
        self._blocking_client = blocking_client
        self._cursors: dict[tuple[int, str], str] = {}

    async def ensure_groups(self) -> None:
        """Create all streams and required groups, reading from the beginning."""
        for partition in range(self.partitions):
            for group in keys.REQUIRED_GROUPS:
                await self._ensure_group(partition, group)

    async def _ensure_group(self, partition: int, group: str) -> None:
        stream = keys.events_stream(partition)
        try:
            await run_command(self._client, stream, "XGROUP CREATE", stream, group, "0", "MKSTREAM")
        except OutOfMemoryError as error:
            # A full Redis refuses before it looks whether the group exists.
            if not await self._has_group(stream, group):
                raise LogUnavailable(_reason(error)) from error
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise LogUnavailable(str(error)) from error
        except REDIS_ERRORS as error:
            raise LogUnavailable(_reason(error)) from error

    async def _has_group(self, stream: str, group: str) -> bool:
        try:
            groups = await run_command(self._client, stream, "XINFO GROUPS", stream)
        except ResponseError:
            return False  # there is no such stream
        except REDIS_ERRORS as error:
            raise LogUnavailable(_reason(error)) from error
        return any(dict(one).get("name") in {group, group.encode()} for one in groups)

    async def read(self, partition: int, group: str, consumer: str, *, count: int, block: timedelta) -> list[LogEntry]:
        """Read new entries for a consumer; empty after ``block`` (at most 20 s) without any.

        Raises:
            LogUnavailable: Redis is unavailable; entries that it has already delivered are returned by ``reclaim``.
        """
        stream = keys.events_stream(partition)
        wait = int(min(block.total_seconds(), BLOCK_LIMIT_SECONDS) * 1000)
        # BLOCK 0 would wait without a limit.
        blocking = ("BLOCK", wait) if wait > 0 else ()
        command = ("XREADGROUP", "GROUP", group, consumer, "COUNT", count, *blocking, "STREAMS", stream, ">")
        try:
            reply = await run_command(self._blocking_client, stream, *command)
        except ResponseError as error:
            if not _is_group_lost(error):
                raise LogUnavailable(_reason(error)) from error
            await self._ensure_group(partition, group)
            return []
        except REDIS_ERRORS as error:
            raise LogUnavailable(_reason(error)) from error
        if not reply:
            return []
        return [
            LogEntry(partition, entry_id.decode(), fields)
            for _, entries in reply
            for entry_id, fields in entries
            if entry_id is not None
        ]

    async def reclaim(
        self, partition: int, group: str, consumer: str, *, min_idle: timedelta, count: int
    ) -> list[LogEntry]:
        """Take over entries that a dead consumer left, with their delivery counts; forget consumers that have been idle for an hour."""
        cursor_key = (partition, group)
        cursor = self._cursors.get(cursor_key, _FIRST_ID)
        arguments = [
            group,
            consumer,
            int(min_idle.total_seconds() * 1000),
            cursor,
            count,
            int(CONSUMER_IDLE.total_seconds() * 1000),
        ]
        try:
            reply = await run_script(self._client, RECLAIM, [keys.events_stream(partition)], arguments)
        except ResponseError as error:
            if not _is_group_lost(error):
                raise LogUnavailable(_reason(error)) from error
            await self._ensure_group(partition, group)
            return []
        except REDIS_ERRORS as error:
            raise LogUnavailable(_reason(error)) from error
        next_cursor, entries = reply
        self._cursors[cursor_key] = next_cursor.decode()
        return [
            LogEntry(partition, entry_id.decode(), dict(zip(pairs[::2], pairs[1::2], strict=True)), deliveries)
            for entry_id, pairs, deliveries in entries
        ]

    async def acknowledge(self, partition: int, group: str, entry_ids: Sequence[str]) -> None:
        """Mark entries as done for a group: only after their work is committed."""
        if not entry_ids:
            return
        stream = keys.events_stream(partition)
        try:
            await run_command(self._client, stream, "XACK", stream, group, *entry_ids)
        except REDIS_ERRORS as error:
            raise LogUnavailable(_reason(error)) from error

    async def trim(self, partition: int) -> int:
        """Delete entries that every required group has finished; return how many."""
        try:
            return int(
                await run_script(self._client, TRIM, [keys.events_stream(partition)], list(keys.REQUIRED_GROUPS))
            )
        except REDIS_ERRORS as error:
            raise LogUnavailable(_reason(error)) from error

    async def lag(self, partition: int, group: str) -> tuple[int, float]:
        """Return (entries not yet acknowledged, age in seconds of the oldest of them), by Redis' clock."""
        try:
            count, age_ms = await run_script(self._client, LAG, [keys.events_stream(partition)], [group])
        except REDIS_ERRORS as error:
            raise LogUnavailable(_reason(error)) from error
        return int(count), int(age_ms) / 1000


def _is_group_lost(error: ResponseError) -> bool:
    """Return whether the group is gone (FLUSHALL, a deleted stream): it is made again and reads from the beginning."""
    message = str(error)
    return "NOGROUP" in message or message.startswith("UNBLOCKED")


def _reason(error: BaseException) -> str:
    if isinstance(error, OutOfMemoryError):
        return "Redis is full"
    if isinstance(error, ResponseError):
        return f"Redis refused: {str(error)[:200]}"
    return f"Redis is unavailable: {reason_of(error)}"
