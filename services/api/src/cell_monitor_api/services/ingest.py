"""The rules of ingest: which course an event belongs to, what becomes of it, what its sender is told.

This is the plain way through them. ``handlers.ingest_road`` takes the same decisions in fewer steps where a request holds
nothing but good events of one course; tests hold both to the same answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple, cast
from uuid import UUID

import msgspec
import structlog

from cell_monitor_api.exceptions import CourseForbidden, LogUnavailableError, RateLimited
from cell_monitor_api.services.ingest_metrics import IngestMetrics
from cell_monitor_api.services.notices import HelpNotice, Notices
from cell_monitor_api.services.token_buckets import TokenBuckets
from cell_monitor_api.storage.test_progress import TestProgress
from cell_monitor_core.auth.tokens import Claims
from cell_monitor_core.channels import course_channel, test_channel
from cell_monitor_core.events.codec import EventError, decode_event
from cell_monitor_core.events.reasons import Reason
from cell_monitor_core.events.registry import EVENTS_WITH_NOTICES
from cell_monitor_core.records import StreamRecord, deduplication_key, encode_record
from cell_monitor_core.storage.ports import EventProducer, LogUnavailable, StoreUnavailable
from cell_monitor_core.storage.postgres.timestamps import to_text

__all__ = [
    "EventResult",
    "Ingest",
    "IngestAnswer",
    "course_of",
    "log_unavailable",
]

_log = structlog.get_logger(__name__)

_Status = Literal["accepted", "duplicate", "rejected", "retry"]


class EventResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one event; ``reason`` where it was not queued."""

    event_id: str | None
    status: _Status
    reason: str | msgspec.UnsetType = msgspec.UNSET


class IngestAnswer(msgspec.Struct, frozen=True):
    """One result for each event, in order, and what the student should see.

    ``notices`` is null where they were asked for and cannot be read now: show what was shown before. It is empty where
    nobody asked for them, and where there are none.
    """

    results: list[EventResult]
    notices: list[HelpNotice] | None


def course_of(hint: str | None, courses: Mapping[str, str]) -> tuple[str, str | None]:
    """Decide an event's course: its hint if the sender is a member, without a hint the only membership.

    Returns:
        The course and no reason, or an empty string and the reason for the refusal.
    """
    if hint is not None:
        return (hint, None) if hint in courses else ("", Reason.COURSE_FORBIDDEN)
    if len(courses) == 1:
        return next(iter(courses)), None
    return "", Reason.COURSE_REQUIRED


class _Queued(NamedTuple):
    """An event that goes to the log: its place in the request, its id, the log's key for it, its encoded record."""

    position: int
    event_id: str
    key: bytes
    record: bytes


