"""The event log over Redis Streams: packed entries, one stream for each partition, one group for each sink."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import structlog
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from cell_monitor_core import keys
from cell_monitor_core.channels import partition_of
from cell_monitor_core.records import MAX_RECORDS_PER_ENTRY, encode_records
from cell_monitor_core.redis_client import BLOCK_LIMIT_SECONDS, REDIS_ERRORS, RedisClient, run_command, run_script
from cell_monitor_core.storage.ports import AppendOutcome, LogEntry, LogUnavailable
from cell_monitor_core.streams.lanes import Lane, Lanes
from cell_monitor_core.streams.scripts import APPEND, BACKLOG_FULL, LAG, RECLAIM, TRIM

__all__ = ["RedisEventLog"]

_log = structlog.get_logger(__name__)

SEEN_BUCKET_SECONDS: Final = 300
"""Ids are remembered for one to two buckets: long enough for a sender's own retries."""
SEEN_BUCKET_IDS: Final = 200_000
MAX_ENTRY_BYTES: Final = 256 * 1024
CONSUMER_IDLE: Final = timedelta(hours=1)

_GATHER_TURNS: Final = 16
_GATHERED: Final = 16
"""Records that are worth a flush of their own: with more, all senders would wait for the same one."""
_RETRY_AFTER_OVERLOADED: Final = 1
_RETRY_AFTER_BACKLOG: Final = 10
_FIRST_ID: Final = "0-0"
_ACCEPTED: Final = AppendOutcome.ACCEPTED
_DUPLICATE: Final = AppendOutcome.DUPLICATE

# Each of these says that the script did not run.
_NOT_RUN: Final = (NoScriptError, MovedError, AskError, TryAgainError)


class _Buffer:
    """What waits to be sent to one partition, and who waits for it."""

    __slots__ = ("ids", "lane", "partition", "records", "seen", "seen_bucket", "size", "slot", "stream", "waiters")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.stream = keys.events_stream(partition).encode()
        self.slot = key_slot(self.stream)
        self.lane: Lane | None = None
        self.seen_bucket = -1
        self.seen = (b"", b"")
        self.clear()

    def clear(self) -> None:
        self.ids: list[bytes] = []
        self.records: list[bytes] = []
        self.waiters: list[tuple[asyncio.Future[list[str]], int]] = []
        self.size = 0

    def seen_keys(self, bucket: int) -> tuple[bytes, bytes]:
        """Return the keys of the ids seen in a time bucket and in the one before."""
        if bucket != self.seen_bucket:
            self.seen_bucket = bucket
            self.seen = (
                keys.seen_set(self.partition, bucket).encode(),
                keys.seen_set(self.partition, bucket - 1).encode(),
            )
        return self.seen


class _Batch:
    """What one flush carries of one partition."""

    __slots__ = ("commands", "counts", "size", "waiters")

    def __init__(self, waiters: list[tuple[asyncio.Future[list[str]], int]], size: int) -> None:
        self.waiters = waiters
        self.size = size
        self.commands: list[tuple[bytes, ...]] = []
        self.counts: list[int] = []

    def resolve(self, replies: Sequence[Any]) -> None:
        """Answer the waiters: replies are the append script's, or the ``LogUnavailable`` of an entry."""
        if not any(replies):
            for future, count in self.waiters:
                if not future.done():
                    future.set_result([_ACCEPTED] * count)
            return
        marks: list[str | LogUnavailable] = []
        for reply, count in zip(replies, self.counts, strict=True):
            if isinstance(reply, LogUnavailable):
                marks += [reply] * count
            elif reply:
                marks += [_DUPLICATE if mark == 0x31 else _ACCEPTED for mark in reply]
            else:
                marks += [_ACCEPTED] * count
        start = 0
        for future, count in self.waiters:
            own = marks[start : start + count]
            start += count
            if future.done():
                continue
            refusal = next((mark for mark in own if isinstance(mark, LogUnavailable)), None)
            if refusal is None:
                future.set_result([mark for mark in own if isinstance(mark, str)])
            else:
                future.set_exception(LogUnavailable(refusal.reason, retry_after=refusal.retry_after))

    def fail(self, reason: str) -> None:
        """Tell all waiters that nothing is known to be queued."""
        for future, _ in self.waiters:
            if not future.done():
                future.set_exception(LogUnavailable(reason))


