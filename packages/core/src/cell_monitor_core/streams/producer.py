"""The producer: records of many callers travel to Redis in one request.

The terms are those of Kafka's producer. Each partition has an accumulator. What it holds becomes a batch, and the batches of
all partitions of one Redis node are sent as one request. A node has at most two requests in flight, so that one is
accumulated while Redis works on the other; whatever arrives meanwhile goes with the next one. Under load the batches grow
by themselves; without load no request waits.

All of this runs in callbacks of the event loop, not in tasks, as long as nothing goes wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import structlog
from redis.crc import key_slot
from redis.exceptions import ClusterDownError, MovedError, OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cell_monitor_core import keys
from cell_monitor_core.channels import partition_of
from cell_monitor_core.records import encode_records, entry_end
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, reason_of, run_script
from cell_monitor_core.storage.ports import AppendOutcome, LogUnavailable
from cell_monitor_core.streams.beats import STREAM_ENTRIES
from cell_monitor_core.streams.node_connection import NOT_RUN, NodeConnection, NodeConnections
from cell_monitor_core.streams.scripts import APPEND, BACKLOG_FULL, append_outcomes

__all__ = ["SEEN_BUCKET_IDS", "SEEN_BUCKET_SECONDS", "RedisEventProducer"]

_log = structlog.get_logger(__name__)

SEEN_BUCKET_SECONDS: Final = 300
"""Ids are remembered for one to two buckets: long enough for a sender's own retries."""
SEEN_BUCKET_IDS: Final = 200_000

_MAX_IN_FLIGHT: Final = 2
_LINGER_TURNS: Final = 16
_REQUEST_RECORDS: Final = 20
"""Records that are worth a request: with more in one, all senders would wait for the same reply."""
_RETRY_AFTER_OVERLOADED: Final = 1
_RETRY_AFTER_BACKLOG: Final = 10
_RETRY_AFTER_UNFIT: Final = 30


_Waiter: TypeAlias = tuple[asyncio.Future[list[AppendOutcome]], int]


