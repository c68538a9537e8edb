"""The sink of the group ``postgres``: facts and derived state, then their publications."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from cell_monitor_core import keys
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import FactStore
from cell_monitor_core.telemetry import tracing
from cell_monitor_core.telemetry.metrics import (
    EVENT_PUBLICATION_SECONDS,
    EVENTS_DISCARDED,
    EVENTS_STORED,
    EVENTS_STORED_BEFORE,
    OPAQUE_EVENTS,
)
from cell_monitor_worker.batch_publisher import BatchPublisher
from cell_monitor_worker.course_publisher import CoursePublisher
from cell_monitor_worker.failures import RecordFailure
from cell_monitor_worker.owners import Owners
from cell_monitor_worker.test_progress import TestProgress

__all__ = ["FactSink"]


class FactSink:
    """Commits and publishes a batch before it is acknowledged, so that a crash in between publishes it again."""

    group = keys.GROUP_POSTGRES

    def __init__(
        self,
        store: FactStore,
        publisher: BatchPublisher,
        courses: CoursePublisher,
        progress: TestProgress,
        owners: Owners,
    ) -> None:
        self._store = store
        self._owners = owners
        self._publisher = publisher
        self._courses = courses
        self._progress = progress
        self._stored = EVENTS_STORED.labels(self.group)
        self._stored_before = EVENTS_STORED_BEFORE.labels(self.group)
        self._discarded = EVENTS_DISCARDED.labels(self.group)
        self._opaque = OPAQUE_EVENTS.labels("stored")

    async def process(self, records: Sequence[StreamRecord]) -> list[RecordFailure]:
        """Store and publish records; see ``Sink.process``."""
        traced = [record for record in records if record.traceparent] if tracing.tracing_enabled() else []
        with tracing.span(
            "process_batch",
            tracing.new_trace() if traced else None,
            links=[tracing.link(record.traceparent) for record in traced],
            attributes={"cell_monitor.events": len(records)},
        ):
            kept = await self._with_owners(records)
            applied = await self._store.apply(kept)
        self._stored.inc(applied.stored)
        self._discarded.inc(len(records) - len(kept) + applied.discarded)
        self._stored_before.inc(applied.duplicates)
        self._opaque.inc(applied.opaque)
        failures = _failures(records, applied.failed)
        failed = {id(record) for record, _ in applied.failed}
        tests = [record for record in kept if record.test_id and id(record) not in failed]
        await self._progress.reached("postgres", tests)
        await asyncio.gather(self._publisher.publish_states(applied, records), self._publisher.publish_tests(tests))
        await self._progress.reached("published", tests)
        self._courses.mark(applied.counted)
        now = time.time() * 1000
        for record in records:
            if record.test_id is None:
                EVENT_PUBLICATION_SECONDS.observe(max(0.0, now - record.received_at) / 1000)
        return failures

    async def _with_owners(self, records: Sequence[StreamRecord]) -> Sequence[StreamRecord]:
        """Return the records without test events of people who do not exist; the store asks for all others itself."""
        tests = [record for record in records if record.test_id is not None]
        if not tests:
            return records
        existing = {id(record) for record in await self._owners.existing(tests)}
        return [record for record in records if record.test_id is None or id(record) in existing]


def _failures(records: Sequence[StreamRecord], failed: list[tuple[StreamRecord, str]]) -> list[RecordFailure]:
    """Return the positions of failed records. Equal records are distinguished by identity."""
    if not failed:
        return []
    index_of = {id(record): index for index, record in enumerate(records)}
    failures = []
    for record, reason in failed:
        code, _, detail = reason.partition(": ")
        failures.append(RecordFailure(index_of[id(record)], code, detail))
    return failures
