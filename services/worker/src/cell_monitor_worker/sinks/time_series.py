"""The sink of the group ``influxdb``: one point per event, in InfluxDB or in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from cell_monitor_core import keys
from cell_monitor_core.derivation.facts import FactError
from cell_monitor_core.derivation.placing import Arrival
from cell_monitor_core.events.reasons import FailureReason, Reason
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import PoisonPoints, TimeSeries
from cell_monitor_core.telemetry.metrics import EVENTS_DISCARDED, EVENTS_STORED
from cell_monitor_worker.failures import RecordFailure
from cell_monitor_worker.owners import Owners
from cell_monitor_worker.points import arrival_of, fact_point
from cell_monitor_worker.session_receipts import SessionReceipts
from cell_monitor_worker.test_progress import TestProgress

__all__ = ["TimeSeriesSink"]


class TimeSeriesSink:
    """Writes points. A second write of a point is idempotent."""

    group = keys.GROUP_TIMESERIES

    def __init__(self, series: TimeSeries, progress: TestProgress, owners: Owners, receipts: SessionReceipts) -> None:
        self._series = series
        self._owners = owners
        self._receipts = receipts
        self._discarded = EVENTS_DISCARDED.labels(self.group)
        self._progress = progress
        self._stored = EVENTS_STORED.labels(self.group)

    async def process(self, records: Sequence[StreamRecord]) -> list[RecordFailure]:
        """Write the points of records; see ``Sink.process``."""
        existing = {id(record) for record in await self._owners.existing(records)}
        self._discarded.inc(len(records) - len(existing))
        failures: list[RecordFailure] = []
        arrivals: list[tuple[str, UUID, Arrival]] = []
        index_of: dict[tuple[UUID, str], int] = {}
        opaque: set[int] = set()
        for index, record in enumerate(records):
            if id(record) not in existing:
                continue
            try:
                arrival = arrival_of(record)
            except FactError as error:
                failures.append(RecordFailure(index, error.reason, str(error)))
            except (ValueError, OverflowError) as error:
                failures.append(RecordFailure(index, Reason.INVALID_EVENT, str(error)))
            else:
                if arrival is None:
                    opaque.add(index)
                    continue
                _, person_id, (fact, _) = arrival
                # One point per event, even if the batch contains the event twice.
                if (person_id, fact.id) not in index_of:
                    index_of[person_id, fact.id] = index
                    arrivals.append(arrival)
        if arrivals:
            facts = await self._receipts.bound(arrivals)
            points = [
                fact_point(fact, person, course) for fact, (course, person, _) in zip(facts, arrivals, strict=True)
            ]
            try:
                await self._series.write(points)
            except PoisonPoints as poison:
                failures += [
                    RecordFailure(index_of[point.person_id, str(point.event_id)], FailureReason.DATA_ERROR, reason)
                    for point, reason in poison.points
                ]
        failed = {failure.index for failure in failures}
        unwritten = failed | opaque
        self._stored.inc(len(index_of) - len(failed & set(index_of.values())))
        written = [
            record
            for index, record in enumerate(records)
            if record.test_id and id(record) in existing and index not in unwritten
        ]
        await self._progress.reached("timeseries", written)
        return failures
