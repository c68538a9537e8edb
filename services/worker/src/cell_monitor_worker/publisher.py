"""From committed states to publications.

Students' rows and help requests are published with the batch that changed them. A course's counters change with every
batch: they follow at their own pace, the first at once, and none is lost, for a later one holds all that an earlier one
would have said.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from cell_monitor_core.channels import course_channel, test_channel
from cell_monitor_core.publications import HelpState, StudentState
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import AppliedBatch, Broker, Draft, StoreUnavailable
from cell_monitor_core.storage.postgres import states
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_core.telemetry import tracing
from cell_monitor_core.telemetry.metrics import PUBLICATIONS_PUBLISHED, PUBLICATIONS_SUPPRESSED, PUBLISH_SECONDS
from cell_monitor_worker.test_road import event_head

__all__ = ["CoursePublisher", "Publisher"]

_log = structlog.get_logger(__name__)
_encode: Final = msgspec.json.Encoder().encode

_CHUNK: Final = 200
_COURSES_CHUNK: Final = 50
_LOOK_BACK_S: Final = 3600.0
_LOOK_AGAIN_S: Final = 60.0
_TRANSACTION: Final = timedelta(seconds=10)

_Traces = Mapping[tuple[str, str], str | None]
_ReceivedAt = Mapping[tuple[str, str], int]


class Publisher:
    """Publishes drafts, and counts them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def publish_states(self, applied: AppliedBatch, records: Sequence[StreamRecord]) -> None:
        """Publish a batch's students and help requests, course beside course.

        Raises:
            StoreUnavailable: some may be published; all of them may be published again.
        """
        began = time.perf_counter()
        received = _received(records)
        with ExitStack() as spans:
            traces = {
                student: spans.enter_context(tracing.span("publish", start)).traceparent
                for student, start in (_traces(records) if tracing.tracing_enabled() else {}).items()
            }
            work = [
                self.publish(course_channel(course_id), _student_drafts(course_id, students, traces, received))
                for course_id, students in applied.students.items()
            ]
            work += [
                self.publish(course_channel(course_id), _help_drafts(course_id, requests, traces, received))
                for course_id, requests in applied.help.items()
            ]
            if work:
                await asyncio.gather(*work)
                PUBLISH_SECONDS.observe(time.perf_counter() - began)

    async def publish_tests(self, records: Iterable[StreamRecord]) -> None:
        """Publish test events on the channels of their runs.

        Raises:
            StoreUnavailable: Redis is away.
        """
        runs: dict[str, list[Draft]] = {}
        for record in records:
            if record.test_id is not None:
                head = event_head(record)
                draft = Draft("test", head.event_id, 1, _encode(head), record.traceparent, record.received_at)
                runs.setdefault(record.test_id, []).append(draft)
        for test_id, drafts in runs.items():
            await self.publish(test_channel(test_id), drafts)

    async def publish(self, channel: str, drafts: Sequence[Draft]) -> None:
        """Publish drafts of one kind."""
        for start in range(0, len(drafts), _CHUNK):
            chunk = drafts[start : start + _CHUNK]
            published = await self._broker.publish(channel, chunk)
            PUBLICATIONS_PUBLISHED.labels(chunk[0].kind).inc(published)
            PUBLICATIONS_SUPPRESSED.labels(chunk[0].kind).inc(len(chunk) - published)


def _student_drafts(
    course_id: str, states: Iterable[StudentState], traces: _Traces, received: _ReceivedAt
) -> list[Draft]:
    return [
        Draft("student", state.student_id, state.version, _encode(state), traces.get(key), received.get(key))
        for state in states
        for key in ((course_id, state.student_id),)
    ]


def _help_drafts(course_id: str, states: Iterable[HelpState], traces: _Traces, received: _ReceivedAt) -> list[Draft]:
    return [
        Draft("help", state.request_id, state.version, _encode(state), traces.get(key), received.get(key))
        for state in states
        for key in ((course_id, state.student_id),)
    ]


def _traces(records: Sequence[StreamRecord]) -> dict[tuple[str, str], tracing.SpanStart]:
    """Return the newest sampled trace of each student: it goes on in the publication."""
    return {
        (record.course_id, str(UUID(bytes=record.person_id))): start
        for record in records
        if (start := tracing.continue_trace(record.traceparent)) is not None
    }


def _received(records: Sequence[StreamRecord]) -> dict[tuple[str, str], int]:
    """Return when the API received the first event of each student in the batch: from then on the screen was stale."""
    first: dict[tuple[str, bytes], int] = {}
    for record in records:
        key = (record.course_id, record.person_id)
        if record.received_at < first.get(key, record.received_at + 1):
            first[key] = record.received_at
    return {(course_id, str(UUID(bytes=person_id))): at for (course_id, person_id), at in first.items()}


class CoursePublisher:
    """Publishes counters of courses in which something changed, each at most once an interval.

    Args:
        pool: where the counters are taken.
        publisher: where they go.
        interval: seconds between two publications.
    """

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], publisher: Publisher, *, interval: float) -> None:
        self._pool = pool
        self._publisher = publisher
        self._interval = interval
        self._due: set[str] = set()
        self._wake = asyncio.Event()
        self._published_at: dict[str, datetime] = {}

    def mark(self, course_ids: Iterable[str]) -> None:
        """Say that courses changed."""
        self._due.update(course_ids)
        if self._due:
            self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self.flush():
                # Away: what is due stays due.
                self._wake.set()
                await asyncio.sleep(1.0)
            await asyncio.sleep(self._interval)

    async def flush(self) -> bool:
        """Publish what is due now; return False where a store is away."""
        due = sorted(self._due)
        for start in range(0, len(due), _COURSES_CHUNK):
            chunk = due[start : start + _COURSES_CHUNK]
            self._due.difference_update(chunk)
            try:
                await self._publish(chunk)
            except StoreUnavailable as error:
                self._due.update(due[start:])
                _log.warning("course_counters_delayed", reason=str(error))
                return False
        return True

    async def _publish(self, course_ids: list[str]) -> None:
        with store_errors():
            async with self._pool.acquire() as connection:
                now = await connection.fetchval("SELECT now()")
                courses = await states.refresh_courses(connection, course_ids)
        for course in courses:
            draft = Draft("course", course.course_id, course.version, _encode(course))
            await self._publisher.publish(course_channel(course.course_id), [draft])
            self._published_at[course.course_id] = now

    async def look_for_missed(self) -> None:
        """Mark courses that changed without their counters being published here, until cancelled.

        A worker that dies right after a batch takes the course's next publication with it.
        """
        look_back = _LOOK_BACK_S
        while True:
            try:
                with store_errors():
                    changed = await states.recent_courses(self._pool, look_back)
            except StoreUnavailable:
                await asyncio.sleep(_LOOK_AGAIN_S / 10)
                continue
            self.mark(
                course
                for course, at in changed.items()
                # A transaction's time is its beginning; its commit may have come after counters taken later.
                if course not in self._published_at or self._published_at[course] - _TRANSACTION < at
            )
            look_back = _LOOK_AGAIN_S * 3
            await asyncio.sleep(_LOOK_AGAIN_S)
