"""Coalescing: many callers' records travel to Redis in one write and one round trip.

Each partition has a buffer. Each Redis node has one lane, and a lane has at most two flights, round trips under way:
whatever arrives meanwhile waits in the buffers and goes with the next one. Under load the batches grow by themselves,
without load nobody waits. Two, so that one is gathered while Redis works on the other.

All of this runs in callbacks of the event loop, not in tasks, as long as nothing goes wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final

import structlog
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from cell_monitor_core.channels import partition_of
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, run_script
from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_core.streams.append_buffers import SEEN_BUCKET_IDS, SEEN_BUCKET_SECONDS, AppendBatch, AppendBuffer
from cell_monitor_core.streams.lanes import Lane, Lanes
from cell_monitor_core.streams.scripts import APPEND, BACKLOG_FULL

__all__ = ["Appender"]

_log = structlog.get_logger(__name__)

_FLIGHTS: Final = 2
_GATHER_TURNS: Final = 16
_GATHERED: Final = 20
"""Records that are worth a flight of their own: with more, all senders would wait for the same one."""
_RETRY_AFTER_OVERLOADED: Final = 1
_RETRY_AFTER_BACKLOG: Final = 10

# Each of these says that the script did not run.
_NOT_RUN: Final = (NoScriptError, MovedError, AskError, TryAgainError)


class Appender:
    """Writes records to the partitions' streams.

    Args:
        client: gives the connections.
        partitions: number of streams.
        max_backlog_entries: entries of one stream above which it takes no more.
        max_buffered_bytes: bytes that may wait in this process for Redis' answer.
    """

    def __init__(
        self, client: RedisClient, *, partitions: int, max_backlog_entries: int, max_buffered_bytes: int
    ) -> None:
        self.buffered_bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._max_buffered_bytes = max_buffered_bytes
        self._partitions = partitions
        self._client = client
        self._lanes = Lanes(client)
        self._buffers = [AppendBuffer(partition) for partition in range(partitions)]
        self._bounds = (
            str(max_backlog_entries).encode(),
            str(SEEN_BUCKET_IDS).encode(),
            str(2 * SEEN_BUCKET_SECONDS + 60).encode(),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._landed = asyncio.Event()

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
        if self.buffered_bytes + size > self._max_buffered_bytes:
            raise LogUnavailable("overloaded", retry_after=_RETRY_AFTER_OVERLOADED)
        self.buffered_bytes += size
        buffer = self._buffers[partition_of(channel, self._partitions)]
        future: asyncio.Future[list[str]] = (self._loop or self._running_loop()).create_future()
        lane = buffer.lane if buffer.waiters else self._queue_up(buffer)
        buffer.waiters.append((future, count))
        buffer.size += size
        for event_id, record in items:
            buffer.ids.append(event_id)
            buffer.records.append(record)
        # At once, not at the loop's next turn: Redis shall work on these while the turn's other callers come.
        if len(buffer.ids) >= _GATHERED and lane is not None and lane.flights < _FLIGHTS:
            self._depart(lane)
        return await future

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop; asked for once, because each asking is a system call (CPython 3.11 looks at its process id)."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _queue_up(self, buffer: AppendBuffer) -> Lane:
        """Put a partition that has something to send on its lane."""
        lane = buffer.lane = self._lanes.lane_for(buffer.slot)
        lane.ready.append(buffer.partition)
        self._gather(lane)
        return lane

    def _gather(self, lane: Lane) -> None:
        """Begin the next flight of a lane, unless there is one too many."""
        if not lane.gathers and lane.flights < _FLIGHTS:
            lane.gathers = True
            self._running_loop().call_soon(self._gather_turn, lane, 0, _GATHER_TURNS)

    def _gather_turn(self, lane: Lane, before: int, turns: int) -> None:
        """Give the loop turns for as long as each brings more records, up to what is worth a flight.

        A flight costs the same with one record or sixty: under load they should share it. Without load the first turn
        brings nothing and nobody waits.
        """
        if lane.ready and lane.flights < _FLIGHTS:
            waiting = sum([len(self._buffers[partition].ids) for partition in lane.ready])
            if turns and before < waiting < _GATHERED:
                self._running_loop().call_soon(self._gather_turn, lane, waiting, turns - 1)
                return
            self._depart(lane)
        lane.gathers = False

    def _depart(self, lane: Lane) -> None:
        """Send whatever waits on a lane."""
        if not lane.ready:
            return
        ready, lane.ready = lane.ready, []
        lane.flights += 1
        if lane.is_open:
            self._fly(lane, self._take(ready))
        elif self._lanes.is_unresolved(lane):
            self._in_task(self._resolve(lane, ready))
        else:
            self._in_task(self._open_and_fly(lane, self._take(ready)))

    def _take(self, ready: list[int]) -> list[AppendBatch]:
        now = int(time.time())
        return [self._buffers[partition].take(now=now, bounds=self._bounds) for partition in ready]

    def _fly(self, lane: Lane, batches: list[AppendBatch]) -> None:
        flight = lane.send([command for batch in batches for command in batch.commands])
        flight.add_done_callback(partial(self._land, lane, batches))

    async def _open_and_fly(self, lane: Lane, batches: list[AppendBatch]) -> None:
        """Connect first."""
        try:
            await lane.open()
        except asyncio.CancelledError:
            self._settle(lane, batches, "the process is shutting down")
            raise
        except Exception as error:  # noqa: BLE001 - whatever went wrong, nobody may wait for ever
            await self._fail(lane, batches, error)
        else:
            self._fly(lane, batches)

    async def _resolve(self, lane: Lane, ready: list[int]) -> None:
        """Find out where partitions belong that nobody knew the place of."""
        with contextlib.suppress(*REDIS_ERRORS):
            await self._lanes.resolve()
        lost = [partition for partition in ready if not self._rerouted(self._buffers[partition], lane)]
        self._settle(lane, self._take(lost), "Redis is away")

    def _rerouted(self, buffer: AppendBuffer, lane: Lane) -> bool:
        """Hand a partition to the lane of its node, if that is known by now."""
        if self._lanes.lane_for(buffer.slot) is lane:
            return False
        self._queue_up(buffer)
        return True

    def _land(self, lane: Lane, batches: list[AppendBatch], flight: asyncio.Future[list[Any]]) -> None:
        """Tell those who waited what became of their records."""
        if flight.exception() is None and not any(flight.result()):
            for batch in batches:
                batch.accept()
            self._settle(lane, batches)
        else:
            self._in_task(self._judge_flight(lane, batches, flight))

    def _settle(self, lane: Lane, batches: list[AppendBatch], reason: str = "") -> None:
        """End a flight; whoever still waits is told the reason."""
        for batch in batches:
            if reason:
                batch.fail(reason)
            self.buffered_bytes -= batch.size
        lane.flights -= 1
        if lane.ready:
            self._gather(lane)
        self._landed.set()

    async def _judge_flight(self, lane: Lane, batches: list[AppendBatch], flight: asyncio.Future[list[Any]]) -> None:
        """Answer the waiters of a flight that was not all well."""
        try:
            replies = flight.result()
            start = 0
            for batch in batches:
                end = start + len(batch.commands)
                own = [
                    await self._judge(reply, command)
                    for reply, command in zip(replies[start:end], batch.commands, strict=True)
                ]
                batch.resolve(own)
                start = end
        except asyncio.CancelledError:
            self._settle(lane, batches, "the process is shutting down")
            raise
        except Exception as error:  # noqa: BLE001 - as above
            await self._fail(lane, batches, error)
        else:
            self._settle(lane, batches)

    async def _fail(self, lane: Lane, batches: list[AppendBatch], error: Exception) -> None:
        """End a flight that failed. Who waits is told first; then it is looked whether the topology has changed."""
        known = isinstance(error, REDIS_ERRORS)
        reason = _reason(error) if known else "internal error"
        for batch in batches:
            batch.fail(reason)
        try:
            if known:
                _log.warning("event_log_unavailable", error=type(error).__name__, node=lane.name)
                await self._lanes.refresh()
            else:
                _log.error("event_log_flight_failed", node=lane.name, exc_info=error)
        finally:
            self._settle(lane, batches)

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

    def _in_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._running_loop().create_task(coroutine, name="event-log")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Wait for what is under way and close the lanes' connections."""
        while any(lane.ready or lane.flights for lane in self._lanes.all):
            self._landed.clear()
            await self._landed.wait()
        await self._lanes.aclose()


def _reason(error: BaseException) -> str:
    slow = isinstance(error, (TimeoutError, RedisTimeoutError))
    return "Redis does not answer" if slow else "Redis is away"
