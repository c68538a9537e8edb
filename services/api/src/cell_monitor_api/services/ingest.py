"""The rules of ingest: who may send how much, which course an event belongs to, what becomes of it.

Both ways to ingest end here: the fast path and the FastAPI route (``handlers``) only read requests and write answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, cast

import msgspec
import structlog

from cell_monitor_api.exceptions import CourseForbidden, LogUnavailableError, RateLimited
from cell_monitor_api.services.ingest_metrics import IngestMetrics
from cell_monitor_api.services.notices import HelpNotice, Notices
from cell_monitor_api.services.refusals import RATE_LIMITED, Refusals
from cell_monitor_api.services.token_buckets import TokenBuckets
from cell_monitor_api.storage.test_progress import TestProgress
from cell_monitor_core.auth.tokens import Claims
from cell_monitor_core.channels import course_channel, test_channel
from cell_monitor_core.events.codec import EventError, IngestRequest, decode_event
from cell_monitor_core.events.reasons import Reason
from cell_monitor_core.events.registry import EVENTS_WITH_NOTICES
from cell_monitor_core.records import StreamRecord, deduplication_key, encode_record
from cell_monitor_core.storage.ports import EventProducer, LogUnavailable, StoreUnavailable
from cell_monitor_core.telemetry.tracing import sample, span
from cell_monitor_core.timestamps import to_text

__all__ = ["EventResult", "Ingest", "IngestAnswer", "Sender"]

_log = structlog.get_logger(__name__)

_Status = Literal["accepted", "duplicate", "rejected", "retry"]
_ACCEPTED_OR_DUPLICATE: Final = frozenset({"accepted", "duplicate"})


class EventResult(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What became of one event; ``reason`` where it was not queued."""

    event_id: str | None
    status: _Status
    reason: str | msgspec.UnsetType = msgspec.UNSET


class IngestAnswer(msgspec.Struct, frozen=True):
    """One result for each event, in order, and what the student should see.

    ``notices`` is null where they were asked for and cannot be read now: show what was shown before. It is empty where
    they were not asked for, and where there are none.
    """

    results: list[EventResult]
    notices: list[HelpNotice] | None


class Sender:
    """Who sends, by a verified token: what is the same in all requests that carry it.

    Attributes:
        person_id: of the sender.
        person: the same, 16 bytes.
        channels: of the courses that the sender is a member of, by course id.
        student_of: the courses in which the sender is a student.
    """

    __slots__ = ("_only_course", "channels", "person", "person_id", "student_of")

    def __init__(self, claims: Claims) -> None:
        self.person_id = claims.person_id
        self.person = self.person_id.bytes
        self.channels = {course_id: course_channel(course_id) for course_id in claims.courses}
        self.student_of = tuple(course_id for course_id, role in claims.courses.items() if role == "student")
        self._only_course = next(iter(self.channels)) if len(self.channels) == 1 else None

    def course_of(self, hint: str | None) -> tuple[str, str | None]:
        """Decide an event's course: its hint if the sender is a member, without a hint the only membership.

        Returns:
            The course and no reason, or an empty string and the reason for the refusal.
        """
        if hint is not None:
            return (hint, None) if hint in self.channels else ("", Reason.COURSE_FORBIDDEN)
        if self._only_course is not None:
            return self._only_course, None
        return "", Reason.COURSE_REQUIRED if self.channels else Reason.NO_COURSE


class _Batch:
    """The events of a request that go to one channel: their positions in the request, ids, keys and encoded records."""

    __slots__ = ("course_id", "event_ids", "items", "positions")

    def __init__(self, course_id: str) -> None:
        self.course_id = course_id
        self.positions: list[int] = []
        self.event_ids: list[str] = []
        self.items: list[tuple[bytes, bytes]] = []