class Ingest:
    """Takes events from a sender whose token is verified.

    Args:
        producer: writes the durable queue.
        buckets: how much each sender may send.
        notices: what senders are told.
        progress: record of the test road.
        metrics: counters.
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.producer = producer
        self.buckets = buckets
        self.notices = notices
        self.metrics = metrics
        self._progress = progress
        self._clock = clock

    def admit(self, person_id: bytes, count: int) -> None:
        """Take a request's events off its sender's bucket and count them.

        Raises:
            RateLimited: the bucket does not hold so many.
        """
        wait_s = self.buckets.take(person_id, count)
        if wait_s:
            self.metrics.limited()
            raise RateLimited(
                f"too many events from this sender; send them again in {wait_s} seconds", retry_after=wait_s
            )
        self.metrics.received(count)

    async def take(
        self,
        claims: Claims,
        events: Sequence[msgspec.Raw],
        *,
        test_id: str | None = None,
        traceparent: str | None = None,
    ) -> tuple[IngestAnswer, int | None]:
        """Admit events and queue them; see there."""
        self.admit(UUID(claims.sub).bytes, len(events))
        return await self.queue(claims, events, test_id=test_id, traceparent=traceparent)

    async def queue(
        self,
        claims: Claims,
        events: Sequence[msgspec.Raw],
        *,
        test_id: str | None = None,
        traceparent: str | None = None,
    ) -> tuple[IngestAnswer, int | None]:
        """Queue events that were admitted.

        Returns:
            The answer, and the seconds after which events marked ``retry`` may be sent again.

        Raises:
            CourseForbidden: every event is for a course that the sender is no member of.
            LogUnavailableError: there was something to queue and none of it could be.
        """
        person_id = UUID(claims.sub)
        results: list[EventResult | None] = []
        queued: dict[str, list[_Queued]] = {}
        wants_notices = not events
        received_at = int(self._clock() * 1000)
        for index, raw in enumerate(events):
            try:
                event = decode_event(raw)
            except EventError as error:
                results.append(EventResult(error.event_id, "rejected", error.reason))
                continue
            wants_notices = wants_notices or type(event) in EVENTS_WITH_NOTICES
            course_id, refusal = ("", None) if test_id is not None else course_of(event.course, claims.courses)
            if refusal is not None:
                results.append(EventResult(event.event_id, "rejected", refusal))
                continue
            record = StreamRecord(person_id.bytes, course_id, received_at, bytes(raw), test_id, traceparent)
            channel = course_channel(course_id) if test_id is None else test_channel(test_id)
            key = deduplication_key(person_id.bytes, event.event_id)
            item = _Queued(index, event.event_id, key, encode_record(record))
            queued.setdefault(channel, []).append(item)
            results.append(None)
        refusals = [str(result.reason) for result in results if result is not None]
        self.metrics.rejected(refusals)
        _refuse_if_all_foreign(refusals, len(events))
        retry_after = await self._append(queued, results)
        final = [result for result in results if result is not None]
        if test_id is not None:
            await self._note(test_id, final, received_at)
        notices = await self.notices.of(person_id) if wants_notices else []
        return IngestAnswer(final, notices), retry_after

    async def _append(self, queued: Mapping[str, list[_Queued]], results: list[EventResult | None]) -> int | None:
        """Queue by channel and fill in the results; return ``Retry-After`` where a channel failed."""
        started = time.perf_counter()
        outcomes = await asyncio.gather(
            *(
                self.producer.append(channel, [(item.key, item.record) for item in items])
                for channel, items in queued.items()
            ),
            return_exceptions=True,
        )
        failures: list[LogUnavailable] = []
        for items, outcome in zip(queued.values(), outcomes, strict=True):
            if isinstance(outcome, LogUnavailable):
                failures.append(outcome)
                self.metrics.log_unavailable(len(items))
                for item in items:
                    results[item.position] = EventResult(item.event_id, "retry", Reason.LOG_UNAVAILABLE)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                self.metrics.appended(outcome, time.perf_counter() - started)
                for item, status in zip(items, outcome, strict=True):
                    results[item.position] = EventResult(item.event_id, cast("_Status", status))
        if not failures:
            return None
        retry_after = max(failure.retry_after for failure in failures)
        if len(failures) == len(queued):
            raise log_unavailable(retry_after)
        return retry_after

    async def _note(self, test_id: str, results: Sequence[EventResult], received_at: int) -> None:
        event_ids = [result.event_id for result in results if result.status in {"accepted", "duplicate"}]
        if not event_ids:
            return
        try:
            at = to_text(datetime.fromtimestamp(received_at / 1000, UTC))
            await self._progress.received(test_id, [event_id for event_id in event_ids if event_id], at)
        except StoreUnavailable as error:
            # The events are queued; only their record lacks its first stage.
            _log.warning("test_progress_unavailable", reason=str(error))


def _refuse_if_all_foreign(refusals: Sequence[str], count: int) -> None:
    """Refuse a request of which every event is for a course that its sender is no member of.

    Raises:
        CourseForbidden: it is so.
    """
    if count and len(refusals) == count and all(reason == Reason.COURSE_FORBIDDEN for reason in refusals):
        raise CourseForbidden("the sender is not a member of the course of any of these events")


def log_unavailable(retry_after: int) -> LogUnavailableError:
    """Return the refusal of a request of which nothing could be queued."""
    return LogUnavailableError(
        f"the event queue takes nothing at the moment; send all events again in {retry_after} seconds",
        retry_after=retry_after,
    )
