"""Points of the time series: one an event."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from uuid import UUID

from cell_monitor_core.derivation.facts import Fact, moment, read_event
from cell_monitor_core.derivation.opaque_types import is_opaque
from cell_monitor_core.derivation.placing import Arrival
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import TimeSeriesPoint

__all__ = ["TEST_COURSE", "arrival_of", "fact_point", "point_time"]

TEST_COURSE: Final = "_test"
"""Course id of test events; it is not a valid course id."""

_STEP_MS: Final = 20_000


def arrival_of(record: StreamRecord) -> tuple[str, UUID, Arrival] | None:
    """Return the course, the person and the fact of an event that has a point; ``session_receipts`` bounds the fact's time.

    An opaque event has no point until a release that knows its type derives it: types are tags, and a sender could make up
    any number of them.

    Raises:
        FactError: the event is invalid.
        ValueError: the person's id is not 16 bytes.
    """
    fact = read_event(record.event, record.received_at, waited_ms=record.waited_ms).fact
    if is_opaque(fact.type):
        return None
    course_id = record.course_id if record.test_id is None else TEST_COURSE
    return course_id, _person(record.person_id), Arrival(fact, record.received_at)


def point_time(fact: Fact) -> int:
    """Return the time of a fact's point, milliseconds since the epoch: the server's time, to 10 seconds.

    InfluxDB knows a point by its time, so a copy of an event that is sent again hours later must have the same time,
    although its receipt and its wait are measured again. The time is therefore the sender's own, moved to the server's time by whole
    steps of 20 seconds: none for a clock that is right to 10 seconds, and as many for each copy. The shortest bucket of
    a chart is 10 seconds.
    """
    if fact.occurred is None:
        return fact.at
    return fact.occurred + (fact.at - fact.occurred + _STEP_MS // 2) // _STEP_MS * _STEP_MS


def fact_point(fact: Fact, person_id: UUID, course_id: str) -> TimeSeriesPoint:
    """Return the point of a derived fact."""
    return TimeSeriesPoint(
        person_id=person_id,
        event_id=UUID(fact.id),
        at=moment(point_time(fact)),
        type=fact.type,
        course_id=course_id,
        notebook_id="" if fact.notebook is None else fact.notebook.id,
        cell_id="" if fact.cell is None else fact.cell.source_id,
        status=fact.status or "",
        error_name="" if fact.error is None else fact.error.name,
        duration_ms=fact.duration_ms,
    )


@lru_cache(maxsize=10_000)
def _person(person_id: bytes) -> UUID:
    return UUID(bytes=person_id)
