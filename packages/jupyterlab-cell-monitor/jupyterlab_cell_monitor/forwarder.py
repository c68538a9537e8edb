"""Takes batches from the front end, sends them on, and keeps them on disk while the monitor is unavailable."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from .answers import Answer, switched_off
from .ingest_body import MAX_BODY_BYTES, MAX_EVENT_BYTES, MAX_EVENTS, Batch, batch_body, event_id_of, event_json
from .joining import JOIN_ENDED
from .refusals import Refusals
from .spool import Record, Spool
from .upstream import Delivered, Outcome, Refused, Unavailable, Upstream
from .waits import HoldClock, Moment, browser_waits, hold_clock

__all__ = ["Forwarder"]

_BACKOFF_BASE = 1.0
_BACKOFF_CAP = 60.0
# New events may cut a pause of our own short, this often at most.
_NUDGE_SECONDS = 5.0
# A monitor that does not know the waits is asked again after this time: it may have been upgraded.
_WITHOUT_WAITS_SECONDS = 600.0
# Of a request's body, for what is not the events.
_BODY_SPARE_BYTES = 4096
_SPOOLED = {"kind": "spooled"}


class Forwarder:
    """The path from the browser to the monitor.

    While nothing is spooled, batches go straight through. Once the monitor is unavailable they are spooled, and go on being
    spooled until the spool is drained, so that the monitor gets them in the order in which they happened.

    Args:
        upstream: sends batches; None when there is nothing to send to, which switches the monitor off.
        open_spool: opens the spool, in a thread; None for no spool at all.
        log: gets reasons and counts, never payloads.
        misconfigured: what is wrong with the configuration, if anything.
        joinable: whether the student can give what is missing by joining a class.
        random_: 0 to 1, for the jitter.
        clock: measures how long events are held here.
    """

    def __init__(
        self,
        upstream: Upstream | None,
        open_spool: Callable[[], Spool] | None,
        log: logging.Logger | logging.LoggerAdapter[Any],
        *,
        misconfigured: str | None = None,
        joinable: bool = False,
        random_: Callable[[], float] = random.random,
        clock: HoldClock | None = None,
    ) -> None:
        self._upstream = upstream
        self._open_spool = open_spool
        self._log = log
        self._misconfigured = misconfigured
        self._joinable = joinable
        self._random = random_
        self._clock = clock or hold_clock()
        self._without_waits_until = 0.0
        self._spool: Spool | None = None
        # One thread: the spool is not made for two at once, and its disk waits must not stop the server.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="cell-monitor-spool")
        self._starting = asyncio.Lock()
        self._started = False
        self._wake = asyncio.Event()
        self._drain_task: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._last_try = 0.0
        self._failures = 0
        self._unavailable: Unavailable | None = None
        self._refusals = Refusals(log)

    async def start(self) -> None:
        """Opens the spool and begins to drain what an earlier process left in it."""
        async with self._starting:
            if self._started:
                return
            self._started = True
            if self._upstream is None or self._open_spool is None:
                return
            try:
                self._spool = await self._on_disk(self._open_spool)
            except OSError as error:
                self._log.warning("The events' spool cannot be used (%s): the browser keeps them instead.", error)
                return
            self._drain_task = asyncio.create_task(self._drain_forever(), name="cell-monitor-drain")
            if self._spool.pending_events:
                self._log.info("Found %d spooled events.", self._spool.pending_events)
                self._wake.set()

    async def connect(self, upstream: Upstream, open_spool: Callable[[], Spool]) -> None:
        """Sends to another monitor, or as somebody else, from now on; what was spooled before is not sent there."""
        async with self._starting:
            await self._stop()
            self._upstream, self._open_spool = upstream, open_spool
            self._refusals = Refusals(self._log)
            self._note_back()
            self._started = False
        await self.start()

    async def close(self) -> None:
        """Stops sending. What is spooled stays for the next process."""
        await self._stop()
        self._disk.shutdown(wait=False)

    async def _stop(self) -> None:
        if self._drain_task is not None:
            self._drain_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._drain_task
            self._drain_task = None
        spool, self._spool = self._spool, None
        if spool is not None:
            await self._on_disk(spool.close)

    def status(self) -> dict[str, Any]:
        """What `GET status` answers."""
        reason = self._misconfigured or (self._unavailable.reason if self._unavailable else None)
        if self._join_ended:
            state = "not_joined"
        elif self._misconfigured or (self._unavailable and self._unavailable.problem):
            state = "misconfigured"
        elif self._upstream is None:
            state = "not_joined" if self._joinable else "off"
        elif self._unavailable:
            # Before the refusals: events are spooled, of which nobody knows yet whether they are refused.
            state = "unavailable"
        else:
            state = "refused" if self._refusals.everything else "ok"
        status: dict[str, Any] = {
            "state": state,
            "spooled_events": self._spool.pending_events if self._spool else 0,
            "spooled_bytes": self._spool.pending_bytes if self._spool else 0,
            "dropped_events": (self._spool.dropped if self._spool else 0) + self._refusals.events,
        }
        if reason:
            status["last_error"] = reason
        refused = self._refusals.by_code()
        if refused:
            status["refused"] = refused
        return status

    async def submit(self, batch: Batch, *, traceparent: str | None) -> Answer:
        """Sends a batch on, or keeps it. The answer has one result for each event."""
        await self.start()
        if self._upstream is None:
            return switched_off(batch, self._off_reason())
        if batch.events and self._spool is not None and self._spool.pending_events:
            self._nudge()
            if self._join_ended:
                return switched_off(batch, JOIN_ENDED)
            return await self._keep(batch, traceparent)
        if time.monotonic() < self._not_before:
            # The monitor asked for a pause, and asks it of everybody.
            return await self._keep(batch, traceparent)
        # Before the request: an attempt that fails may take seconds.
        taken = self._clock.now()
        outcome = await self._send(
            batch.body if batch.with_times else None,
            lambda: batch_body([event_json(event) for event in batch.events]) if batch.with_times else batch.body,
            len(batch.events),
            batch.test_id,
            traceparent,
        )
        if isinstance(outcome, Unavailable):
            self._note_unavailable(outcome)
            if self._join_ended:
                # Nobody will take it: what somebody does who is in no class is not kept.
                return switched_off(batch, JOIN_ENDED)
            return await self._keep(batch, traceparent, taken)
        self._note_back()
        if isinstance(outcome, Refused):
            return self._refused(batch, outcome)
        if batch.test_id is None:
            self._refusals.note(batch.events, outcome.results)
        again = [index for index, result in enumerate(outcome.results) if result["status"] == "retry"]
        if not again:
            return self._answer(outcome.results, outcome.notices)
        kept = await self._keep_events(batch, again, traceparent, taken)
        for index, result in zip(again, kept, strict=True):
            outcome.results[index] = result
        return self._answer(outcome.results, [*(outcome.notices or []), self._spooled_notice()])

    def _refused(self, batch: Batch, outcome: Refused) -> Answer:
        """Answers for a request that is refused as a whole: for each event, where no other division changes it."""
        if batch.test_id is not None or not batch.events or not (outcome.all_events or len(batch.events) == 1):
            return Answer(outcome.status, outcome.body)
        results = self._refusals.note_all(batch.events, outcome.error)
        for event, result in zip(batch.events, results, strict=True):
            result["event_id"] = event_id_of(event)
        return self._answer(results, None)

    def _answer(self, results: list[dict[str, Any]], notices: list[dict[str, Any]] | None) -> Answer:
        """One result for each event, the notices, and what is refused at the moment, if anything."""
        body: dict[str, Any] = {"results": results, "notices": notices}
        current = self._refusals.current()
        if current:
            body["refusals"] = current
        return Answer(200, body)

    @property
    def _join_ended(self) -> bool:
        return self._unavailable is not None and self._unavailable.problem == JOIN_ENDED

    def _off_reason(self) -> str | None:
        if self._misconfigured is not None:
            return "not_configured"
        return "not_joined" if self._joinable else None

    def _spooled_notice(self) -> dict[str, Any]:
        """Says that events are kept here, with the reason where somebody must change the configuration."""
        problem = self._unavailable.problem if self._unavailable else None
        return {**_SPOOLED, "reason": problem} if problem else _SPOOLED

    async def _send(
        self,
        with_waits: bytes | None,
        without: Callable[[], bytes],
        count: int,
        test_id: str | None,
        traceparent: str | None,
    ) -> Outcome:
        """Sends a body that says how long its events waited; where the monitor does not know that yet, the one without."""
        assert self._upstream is not None
        if with_waits is not None and time.monotonic() >= self._without_waits_until:
            outcome = await self._upstream.send(with_waits, count, test_id=test_id, traceparent=traceparent)
            if not isinstance(outcome, Refused) or outcome.error != "invalid_body":
                return outcome
            plain = await self._upstream.send(without(), count, test_id=test_id, traceparent=traceparent)
            if not isinstance(plain, Refused) or plain.error != "invalid_body":
                self._without_waits_until = time.monotonic() + _WITHOUT_WAITS_SECONDS
            return plain
        return await self._upstream.send(without(), count, test_id=test_id, traceparent=traceparent)

    async def _keep(self, batch: Batch, traceparent: str | None, taken: Moment | None = None) -> Answer:
        if self._spool is None:
            pause = max(1, round(self._not_before - time.monotonic()))
            detail = {"type": "monitor_unavailable", "msg": "The monitor cannot be reached and there is no spool."}
            return Answer(503, {"detail": [detail]}, {"Retry-After": str(pause)})
        results = await self._keep_events(batch, range(len(batch.events)), traceparent, taken or self._clock.now())
        return self._answer(results, [self._spooled_notice()])

    async def _keep_events(
        self, batch: Batch, indexes: Sequence[int], traceparent: str | None, taken: Moment
    ) -> list[dict[str, Any]]:
        """Spools some events of a batch that was taken at a moment; the answer has one result for each of them."""
        results: list[dict[str, Any]] = []
        records: list[Record] = []
        waits = browser_waits(batch.events, batch.sent_at, batch.waited_ms)
        for index in indexes:
            event = batch.events[index]
            encoded = event_json(event)
            fits = len(encoded) <= MAX_EVENT_BYTES
            if fits:
                records.append(Record(encoded, batch.test_id, traceparent, waits[index], taken))
                results.append({"event_id": event_id_of(event), "status": "accepted"})
            else:
                result = {"event_id": event_id_of(event), "status": "rejected", "reason": "event_too_large"}
                self._refusals.note([event], [result])
                results.append(result)
        spool = self._spool
        if not records:
            return results
        try:
            if spool is None:
                raise OSError("there is no spool")
            await self._append(spool, records)
        except OSError as error:
            self._log.warning("%d events could not be spooled (%s): the browser keeps them.", len(records), error)
            for result in results:
                if result["status"] == "accepted":
                    result.update(status="retry", reason="log_unavailable")
            return results
        self._wake.set()
        return results

    def _note_unavailable(self, unavailable: Unavailable) -> None:
        if self._unavailable is None:
            self._log.warning(
                "The cell monitor cannot be reached (%s): events are spooled on disk.", unavailable.reason
            )
        self._unavailable = unavailable
        if unavailable.retry_after > 0:
            self._not_before = time.monotonic() + unavailable.retry_after

    def _note_back(self) -> None:
        if self._unavailable is not None:
            self._log.info("The cell monitor answers again.")
        self._unavailable = None
        self._not_before = 0.0
        if self._failures:
            self._failures = 0
            self._wake.set()

    def _nudge(self) -> None:
        now = time.monotonic()
        if now >= self._not_before and now - self._last_try >= _NUDGE_SECONDS:
            self._wake.set()

    async def _drain_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._drain()
            except OSError as error:
                self._log.warning("The events' spool cannot be read (%s).", error)
                await asyncio.sleep(_BACKOFF_CAP * self._random())
                self._wake.set()

    async def _drain(self) -> None:
        assert self._spool is not None
        assert self._upstream is not None
        most = limit = MAX_EVENTS
        while self._spool.pending_events:
            asked = self._not_before - time.monotonic()
            if asked > 0:
                await asyncio.sleep(asked)
            self._last_try = time.monotonic()
            chunk = await self._on_disk(self._spool.read, limit, MAX_BODY_BYTES - _BODY_SPARE_BYTES)
            if not chunk.records:
                continue
            events = [record.event for record in chunk.records]
            first = chunk.records[0]
            outcome = await self._send(
                batch_body(events, [self._wait_of(record) for record in chunk.records]),
                partial(batch_body, events),
                len(events),
                first.test_id,
                first.traceparent,
            )
            if isinstance(outcome, Unavailable):
                self._note_unavailable(outcome)
                if outcome.too_large and len(chunk.records) > 1:
                    # A proxy takes less than the monitor: no larger request until the spool is empty.
                    most = limit = (len(chunk.records) + 1) // 2
                elif outcome.too_large:
                    # Behind the others, which may be small enough; before it is forgotten here, as in `_settle`.
                    await self._append(self._spool, list(chunk.records))
                    await self._on_disk(self._spool.acknowledge, chunk.end)
                await self._pause()
                continue
            if isinstance(outcome, Refused):
                self._unavailable = None
                if len(chunk.records) > 1 and not outcome.all_events:
                    # One of these events is refused: halve the batch until it is isolated.
                    limit = (len(chunk.records) + 1) // 2
                    continue
                self._refusals.note_all(list(_values(chunk.records)), outcome.error)
                await self._on_disk(self._spool.acknowledge, chunk.end)
                continue
            await self._settle(chunk.records, chunk.end, outcome)
            limit = most

    def _wait_of(self, record: Record) -> int:
        """How long a record has waited in the browser and here, in milliseconds."""
        return record.waited_ms + (0 if record.taken is None else self._clock.held_ms(record.taken))

    async def _settle(self, records: list[Record], end: Any, outcome: Delivered) -> None:
        assert self._spool is not None
        self._note_back()
        again = [record for record, result in zip(records, outcome.results, strict=True) if result["status"] == "retry"]
        if records[0].test_id is None:
            self._refusals.note(_values(records), outcome.results)
        if again:
            # Behind the others, before they are forgotten here: a kill in between only sends some of them twice.
            await self._append(self._spool, again)
        await self._on_disk(self._spool.acknowledge, end)
        if again:
            await self._pause()

    async def _pause(self) -> None:
        """Waits with full jitter, on top of what the monitor asked for; new events may cut our own part short."""
        ceiling = min(_BACKOFF_CAP, _BACKOFF_BASE * 2 ** min(self._failures, 10))
        self._failures += 1
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            # Not wait_for: in Python 3.11 it can swallow the cancellation that `close` waits for.
            async with asyncio.timeout(self._random() * ceiling):
                await self._wake.wait()

    async def _append(self, spool: Spool, records: list[Record]) -> None:
        dropped = spool.dropped
        await self._on_disk(spool.append, records)
        self._refusals.note_dropped(spool.dropped - dropped)

    async def _on_disk(self, action: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._disk, action, *arguments)


def _values(records: list[Record]) -> Iterator[Any]:
    """The events of spooled records as JSON values."""
    return (json.loads(record.event) for record in records)