class _Accumulator:
    """What waits to be sent to one partition.

    Attributes:
        waiters: the callers, each with the number of its records.
        size: bytes of the records.
        sender: of the partition's node; set while something waits.
    """

    __slots__ = ("_seen", "_seen_bucket", "_stream", "ids", "partition", "records", "sender", "size", "slot", "waiters")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self._stream = keys.events_stream(partition).encode()
        self.slot = key_slot(self._stream)
        self.sender: _Sender | None = None
        self._seen_bucket = -1
        self._seen = (b"", b"")
        self._clear()

    def _clear(self) -> None:
        self.ids: list[bytes] = []
        self.records: list[bytes] = []
        self.waiters: list[_Waiter] = []
        self.size = 0

    def drain(self, *, now: int, bounds: Sequence[bytes]) -> _Batch:
        """Empty the accumulator into commands of at most 64 records and 256 KiB each.

        Args:
            now: seconds since the epoch.
            bounds: the append script's last arguments.
        """
        batch = _Batch(self.waiters, self.size)
        ids, records, size = self.ids, self.records, self.size
        self._clear()
        current, previous = self._seen_keys(now // SEEN_BUCKET_SECONDS)
        start = 0
        while start < len(ids):
            end = entry_end(records, start, size)
            batch.counts.append(end - start)
            batch.commands.append(
                (
                    b"EVALSHA",
                    APPEND.sha_bytes,
                    b"3",
                    self._stream,
                    current,
                    previous,
                    encode_records(records[start:end]),
                    b"".join(ids[start:end]),
                    *bounds,
                )
            )
            start = end
        return batch

    def _seen_keys(self, bucket: int) -> tuple[bytes, bytes]:
        """Return the keys of the ids seen in a time bucket and in the one before."""
        if bucket != self._seen_bucket:
            self._seen_bucket = bucket
            self._seen = (
                keys.seen_set(self.partition, bucket).encode(),
                keys.seen_set(self.partition, bucket - 1).encode(),
            )
        return self._seen


class _Batch:
    """What one request carries of one partition: the append script's calls, and for each the number of its records."""

    __slots__ = ("_waiters", "commands", "counts", "size")

    def __init__(self, waiters: list[_Waiter], size: int) -> None:
        self._waiters = waiters
        self.size = size
        self.commands: list[tuple[bytes, ...]] = []
        self.counts: list[int] = []

    def accept(self) -> None:
        """Answer all callers that everything is queued, and none of it was queued before."""
        for future, count in self._waiters:
            if not future.done():
                future.set_result(append_outcomes(b"", count))

    def settle(self, replies: Sequence[bytes | LogUnavailable]) -> None:
        """Answer the callers: for each command the script's reply, or why it queued nothing."""
        outcomes: list[AppendOutcome | LogUnavailable] = []
        for reply, count in zip(replies, self.counts, strict=True):
            outcomes += [reply] * count if isinstance(reply, LogUnavailable) else append_outcomes(reply, count)
        start = 0
        for future, count in self._waiters:
            own = outcomes[start : start + count]
            start += count
            if future.done():
                continue
            refusal = next((outcome for outcome in own if isinstance(outcome, LogUnavailable)), None)
            if refusal is None:
                future.set_result([outcome for outcome in own if not isinstance(outcome, LogUnavailable)])
            else:
                future.set_exception(LogUnavailable(refusal.reason, retry_after=refusal.retry_after))

    def fail(self, reason: str) -> None:
        """Answer the callers that have no answer yet: nothing is known to be queued."""
        for future, _ in self._waiters:
            if not future.done():
                future.set_exception(LogUnavailable(reason))


class _Sender:
    """What is due to one node.

    Attributes:
        connection: to the node; None while the topology is not known.
        ready: partitions with something to send.
        in_flight: number of requests in flight.
        lingers: whether the next request is being accumulated.
    """

    __slots__ = ("connection", "in_flight", "lingers", "ready")

    def __init__(self, connection: NodeConnection | None) -> None:
        self.connection = connection
        self.ready: list[int] = []
        self.in_flight = 0
        self.lingers = False


class RedisEventProducer:
    """``EventProducer`` over the partitions' streams of Redis or Valkey, single or Cluster.

    Args:
        client: gives the connections.
        partitions: number of streams, the same in every process.
        max_backlog_entries: entries of one stream above which it takes no more events.
        max_buffered_bytes: bytes that may wait in this process for Redis' reply.
    """

    def __init__(
        self,
        client: RedisClient,
        *,
        partitions: int = 8,
        max_backlog_entries: int = STREAM_ENTRIES,
        max_buffered_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        keys.check_partitions(partitions)
        self.buffered_bytes = 0
        self._refusal: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._max_buffered_bytes = max_buffered_bytes
        self._partitions = partitions
        self._client = client
        self._nodes = NodeConnections(client)
        self._accumulators = [_Accumulator(partition) for partition in range(partitions)]
        self._senders: dict[NodeConnection | None, _Sender] = {}
        self._bounds = (
            str(max_backlog_entries).encode(),
            str(SEEN_BUCKET_IDS).encode(),
            str(2 * SEEN_BUCKET_SECONDS + 60).encode(),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished = asyncio.Event()

    async def append(self, channel: str, items: Sequence[tuple[bytes, bytes]]) -> list[AppendOutcome]:
        """Queue events of one channel; see ``EventProducer.append``."""
        count = len(items)
        if count == 0:
            return []
        size = 0
        for key, record in items:
            if len(key) != 16:
                raise ValueError("a deduplication key has 16 bytes")
            size += len(record)
        if self._refusal is not None:
            raise LogUnavailable(self._refusal, retry_after=_RETRY_AFTER_UNFIT)
        if self.buffered_bytes + size > self._max_buffered_bytes:
            raise LogUnavailable("overloaded", retry_after=_RETRY_AFTER_OVERLOADED)
        self.buffered_bytes += size
        accumulator = self._accumulators[partition_of(channel, self._partitions)]
        future: asyncio.Future[list[AppendOutcome]] = (self._loop or self._running_loop()).create_future()
        sender = accumulator.sender if accumulator.waiters else self._make_ready(accumulator)
        accumulator.waiters.append((future, count))
        accumulator.size += size
        for key, record in items:
            accumulator.ids.append(key)
            accumulator.records.append(record)
        # At once, not at the loop's next turn: Redis works on these while the turn's other callers arrive.
        if len(accumulator.ids) >= _REQUEST_RECORDS and sender is not None and sender.in_flight < _MAX_IN_FLIGHT:
            self._send(sender)
        return await future

    def refuse(self, reason: str | None) -> None:
        """Take no events from now on, although Redis answers; None: take them again."""
        self._refusal = reason

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop; asked for once, because each asking is a system call (CPython 3.11 looks at its process id)."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _make_ready(self, accumulator: _Accumulator) -> _Sender:
        """Let a partition that has something to send take part in its node's next request."""
        connection = self._nodes.for_slot(accumulator.slot)
        sender = self._senders.get(connection)
        if sender is None:
            sender = self._senders[connection] = _Sender(connection)
        accumulator.sender = sender
        sender.ready.append(accumulator.partition)
        self._linger(sender)
        return sender

    def _linger(self, sender: _Sender) -> None:
        """Begin a node's next request, unless as many as may be are in flight."""
        if not sender.lingers and sender.in_flight < _MAX_IN_FLIGHT:
            sender.lingers = True
            self._running_loop().call_soon(self._linger_turn, sender, 0, _LINGER_TURNS)

    def _linger_turn(self, sender: _Sender, before: int, turns: int) -> None:
        """Give the loop turns for as long as each brings more records, up to what is worth a request.

        A request costs the same with one record or sixty: under load they should share it. Without load the first turn
        brings nothing, and no caller waits.
        """
        if sender.ready and sender.in_flight < _MAX_IN_FLIGHT:
            waiting = sum([len(self._accumulators[partition].ids) for partition in sender.ready])
            if turns and before < waiting < _REQUEST_RECORDS:
                self._running_loop().call_soon(self._linger_turn, sender, waiting, turns - 1)
                return
            self._send(sender)
        sender.lingers = False

    def _send(self, sender: _Sender) -> None:
        """Send whatever waits for a node."""
        if not sender.ready:
            return
        ready, sender.ready = sender.ready, []
        sender.in_flight += 1
        connection = sender.connection
        if connection is None:
            self._in_task(self._resolve(sender, ready))
        elif connection.is_open:
            self._request(sender, connection, self._drain(ready))
        else:
            self._in_task(self._open_and_request(sender, connection, self._drain(ready)))

    def _drain(self, ready: list[int]) -> list[_Batch]:
        now = int(time.time())
        return [self._accumulators[partition].drain(now=now, bounds=self._bounds) for partition in ready]

    def _request(self, sender: _Sender, connection: NodeConnection, batches: list[_Batch]) -> None:
        replies = connection.send([command for batch in batches for command in batch.commands])
        replies.add_done_callback(partial(self._on_reply, sender, batches))

    async def _open_and_request(self, sender: _Sender, connection: NodeConnection, batches: list[_Batch]) -> None:
        """Connect first."""
        try:
            await connection.open()
        except asyncio.CancelledError:
            self._finish(sender, batches, "the process is shutting down")
            raise
        except Exception as error:  # noqa: BLE001 - after any error, no caller may wait without a limit
            await self._fail(sender, batches, error)
        else:
            self._request(sender, connection, batches)

    async def _resolve(self, sender: _Sender, ready: list[int]) -> None:
        """Ask for the topology, which was not known, and let the partitions take part in their nodes' requests."""
        with contextlib.suppress(*REDIS_ERRORS):
            await self._nodes.resolve()
        lost: list[int] = []
        for partition in ready:
            if self._nodes.for_slot(self._accumulators[partition].slot) is None:
                lost.append(partition)
            else:
                self._make_ready(self._accumulators[partition])
        self._finish(sender, self._drain(lost), "Redis is unavailable")

    def _on_reply(self, sender: _Sender, batches: list[_Batch], reply: asyncio.Future[list[Any]]) -> None:
        """Answer the callers whose records a request carried."""
        if reply.cancelled():
            self._finish(sender, batches, "the process is shutting down")
        elif reply.exception() is None and not any(reply.result()):
            for batch in batches:
                batch.accept()
            self._finish(sender, batches)
        else:
            self._in_task(self._settle(sender, batches, reply))

    def _finish(self, sender: _Sender, batches: list[_Batch], reason: str = "") -> None:
        """End a request; callers that have no answer yet get the reason."""
        for batch in batches:
            if reason:
                batch.fail(reason)
            self.buffered_bytes -= batch.size
        sender.in_flight -= 1
        if sender.ready:
            self._linger(sender)
        self._finished.set()

    async def _settle(self, sender: _Sender, batches: list[_Batch], reply: asyncio.Future[list[Any]]) -> None:
        """Answer the callers of a request that was not accepted as a whole."""
        try:
            replies = reply.result()
            start = 0
            for batch in batches:
                end = start + len(batch.commands)
                batch.settle(
                    [
                        await self._judge(reply, command)
                        for reply, command in zip(replies[start:end], batch.commands, strict=True)
                    ]
                )
                start = end
        except asyncio.CancelledError:
            self._finish(sender, batches, "the process is shutting down")
            raise
        except Exception as error:  # noqa: BLE001 - as above
            await self._fail(sender, batches, error)
        else:
            self._finish(sender, batches)

    async def _fail(self, sender: _Sender, batches: list[_Batch], error: Exception) -> None:
        """End a request that failed. The callers are answered first; then the topology is checked for a change."""
        known = isinstance(error, REDIS_ERRORS)
        reason = _reason(error) if known else "internal error"
        for batch in batches:
            batch.fail(reason)
        node = "unknown" if sender.connection is None else sender.connection.name
        try:
            if known:
                _log.warning("event_log_unavailable", error=reason_of(error), node=node)
                await self._nodes.refresh()
            else:
                _log.error("event_log_request_failed", node=node, exc_info=error)
        finally:
            self._finish(sender, batches)

    async def _judge(self, reply: Any, command: tuple[bytes, ...]) -> bytes | LogUnavailable:
        """Return the append script's reply, or the reason why it queued nothing."""
        if isinstance(reply, NOT_RUN):
            if isinstance(reply, MovedError):
                await self._nodes.refresh()
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
            await self._nodes.refresh()
        _log.warning("event_log_refused", error=type(reply).__name__, message=str(reply)[:200])
        return LogUnavailable("Redis refused the events")

    def _in_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._running_loop().create_task(coroutine, name="event-producer")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Wait for the requests in flight and close the connections to the nodes; the client stays open."""
        while any(sender.ready or sender.in_flight for sender in self._senders.values()):
            self._finished.clear()
            await self._finished.wait()
        await self._nodes.aclose()


def _reason(error: BaseException) -> str:
    slow = isinstance(error, (TimeoutError, RedisTimeoutError))
    return "Redis does not answer" if slow else "Redis is unavailable"
