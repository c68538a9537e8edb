"""One channel on this gateway: its publications in order, its subscribers, and the one frame that all of them get.

What is accepted is sent at once if the last frame is older than the coalescing window, else together in one
frame at the window's end. What the order asks for (read the history, close the subscribers) is carried out here.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from cell_monitor_core.channels import partition_of
from cell_monitor_core.publications import Publication, Snapshot, Watermark
from cell_monitor_core.storage.ports import Recovery, StoreUnavailable
from cell_monitor_core.telemetry.tracing import SpanStart, continue_trace, span
from cell_monitor_gateway import metrics
from cell_monitor_gateway.protocol import CloseCode, Subscriber, encode_publication, publications, watermark
from cell_monitor_gateway.sequencer import (
    Accepted,
    Effect,
    Established,
    GapFilled,
    Lost,
    LostReason,
    ReadHistory,
    Sequencer,
)
from cell_monitor_gateway.subscribers import Encoded, Subscribers

__all__ = ["Channel", "ChannelLimits", "History", "Subscription"]

_log = structlog.get_logger(__name__)

RECONNECT_SPREAD_MS_EACH: Final = 20
MAX_RECONNECT_SPREAD_MS: Final = 10_000


class History(Protocol):
    """The part of a broker that a channel reads; see ``storage.ports.Broker``. Methods raise ``StoreUnavailable``."""

    async def position(self, channel: str) -> Snapshot:
        """Return the channel's epoch and newest offset."""
        ...

    async def recover(self, channel: str, epoch: str, offset: int, *, limit: int) -> Recovery:
        """Return everything after ``offset``, or ``recovered=False``."""
        ...


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """Bounds of every channel.

    Attributes:
        partitions: number of partitions, the same in every process.
        window_s: shortest time between two frames of one channel, seconds.
        max_backlog_bytes: bytes that may wait for one subscriber.
        recovery_publications: most publications that a subscription recovers.
        recovery_bytes: most bytes of them.
        retry_s: seconds before the history is read again after a failure.
        unverified_s: seconds that a channel goes on without being able to read its history.
    """

    partitions: int
    window_s: float
    max_backlog_bytes: int
    recovery_publications: int = 500
    recovery_bytes: int = 512 * 1024
    retry_s: float = 0.5
    unverified_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Subscription:
    """The answer to a subscription.

    Attributes:
        recovered: whether the subscriber follows; if not, ``publications`` is empty.
        offset: position of a subscriber that has taken ``publications``.
        publications: JSON of each that it lacks.
    """

    epoch: str
    offset: int
    recovered: bool
    publications: list[bytes]