class RedisEventLog:
    """``EventLog`` over Redis or Valkey, single or Cluster.

    Args:
        client: for everything that answers at once.
        blocking_client: for ``read``; None where nothing is read (the API).
        partitions: number of streams, the same in every process.
        max_backlog_entries: entries of one stream above which it takes no more.
        max_buffered_bytes: bytes that may wait in this process for Redis' answer.

    Every method raises ``LogUnavailable`` when Redis is away, refuses or answers too late.
    """

    def __init__(
        self,
        client: RedisClient,
        blocking_client: RedisClient | None = None,
        *,
        partitions: int = 8,
        max_backlog_entries: int = 100_000,
        max_buffered_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        if not 1 <= partitions <= keys.MAX_PARTITIONS:
            raise ValueError(f"partitions must be 1 to {keys.MAX_PARTITIONS}, not {partitions}")
        self.partitions = partitions
        self._client = client
        self._blocking_client = blocking_client
        self._lanes = Lanes(client)
        self._buffers = [_Buffer(partition) for partition in range(partitions)]
        self._bounds = (
            str(max_backlog_entries).encode(),
            str(SEEN_BUCKET_IDS).encode(),
            str(2 * SEEN_BUCKET_SECONDS + 60).encode(),
        )
        self._max_buffered_bytes = max_buffered_bytes
        self._buffered_bytes = 0
        self._cursors: dict[tuple[int, str], str] = {}

    @property
    def buffered_bytes(self) -> int:
        """Bytes of records that wait in this process for Redis' answer."""
        return self._buffered_bytes

    async def append(self, channel: str, items: Sequence[tuple[bytes, bytes]]) -> list[str]:
        """Queue events of one channel; see ``EventLog.append``."""
        count = len(items)
        if count == 0:
            return []
        size = 0
        for event_id, record in items:
            if len(event_id) != 16:
                raise ValueError("an event id is 16 bytes")
            size += len(record)
        if self._buffered_bytes + size > self._max_buffered_bytes:
            raise LogUnavailable("overloaded", retry_after=_RETRY_AFTER_OVERLOADED)
        self._buffered_bytes += size
        buffer = self._buffers[partition_of(channel, self.partitions)]
        future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        if not buffer.waiters:
            self._start(buffer)
        buffer.waiters.append((future, count))
        buffer.size += size
        if count == 1:
            buffer.ids.append(event_id)
            buffer.records.append(record)
        else:
            for event_id, record in items:
                buffer.ids.append(event_id)
                buffer.records.append(record)
        return await future

    def _start(self, buffer: _Buffer) -> None:
        """Put a partition that has something to send on its lane."""
        lane = self._lanes.lane_for(buffer.slot)
        lane.ready.append(buffer.partition)
        if lane.task is None:
            lane.task = asyncio.get_running_loop().create_task(self._drain(lane), name=f"event-log-{lane.name}")

    async def _drain(self, lane: Lane) -> None:
        """Flush a lane until nothing waits."""
        try:
            while lane.ready:
                await self._gather(lane)
                ready, lane.ready = lane.ready, []
                await self._flush(lane, ready)
        finally:
            lane.task = None
            if lane.ready:
                self._fail_ready(lane)

    async def _gather(self, lane: Lane) -> None:
        """Give the loop turns for as long as each brings more records, up to what is worth a flush.

        A flush costs the same with one record or sixty: under load they should share it. Without load the first turn
        brings nothing and nobody waits.
        """
        waiting = 0
        for _ in range(_GATHER_TURNS):
            await asyncio.sleep(0)
            now = sum([len(self._buffers[partition].ids) for partition in lane.ready])
            if now == waiting or now >= _GATHERED:
                return
            waiting = now

    def _fail_ready(self, lane: Lane) -> None:
        """The loop is closing: nobody is left to send these."""
        ready, lane.ready = lane.ready, []
        for batch in [self._take(self._buffers[partition]) for partition in ready]:
            batch.fail("the process is shutting down")
            self._buffered_bytes -= batch.size

    async def _flush(self, lane: Lane, ready: list[int]) -> None:
        buffers = [self._buffers[partition] for partition in ready]
        if self._lanes.is_unresolved(lane):
            with contextlib.suppress(*REDIS_ERRORS):
                await self._lanes.resolve()
            buffers = [buffer for buffer in buffers if not self._rerouted(buffer, lane)]
        batches = [self._take(buffer) for buffer in buffers]
        try:
            if self._lanes.is_unresolved(lane):
                for batch in batches:
                    batch.fail("Redis is away")
            elif batches:
                await self._send(lane, batches)
        except REDIS_ERRORS as error:
            reason = "Redis does not answer" if isinstance(error, TimeoutError) else "Redis is away"
            for batch in batches:
                batch.fail(reason)
            _log.warning("event_log_unavailable", error=type(error).__name__, node=lane.name)
            await self._lanes.refresh()
        except Exception:  # noqa: BLE001 - whatever went wrong, nobody may wait for ever
            _log.exception("event_log_flush_failed", node=lane.name)
            for batch in batches:
                batch.fail("internal error")
        finally:
            for batch in batches:
                batch.fail("the process is shutting down")
                self._buffered_bytes -= batch.size

    def _rerouted(self, buffer: _Buffer, lane: Lane) -> bool:
        """Hand a partition to the lane of its node, if that is known by now."""
        if self._lanes.lane_for(buffer.slot) is lane:
            return False
        self._start(buffer)
        return True

    def _take(self, buffer: _Buffer) -> _Batch:
        """Empty a buffer into commands of at most 64 records and 256 KiB each."""
        batch = _Batch(buffer.waiters, buffer.size)
        ids, records, size = buffer.ids, buffer.records, buffer.size
        buffer.clear()
        current, previous = buffer.seen_keys(int(time.time()) // SEEN_BUCKET_SECONDS)
        total = len(ids)
        start = 0
        while start < total:
            end = min(start + MAX_RECORDS_PER_ENTRY, total)
            if size > MAX_ENTRY_BYTES:
                end = _bytes_end(records, start, end)
            batch.counts.append(end - start)
            batch.commands.append(
                (
                    b"EVALSHA",
                    APPEND.sha_bytes,
                    b"3",
                    buffer.stream,
                    current,
                    previous,
                    encode_records(records[start:end]),
                    b"".join(ids[start:end]),
                    *self._bounds,
                )
            )
            start = end
        return batch

    async def _send(self, lane: Lane, batches: list[_Batch]) -> None:
        commands = [command for batch in batches for command in batch.commands]
        replies = await lane.exchange(commands)
        start = 0
        for batch in batches:
            end = start + len(batch.commands)
            own = replies[start:end]
            if any(own):
                own = [await self._judge(reply, command) for reply, command in zip(own, batch.commands, strict=True)]
            batch.resolve(own)
            start = end

    async def _judge(self, reply: Any, command: tuple[bytes, ...]) -> bytes | LogUnavailable:
        """Turn an append script's reply into its marks or the reason why nothing was queued."""
        if isinstance(reply, _NOT_RUN):
            if isinstance(reply, MovedError):
                await self._lanes.refresh()
            arguments = [part.decode() for part in command[3:6]]
            try:
                reply = await run_script(self._client, APPEND, arguments, list(command[6:]))
            except REDIS_ERRORS as error:
                reply = error
        if isinstance(reply, bytes):
            if reply == BACKLOG_FULL:
                return LogUnavailable("backlog full", retry_after=_RETRY_AFTER_BACKLOG)
            return reply
        if isinstance(reply, OutOfMemoryError):
            return LogUnavailable("Redis is full", retry_after=_RETRY_AFTER_BACKLOG)
        if isinstance(reply, (ReadOnlyError, ClusterDownError)):
            await self._lanes.refresh()
        _log.warning("event_log_refused", error=type(reply).__name__, message=str(reply)[:200])
        return LogUnavailable("Redis refused the events")

    async def ensure_groups(self) -> None:
        """Create all streams and required groups, reading from the beginning."""
        for partition in range(self.partitions):
            for group in keys.REQUIRED_GROUPS:
                await self._ensure_group(partition, group)

    async def _ensure_group(self, partition: int, group: str) -> None:
        stream = keys.events_stream(partition)
        try:
            await run_command(self._client, stream, "XGROUP CREATE", stream, group, "0", "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise LogUnavailable(str(error)) from error
        except REDIS_ERRORS as error:
            raise LogUnavailable(_reason(error)) from error

    async def read(self, partition: int, group: str, consumer: str, *, count: int, block: timedelta) -> list[LogEntry]:
        """Read new entries for a consumer; empty after ``block`` (at most 20 s) without any.

        Raises:
            LogUnavailable: Redis is away; entries that it had already handed out come back through ``reclaim``.
        """
        if self._blocking_client is None:
            raise ValueError("this event log was made without a client for blocking reads")
        stream = keys.events_stream(partition)
        wait = int(min(block.total_seconds(), BLOCK_LIMIT_SECONDS) * 1000)
        # BLOCK 0 would wait for ever.
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
        """Take over entries that a dead consumer left, with their delivery counts; forget consumers long gone."""
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

    async def aclose(self) -> None:
        """Wait for what is under way and close the connections that the lanes hold; the clients stay open."""
        tasks = [lane.task for lane in self._lanes.all if lane.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        await self._lanes.aclose()


def _bytes_end(records: list[bytes], start: int, end: int) -> int:
    """Return where an entry that begins at ``start`` ends, so that it stays within its bytes; one record always fits."""
    size = 0
    for index in range(start, end):
        size += len(records[index])
        if size > MAX_ENTRY_BYTES and index > start:
            return index
    return end


def _is_group_lost(error: ResponseError) -> bool:
    """FLUSHALL, or a stream that was deleted: the group is made again and reads from the beginning."""
    message = str(error)
    return "NOGROUP" in message or message.startswith("UNBLOCKED")


def _reason(error: BaseException) -> str:
    if isinstance(error, OutOfMemoryError):
        return "Redis is full"
    if isinstance(error, ResponseError):
        return f"Redis refused: {str(error)[:200]}"
    return f"Redis is away: {type(error).__name__}"
