"""Rooms: who follows a channel, up to where, and the one frame that all of them get.

A room takes publications in the order of their offsets without a gap, or not at all: what comes too early waits in
``_stash`` until the history has filled the gap. What it took goes out at once if the last frame lies further back than
the coalescing window, else with the next frame at the window's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import structlog

from cell_monitor_core.channels import partition_of
from cell_monitor_core.publications import Publication
from cell_monitor_core.storage.ports import Broker, Recovery, StoreUnavailable
from cell_monitor_core.telemetry.tracing import SpanStart, continue_trace, span
from cell_monitor_gateway import metrics
from cell_monitor_gateway.protocol import CloseCode, encode_publication, publications

if TYPE_CHECKING:
    from cell_monitor_gateway.connection import Connection

__all__ = ["Room", "Rooms"]

_log = structlog.get_logger(__name__)

MAX_STASH: Final = 5000
"""Publications that may wait while a gap is filled, or while a subscriber reads its history."""
UNVERIFIED_SECONDS: Final = 15.0
"""How long a room goes on without being able to check its position."""
_RETRY_SECONDS: Final = 0.5
SPREAD_MS_EACH: Final = 20
MAX_SPREAD_MS: Final = 10_000


class Room:
    """One channel on this gateway."""

    def __init__(self, channel: str, rooms: Rooms) -> None:
        self.channel = channel
        self.partition = partition_of(channel, rooms.partitions)
        self.epoch: str | None = None
        self.offset = 0
        """The newest publication taken."""
        self.flushed = 0
        """The newest publication sent to all in ``live``."""
        self.live: dict[Connection, None] = {}
        self.ahead: dict[Connection, int] = {}
        """Subscribers whose history already went beyond ``flushed``, with their offset."""
        self.joining: dict[Connection, list[tuple[int, bytes]]] = {}
        """Subscribers that read their history, with what was sent to the others meanwhile."""
        self.join_lock = asyncio.Lock()
        self._rooms = rooms
        self._pending: list[tuple[int, bytes]] = []
        self._traces: list[SpanStart] = []
        self._received: list[int] = []
        """When the API received what waits, milliseconds since the epoch."""
        self._stash: list[Publication] = []
        self._resync_task: asyncio.Task[None] | None = None
        self._unverified_since: float | None = None
        self._flush_handle: asyncio.Handle | None = None

    def __len__(self) -> int:
        return len(self.live) + len(self.ahead) + len(self.joining)

    def members(self) -> list[Connection]:
        """Return everyone who follows or is about to."""
        return [*self.live, *self.ahead, *self.joining]

    # What comes in

    def take(self, publication: Publication) -> None:
        """Take a live publication: in order, as a duplicate, or as a sign that something is missing."""
        if self.epoch is None or self._resync_task is not None:
            if len(self._stash) < MAX_STASH:
                self._stash.append(publication)
            # Beyond it the stash ends in a gap, which is filled like any other.
            return
        if publication.epoch != self.epoch:
            self._lose("epoch")
        elif publication.offset == self.offset + 1:
            self._accept(publication)
        elif publication.offset > self.offset:
            self._stash.append(publication)
            self.resync()

    def _accept(self, publication: Publication) -> None:
        self.offset = publication.offset
        self._pending.append((publication.offset, encode_publication(publication)))
        if publication.received_at is not None:
            self._received.append(publication.received_at)
        if publication.traceparent is not None and (start := continue_trace(publication.traceparent)) is not None:
            self._traces.append(start)
        if self._flush_handle is None:
            # Leading edge: now, together with what else came in the same message.
            self._flush_handle = asyncio.get_running_loop().call_soon(self.flush)

    def establish(self, epoch: str, offset: int) -> None:
        """Begin at a position that the broker named."""
        if self.epoch is None:
            self.epoch, self.offset, self.flushed = epoch, offset, offset
            self._take_stash()
        elif epoch != self.epoch:
            self._lose("epoch")
            self.epoch, self.offset, self.flushed = epoch, offset, offset
            self._take_stash()

    def _take_stash(self) -> None:
        stash, self._stash = self._stash, []
        for publication in stash:
            self.take(publication)

    def resync(self) -> None:
        """Compare the position with the broker's and fill what is missing from the history."""
        if self._resync_task is None and self.epoch is not None:
            self._resync_task = asyncio.get_running_loop().create_task(self._resync(), name=f"resync-{self.channel}")
            self._resync_task.add_done_callback(self._resynced)

    async def _resync(self) -> None:
        epoch = self.epoch
        assert epoch is not None
        loop = asyncio.get_running_loop()
        while True:
            try:
                recovery = await self._rooms.broker.recover(
                    self.channel, epoch, self.offset, limit=self._rooms.recovery_limit
                )
            except StoreUnavailable:
                recovery = None
            if self.epoch != epoch:
                # Lost meanwhile, and perhaps begun anew: the answer is about what is over.
                return
            if recovery is not None:
                break
            since = self._unverified_since = self._unverified_since or loop.time()
            if loop.time() - since > UNVERIFIED_SECONDS:
                self._lose("unverified")
                return
            if not self._stash:
                # Only a routine check: what arrives may still be in order. The next check comes soon enough.
                return
            await asyncio.sleep(_RETRY_SECONDS)
        self._unverified_since = None
        if not recovery.recovered:
            self._lose("gap")
            return
        if recovery.publications:
            metrics.GAPS_FILLED.inc()
            metrics.PUBLICATIONS.inc(len(recovery.publications))
        for publication in recovery.publications:
            self._accept(publication)

    def _resynced(self, task: asyncio.Task[None]) -> None:
        self._resync_task = None
        if not task.cancelled() and task.exception() is not None:
            _log.error("resync_failed", channel=self.channel, exc_info=task.exception())
            self._lose("gap")
        self._take_stash()

    def _lose(self, why: str) -> None:
        """Admit that something is missing: the subscribers come back and recover, or fetch a snapshot."""
        metrics.GAPS_LOST.inc()
        _log.warning("position_lost", channel=self.channel, why=why, subscribers=len(self))
        self.epoch = None
        self._pending.clear()
        self._traces.clear()
        self._received.clear()
        self._stash.clear()
        for buffer in self.joining.values():
            buffer.clear()
        # Those that read their history just now find out by themselves where they stand.
        self._rooms.close_all([*self.live, *self.ahead], CloseCode.INSUFFICIENT_STATE)

    # What goes out

    def flush(self) -> None:
        """Send what waits, encoded once for all, and wait out the window before the next frame."""
        self._flush_handle = None
        pending, self._pending = self._pending, []
        if not pending:
            return
        self._flush_handle = asyncio.get_running_loop().call_later(self._rooms.window, self.flush)
        traces, self._traces = self._traces, []
        with contextlib.ExitStack() as spans:
            for start in traces:
                spans.enter_context(span("frame", start, attributes={"cell_monitor.subscribers": len(self)}))
            self._send(pending)
        received, self._received = self._received, []
        if self.live:
            now = time.time() * 1000
            for at in received:
                metrics.EVENT_FRAME.observe(max(0.0, now - at) / 1000)

    def _send(self, pending: list[tuple[int, bytes]]) -> None:
        last = pending[-1][0]
        self.flushed = last
        for connection, buffer in list(self.joining.items()):
            buffer.extend(pending)
            if len(buffer) > MAX_STASH:
                connection.close(CloseCode.INSUFFICIENT_STATE)
        encoded = [one for _, one in pending]
        for count, frame in publications(self.channel, encoded):
            self._rooms.broadcast(self.live, frame, count)
        if self.ahead:
            for connection, offset in list(self.ahead.items()):
                if offset > last:
                    continue
                rest = [one for number, one in pending if number > offset]
                for count, frame in publications(self.channel, rest):
                    self._rooms.broadcast((connection,), frame, count)
                if connection in self.ahead:
                    del self.ahead[connection]
                    self.live[connection] = None

    # Who follows

    async def join(self, connection: Connection, epoch: str | None, offset: int) -> tuple[Recovery, list[bytes]]:
        """Subscribe a connection; return the answer and the encoded publications that it lacks.

        Live publications wait for it while it reads the history; both are then merged by offset, and nobody else's
        frame comes between that and its first live frame. If nothing can be recovered it does not follow the channel.

        Raises:
            StoreUnavailable: the broker is away; the connection does not follow the channel.
        """
        self.joining[connection] = []
        try:
            # One at a time, so that a later subscriber's history never ends before the room's own beginning.
            async with self.join_lock:
                if epoch is None:
                    position = await self._rooms.broker.position(self.channel)
                    recovery = Recovery(position.epoch, position.offset, recovered=True, publications=[])
                else:
                    recovery = await self._rooms.broker.recover(
                        self.channel, epoch, offset, limit=self._rooms.recovery_limit
                    )
                self.establish(recovery.epoch, recovery.offset)
                answer = self._merge(connection, recovery)
                if answer[0].recovered:
                    (metrics.RECOVERIES_FRESH if epoch is None else metrics.RECOVERIES_RECOVERED).inc()
                return answer
        finally:
            self.joining.pop(connection, None)
            self._rooms.forget_if_empty(self)

    def _merge(self, connection: Connection, recovery: Recovery) -> tuple[Recovery, list[bytes]]:
        buffer = self.joining.pop(connection, None)
        encoded = [encode_publication(publication) for publication in recovery.publications]
        whole = (
            recovery.recovered
            and buffer is not None
            and self.epoch == recovery.epoch
            and sum(map(len, encoded)) <= self._rooms.recovery_bytes
        )
        if not whole:
            metrics.RECOVERIES_REFUSED.inc()
            return Recovery(recovery.epoch, recovery.offset, recovered=False, publications=[]), []
        assert buffer is not None
        cursor = recovery.offset
        for number, one in buffer:
            if number > cursor:
                encoded.append(one)
                cursor = number
        if cursor > self.flushed:
            self.ahead[connection] = cursor
        else:
            self.live[connection] = None
        return Recovery(recovery.epoch, cursor, recovered=True, publications=[]), encoded

    def leave(self, connection: Connection) -> None:
        """Take a connection out."""
        self.live.pop(connection, None)
        self.ahead.pop(connection, None)
        self.joining.pop(connection, None)
        self._rooms.forget_if_empty(self)

    def end(self) -> None:
        """Stop what is under way; the room is empty."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        if self._resync_task is not None:
            self._resync_task.remove_done_callback(self._resynced)
            self._resync_task.cancel()
            self._resync_task = None
        self.epoch = None


class Rooms:
    """All rooms of this gateway.

    Args:
        broker: history and positions.
        window: seconds between two frames of one channel.
        max_backlog: bytes that may wait for one connection.
        recovery_limit: most publications that a subscription recovers.
        recovery_bytes: most bytes of them.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        partitions: int,
        window: float,
        max_backlog: int,
        recovery_limit: int = 500,
        recovery_bytes: int = 512 * 1024,
    ) -> None:
        self.broker = broker
        self.partitions = partitions
        self.window = window
        self.max_backlog = max_backlog
        self.recovery_limit = recovery_limit
        self.recovery_bytes = recovery_bytes
        self._rooms: dict[str, Room] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def all(self) -> list[Room]:
        """Return every room that has subscribers."""
        return list(self._rooms.values())

    def room(self, channel: str) -> Room:
        """Return a channel's room, opening it if need be."""
        room = self._rooms.get(channel)
        if room is None:
            room = self._rooms[channel] = Room(channel, self)
        return room

    def take(self, publication: Publication) -> None:
        """Hand a live publication to its room, if anyone follows it here."""
        room = self._rooms.get(publication.channel)
        if room is not None:
            room.take(publication)

    def broadcast(self, connections: Iterable[Connection], frame: bytes, count: int) -> None:
        """Write one frame to many sockets: no task, no lock, no copy."""
        limit = self.max_backlog
        slow: list[Connection] = []
        sent = 0
        for connection in connections:
            writer = connection.writer
            if writer.backlog() > limit:
                slow.append(connection)
            else:
                writer.write(frame)
                sent += 1
        metrics.FRAMES.inc(sent)
        metrics.DELIVERIES.inc(sent * count)
        metrics.BYTES.inc(sent * len(frame))
        for connection in slow:
            connection.close(CloseCode.SLOW)

    def close_all(self, connections: Sequence[Connection], code: CloseCode) -> None:
        """Close many connections, their return spread by their number."""
        spread = min(MAX_SPREAD_MS, SPREAD_MS_EACH * len(connections))
        for connection in connections:
            connection.close(code, reconnect_after_ms=random.randint(0, spread))  # noqa: S311 - spreads load

    def forget_if_empty(self, room: Room) -> None:
        """Close a room that nobody follows."""
        if not len(room) and not room.join_lock.locked() and self._rooms.get(room.channel) is room:
            del self._rooms[room.channel]
            room.end()