class Channel:
    """One channel that has subscribers here.

    Args:
        name: ``course:<id>`` or ``test:<id>``.
        history: where the channel's publications can be read again.
        on_empty: called when the last subscriber has left.
    """

    def __init__(
        self, name: str, history: History, limits: ChannelLimits, *, on_empty: Callable[[Channel], None]
    ) -> None:
        self.name = name
        self.partition = partition_of(name, limits.partitions)
        self.subscribers = Subscribers()
        self._history = history
        self._limits = limits
        self._on_empty = on_empty
        self._sequencer = Sequencer()
        self._subscribe_lock = asyncio.Lock()
        self._reads: set[asyncio.Task[None]] = set()
        self._unverified_since: float | None = None
        self._pending: list[Encoded] = []
        self._pending_traces: list[SpanStart] = []
        self._pending_received_at: list[int] = []
        """When the API received the events behind what is pending, milliseconds since the epoch."""
        self._flush_handle: asyncio.Handle | None = None
        self._watermark: Watermark | None = None
        """The newest that was not sent yet: it waits for the publications up to its offset."""

    # Publications in

    def deliver(self, publication: Publication) -> None:
        """Take a live publication."""
        self._apply(self._sequencer.take(publication))

    def deliver_watermark(self, mark: Watermark) -> None:
        """Take a watermark; it is sent once everything up to its offset is."""
        self._watermark = mark
        if not self._has_all_before(mark):
            # It was published after them, so they were lost on the way, or are being read already.
            self._apply(self._sequencer.check())
        self._send_watermark()

    def _has_all_before(self, mark: Watermark) -> bool:
        return mark.epoch == self._sequencer.epoch and mark.offset <= self._sequencer.offset

    def _send_watermark(self) -> None:
        """Send the watermark that waits, unless publications before it are still to be sent or read."""
        mark = self._watermark
        if mark is not None and not self._pending and self._has_all_before(mark):
            self._watermark = None
            metrics.WATERMARKS.inc(self._broadcast(self.subscribers.following(), watermark(mark), 0))

    def check_position(self) -> None:
        """Compare the position with the broker's and fill what is missing from the history."""
        self._apply(self._sequencer.check())

    def _apply(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Accepted():
                    for publication in effect.publications:
                        self._accept(publication)
                case ReadHistory():
                    task = asyncio.get_running_loop().create_task(self._read(effect), name=f"history-{self.name}")
                    self._reads.add(task)
                    task.add_done_callback(self._reads.discard)
                case GapFilled():
                    metrics.GAPS_FILLED.inc()
                    metrics.PUBLICATIONS.inc(effect.count)
                case Established():
                    self.subscribers.restart(effect.offset)
                case Lost():
                    self._lose(effect.reason)

    def _accept(self, publication: Publication) -> None:
        self._pending.append((publication.offset, encode_publication(publication)))
        if publication.received_at is not None:
            self._pending_received_at.append(publication.received_at)
        if publication.traceparent is not None and (start := continue_trace(publication.traceparent)) is not None:
            self._pending_traces.append(start)
        if self._flush_handle is None:
            # Leading edge: now, together with what else came in the same message.
            self._flush_handle = asyncio.get_running_loop().call_soon(self._flush)

    async def _read(self, read: ReadHistory) -> None:
        loop = asyncio.get_running_loop()
        try:
            if read.retry:
                await asyncio.sleep(self._limits.retry_s)
            recovery = await self._history.recover(
                self.name, read.epoch, read.offset, limit=self._limits.recovery_publications
            )
        except StoreUnavailable:
            since = self._unverified_since = self._unverified_since or loop.time()
            self._apply(self._sequencer.fail(read, give_up=loop.time() - since > self._limits.unverified_s))
        except Exception:  # noqa: BLE001 - logged, and the subscribers recover
            # After any error, the channel must not wait for this answer.
            _log.exception("history_read_failed", channel=self.name)
            self._apply(self._sequencer.fail(read, give_up=True))
        else:
            self._unverified_since = None
            self._apply(self._sequencer.fill(read, recovery))

    def _lose(self, reason: LostReason) -> None:
        """Close those who may miss something: they reconnect and recover, or fetch a snapshot."""
        metrics.GAPS_LOST.inc()
        _log.warning("position_lost", channel=self.name, reason=reason, subscribers=len(self.subscribers))
        self._pending.clear()
        self._pending_traces.clear()
        self._pending_received_at.clear()
        self._watermark = None
        lost = self.subscribers.lose()
        spread = min(MAX_RECONNECT_SPREAD_MS, RECONNECT_SPREAD_MS_EACH * len(lost))
        for subscriber in lost:
            after = random.randint(0, spread)  # noqa: S311 - spreads load
            subscriber.close(CloseCode.INSUFFICIENT_STATE, reconnect_after_ms=after)

    # Frames out

    def _flush(self) -> None:
        """Send what is pending, encoded once for all, and wait for the window to end before the next frame."""
        self._flush_handle = None
        pending, self._pending = self._pending, []
        if not pending:
            return
        self._flush_handle = asyncio.get_running_loop().call_later(self._limits.window_s, self._flush)
        traces, self._pending_traces = self._pending_traces, []
        with contextlib.ExitStack() as spans:
            for start in traces:
                attributes = {"cell_monitor.subscribers": len(self.subscribers)}
                spans.enter_context(span("frame", start, attributes=attributes))
            self._send(pending)
        received, self._pending_received_at = self._pending_received_at, []
        if self.subscribers.live:
            now = time.time() * 1000
            for at in received:
                metrics.EVENT_FRAME.observe(max(0.0, now - at) / 1000)
        self._send_watermark()

    def _send(self, pending: Sequence[Encoded]) -> None:
        deliveries, overflowed = self.subscribers.flush(pending)
        for subscribers, encoded in deliveries:
            for count, frame in publications(self.name, [one for _, one in encoded]):
                self._broadcast(subscribers, frame, count)
        for subscriber in overflowed:
            subscriber.close(CloseCode.INSUFFICIENT_STATE)

    def _broadcast(self, subscribers: Sequence[Subscriber], frame: bytes, count: int) -> int:
        """Write one frame with ``count`` publications to many sockets: no task, no lock, no copy. Return to how many."""
        limit = self._limits.max_backlog_bytes
        slow: list[Subscriber] = []
        sent = 0
        for subscriber in subscribers:
            if subscriber.backlog() > limit:
                slow.append(subscriber)
            else:
                subscriber.write(frame)
                sent += 1
        metrics.FRAMES.inc(sent)
        metrics.DELIVERIES.inc(sent * count)
        metrics.BYTES.inc(sent * len(frame))
        for subscriber in slow:
            subscriber.close(CloseCode.SLOW)
        return sent

    # Subscribers

    async def subscribe(self, subscriber: Subscriber, epoch: str | None, offset: int) -> Subscription:
        """Let a subscriber follow from after a position, or from now on where ``epoch`` is None.

        What goes out while its history is read is kept for it and merged by offset. The answer is returned without
        giving way to the loop: no frame of the channel is written to the subscriber before its caller has written it.

        Raises:
            StoreUnavailable: the broker is unavailable; the subscriber does not follow the channel.
        """
        self.subscribers.begin(subscriber)
        try:
            # One at a time: a history that was read earlier must not end before the position that a later one set.
            async with self._subscribe_lock:
                if epoch is None:
                    position = await self._history.position(self.name)
                    recovery = Recovery(position.epoch, position.offset, recovered=True, publications=[])
                else:
                    recovery = await self._history.recover(
                        self.name, epoch, offset, limit=self._limits.recovery_publications
                    )
                self._apply(self._sequencer.establish(recovery.epoch, recovery.offset))
                subscription = self._complete(subscriber, recovery)
                if subscription.recovered:
                    (metrics.RECOVERIES_FRESH if epoch is None else metrics.RECOVERIES_RECOVERED).inc()
                else:
                    metrics.RECOVERIES_REFUSED.inc()
                return subscription
        finally:
            self.subscribers.cancel(subscriber)
            self._report_if_empty()

    def _complete(self, subscriber: Subscriber, recovery: Recovery) -> Subscription:
        encoded = [encode_publication(publication) for publication in recovery.publications]
        if recovery.recovered and sum(map(len, encoded)) <= self._limits.recovery_bytes:
            kept = self.subscribers.complete(subscriber, recovery.offset)
            if kept is not None:
                encoded += [one for _, one in kept]
                return Subscription(recovery.epoch, recovery.offset + len(kept), recovered=True, publications=encoded)
        return Subscription(recovery.epoch, recovery.offset, recovered=False, publications=[])

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Let a subscriber follow no longer."""
        self.subscribers.remove(subscriber)
        self._report_if_empty()

    def _report_if_empty(self) -> None:
        if not len(self.subscribers) and not self._subscribe_lock.locked():
            self._on_empty(self)

    def close(self) -> None:
        """Cancel all tasks; the channel has no subscribers any more."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        for task in self._reads:
            task.cancel()