class Ingest:
    """Takes events from a sender whose token is verified.

    Args:
        producer: writes the durable queue.
        buckets: how much each sender may send.
        notices: what senders are shown about their requests for help.
        progress: record of runs in test mode.
        metrics: counters.
        refusals: notes for the staff of courses.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        producer: EventProducer,
        buckets: TokenBuckets,
        notices: Notices,
        progress: TestProgress,
        metrics: IngestMetrics,
        refusals: Refusals,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.producer = producer
        self.buckets = buckets
        self.notices = notices
        self.metrics = metrics
        self._progress = progress
        self._refusals = refusals
        self._clock = clock

    async def take(
        self,
        sender: Sender,
        request: IngestRequest,
        *,
        test_id: str | None = None,
        traceparent: str | None = None,
    ) -> tuple[IngestAnswer, int | None]:
        """Admit events and queue them.

        Args:
            sender: whose events they are.
            request: the events, each as its sender wrote it.
            test_id: the run in test mode that they belong to.
            traceparent: W3C trace context of the request.

        Returns:
            The answer, and the seconds after which events marked ``retry`` may be sent again.

        Raises:
            RateLimited: the sender's bucket does not hold so many events.
            CourseForbidden: every event is for a course that the sender is not a member of.
            LogUnavailableError: there was something to queue and none of it could be.
        """
        count = len(request.events)
        self._admit(sender, count)
        start = sample(traceparent)
        if start is None:
            return await self._queue(sender, request, test_id, None)
        with span("ingest", start, attributes={"events": count}) as recorded:
            return await self._queue(sender, request, test_id, recorded.traceparent)

    def _admit(self, sender: Sender, count: int) -> None:
        """Take a request's events from its sender's bucket and count them."""
        wait_s = self.buckets.take(sender.person, count)
        if wait_s:
            self.metrics.limited()
            self._refusals.note(sender.person, RATE_LIMITED, sender.student_of, None)
            raise RateLimited(
                f"too many events from this sender; send them again in {wait_s} seconds", retry_after=wait_s
            )
        self.metrics.received(count)

    async def _queue(
        self, sender: Sender, request: IngestRequest, test_id: str | None, traceparent: str | None
    ) -> tuple[IngestAnswer, int | None]:
        events, waits = request
        person = sender.person
        received_at = int(self._clock() * 1000)
        results: list[EventResult | None] = []
        refusals: list[str] = []
        batches: dict[str, _Batch] = {}
        # Of the event before: nearly all events of a request have one course.
        hint: str | None = None
        batch: _Batch | None = None
        refusal: str | None = None
        refused_hint: str | None = None
        wants_notices = not events
        for position, raw in enumerate(events):
            try:
                event = decode_event(raw)
            except EventError as error:
                results.append(EventResult(error.event_id, "rejected", error.reason))
                refusals.append(error.reason)
                continue
            event_id = event.event_id
            if type(event) in EVENTS_WITH_NOTICES:
                wants_notices = True
            if batch is None or event.course != hint:
                hint = event.course
                batch, refusal = _batch_of(sender, hint, test_id, batches)
            if batch is None:
                results.append(EventResult(event_id, "rejected", str(refusal)))
                refusals.append(str(refusal))
                refused_hint = hint
                continue
            waited_ms = waits.of_event(position, event.occurred_at)
            record = StreamRecord(person, batch.course_id, received_at, bytes(raw), test_id, traceparent, waited_ms)
            batch.positions.append(position)
            batch.event_ids.append(event_id)
            batch.items.append((deduplication_key(person, event_id), encode_record(record)))
            results.append(None)
        if refusals:
            self.metrics.rejected(refusals)
            if test_id is None:
                self._refusals.note(person, refusals[-1], sender.student_of, refused_hint)
            _refuse_if_all_foreign(refusals, len(events))
        retry_after = await self._append_all(batches, results)
        if batches and retry_after is None and not refusals and test_id is None:
            self._refusals.note_accepted(person)
        final = cast("list[EventResult]", results)
        if test_id is not None:
            await self._note(test_id, person, final, received_at)
        notices = await self.notices.of(sender.person_id) if wants_notices else []
        return IngestAnswer(final, notices), retry_after

    async def _append_all(self, batches: dict[str, _Batch], results: list[EventResult | None]) -> int | None:
        """Queue by channel and fill in the results; return ``Retry-After`` where a channel failed."""
        if len(batches) == 1:
            [(channel, batch)] = batches.items()
            outcomes = [await self._append(channel, batch, results)]
        else:
            outcomes = await asyncio.gather(
                *(self._append(channel, batch, results) for channel, batch in batches.items())
            )
        failures = [seconds for seconds in outcomes if seconds is not None]
        if not failures:
            return None
        retry_after = max(failures)
        if len(failures) == len(batches):
            raise LogUnavailableError(
                f"the event queue takes nothing at the moment; send all events again in {retry_after} seconds",
                retry_after=retry_after,
            )
        return retry_after

    async def _append(self, channel: str, batch: _Batch, results: list[EventResult | None]) -> int | None:
        """Queue the events of one channel and fill in their results; return ``Retry-After`` where that failed."""
        started = time.perf_counter()
        try:
            statuses = await self.producer.append(channel, batch.items)
        except LogUnavailable as error:
            self.metrics.log_unavailable(len(batch.items))
            for position, event_id in zip(batch.positions, batch.event_ids, strict=True):
                results[position] = EventResult(event_id, "retry", Reason.LOG_UNAVAILABLE)
            return error.retry_after
        self.metrics.appended(statuses, time.perf_counter() - started)
        for position, event_id, status in zip(batch.positions, batch.event_ids, statuses, strict=True):
            results[position] = EventResult(event_id, status)
        return None

    async def _note(self, test_id: str, person_id: bytes, results: Sequence[EventResult], received_at: int) -> None:
        """Record that a test run's events were queued."""
        event_ids = [result.event_id for result in results if result.status in _ACCEPTED_OR_DUPLICATE]
        if not event_ids:
            return
        try:
            at = to_text(datetime.fromtimestamp(received_at / 1000, UTC))
            await self._progress.received(test_id, person_id, [event_id for event_id in event_ids if event_id], at)
        except StoreUnavailable as error:
            # The events are queued; only their record lacks its first stage.
            _log.warning("test_progress_unavailable", reason=str(error))


def _batch_of(
    sender: Sender, hint: str | None, test_id: str | None, batches: dict[str, _Batch]
) -> tuple[_Batch | None, str | None]:
    """Return the batch of an event's channel, or None and the reason for the refusal."""
    course_id, refusal = sender.course_of(hint) if test_id is None else ("", None)
    if refusal is not None:
        return None, refusal
    channel = sender.channels[course_id] if test_id is None else test_channel(test_id)
    return batches.setdefault(channel, _Batch(course_id)), None


def _refuse_if_all_foreign(refusals: Sequence[str], count: int) -> None:
    """Refuse a request if every event is for a course that its sender is not a member of."""
    if len(refusals) == count and all(reason == Reason.COURSE_FORBIDDEN for reason in refusals):
        raise CourseForbidden("the sender is not a member of the course of any of these events")
