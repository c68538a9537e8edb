"""Points of the time series: one an event."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from uuid import UUID

from cell_monitor_core.derivation.facts import Fact, moment, read_event
from cell_monitor_core.derivation.opaque_types import is_opaque
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import TimeSeriesPoint

__all__ = ["TEST_COURSE", "fact_point", "point_of"]

TEST_COURSE: Final = "_test"
"""Course id of test events; it is not a valid course id."""


def point_of(record: StreamRecord) -> TimeSeriesPoint | None:
    """Return the point of an event.

    An opaque event has none until a release that knows its type derives it: types are tags, and a sender could make up
    any number of them.

    Raises:
        FactError: the event is invalid.
        ValueError: the person's id is not 16 bytes.
    """
    fact = read_event(record.event, record.received_at).fact
    if is_opaque(fact.type):
        return None
    return fact_point(fact, _person(record.person_id), record.course_id if record.test_id is None else TEST_COURSE)


def fact_point(fact: Fact, person_id: UUID, course_id: str) -> TimeSeriesPoint:
    """Return the point of a derived fact."""
    return TimeSeriesPoint(
        person_id=person_id,
        event_id=UUID(fact.id),
        at=moment(fact.at),
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
