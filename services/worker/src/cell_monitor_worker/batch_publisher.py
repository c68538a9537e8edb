"""Publications of one committed batch: the states that it changed, and its test events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final
from uuid import UUID

import msgspec

from cell_monitor_core.channels import course_channel, test_channel
from cell_monitor_core.publications import HelpState, StudentState
from cell_monitor_core.publishing import Publisher, draft_of
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import AppliedBatch, Draft
from cell_monitor_core.telemetry import tracing
from cell_monitor_core.telemetry.metrics import PUBLISH_SECONDS
from cell_monitor_worker.test_progress import event_head

__all__ = ["BatchPublisher"]

_encode: Final = msgspec.json.Encoder().encode

_Student = tuple[str, str]
"""Course id and student id."""


class BatchPublisher:
    """Publishes what a batch changed, the courses of the batch concurrently."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def publish_states(self, applied: AppliedBatch, records: Sequence[StreamRecord]) -> None:
        """Publish the students' states and the help requests of a batch.

        Raises:
            StoreUnavailable: some states may be published; publishing all of them again is safe.
        """
        began = time.perf_counter()
        received = _first_received(records)
        with ExitStack() as spans:
            traces = {
                student: spans.enter_context(tracing.span("publish", start)).traceparent
                for student, start in (_newest_traces(records) if tracing.tracing_enabled() else {}).items()
            }
            work = [
                self._publisher.publish(course_channel(course_id), _drafts(course_id, states, traces, received))
                for of_kind in (applied.students, applied.help)
                for course_id, states in of_kind.items()
            ]
            if work:
                await asyncio.gather(*work)
                PUBLISH_SECONDS.observe(time.perf_counter() - began)

    async def publish_tests(self, records: Iterable[StreamRecord]) -> None:
        """Publish test events on the channels of their runs.

        Raises:
            StoreUnavailable: Redis is unavailable.
        """
        runs: dict[str, list[Draft]] = {}
        for record in records:
            if record.test_id is not None:
                head = event_head(record)
                draft = Draft(
                    "test",
                    f"{record.person_id.hex()}:{head.event_id}",
                    1,
                    _encode(head),
                    record.traceparent,
                    record.received_at,
                )
                runs.setdefault(record.test_id, []).append(draft)
        for test_id, drafts in runs.items():
            await self._publisher.publish(test_channel(test_id), drafts)


def _drafts(
    course_id: str,
    states: Iterable[StudentState] | Iterable[HelpState],
    traces: Mapping[_Student, str | None],
    received: Mapping[_Student, int],
) -> list[Draft]:
    return [
        draft_of(state, traceparent=traces.get(student), received_at=received.get(student))
        for state in states
        for student in ((course_id, state.student_id),)
    ]


def _newest_traces(records: Sequence[StreamRecord]) -> dict[_Student, tracing.SpanStart]:
    """Return the newest sampled trace of each student; the publication continues it."""
    return {
        (record.course_id, str(UUID(bytes=record.person_id))): start
        for record in records
        if (start := tracing.continue_trace(record.traceparent)) is not None
    }


def _first_received(records: Sequence[StreamRecord]) -> dict[_Student, int]:
    """Return when the API received each student's first event of the batch, in milliseconds since the epoch."""
    first: dict[tuple[str, bytes], int] = {}
    for record in records:
        key = (record.course_id, record.person_id)
        if record.received_at < first.get(key, record.received_at + 1):
            first[key] = record.received_at
    return {(course_id, str(UUID(bytes=person_id))): at for (course_id, person_id), at in first.items()}
