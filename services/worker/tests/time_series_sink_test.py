"""Hazard: a sender invents thousands of event types, and each becomes a tag of the time series."""

import json
import time
from uuid import UUID, uuid4

from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.records import StreamRecord
from cell_monitor_worker.sinks.time_series import TimeSeriesSink

FIRST, SECOND = UUID(int=1), UUID(int=2)


class Series:
    def __init__(self):
        self.points = []

    async def write(self, points):
        self.points += points


class Stages:
    def __init__(self):
        self.events = []

    async def reached(self, _stage, records):
        self.events += [json.loads(record.event)["type"] for record in records]


class Everybody:
    """Nobody was erased."""

    async def existing(self, records):
        return records


class NobodyBut:
    def __init__(self, person):
        self.person = person

    async def existing(self, records):
        return [each for each in records if each.person_id == self.person.bytes]


def record(event_type, version=1, test_id=None, person=FIRST):
    event = {
        "event_id": new_event_id(),
        "type": event_type,
        "schema_version": version,
        "occurred_at": "2026-04-01T09:00:00.123Z",
        "session_id": str(uuid4()),
        "seq": 1,
        "data": {"queued": 0, "dropped": 0, "visible": True},
    }
    return StreamRecord(person.bytes, "c1", int(time.time() * 1000), json.dumps(event).encode(), test_id)


async def test_only_known_types_and_versions_become_points():
    series, stages = Series(), Stages()
    sink = TimeSeriesSink(series, stages, Everybody())
    unknown = [record(f"made_up_{number}") for number in range(200)]
    batch = [*unknown, record("heartbeat"), record("heartbeat", version=2), record("made_up", test_id="t1")]
    assert await sink.process([*batch, record("heartbeat", test_id="t1")]) == []
    assert [point.type for point in series.points] == ["heartbeat", "heartbeat"]
    # A test shows that its unknown event has not reached this stage.
    assert stages.events == ["heartbeat"]


async def test_points_of_those_who_were_erased_meanwhile_are_discarded():
    series, stages = Series(), Stages()
    sink = TimeSeriesSink(series, stages, NobodyBut(SECOND))
    batch = [record("heartbeat"), record("heartbeat", person=SECOND), record("heartbeat", test_id="t1")]
    assert await sink.process(batch) == []
    assert [point.person_id for point in series.points] == [SECOND]
    assert stages.events == []
