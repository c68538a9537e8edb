"""Hazards: a sender invents thousands of event types, each a tag of the time series; a copy of an event is a second point."""

import json
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.records import StreamRecord
from cell_monitor_worker.session_receipts import SessionReceipts
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


def receipts(*first):
    """Of sessions of which at most one receipt is stored."""

    async def load(sessions):
        return {session: at for session in sessions for at in first}

    return SessionReceipts(load)


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
    sink = TimeSeriesSink(series, stages, Everybody(), receipts())
    unknown = [record(f"made_up_{number}") for number in range(200)]
    batch = [*unknown, record("heartbeat"), record("heartbeat", version=2), record("made_up", test_id="t1")]
    assert await sink.process([*batch, record("heartbeat", test_id="t1")]) == []
    assert [point.type for point in series.points] == ["heartbeat", "heartbeat"]
    # A test shows that its unknown event has not reached this stage.
    assert stages.events == ["heartbeat"]


async def test_points_of_those_who_were_erased_meanwhile_are_discarded():
    series, stages = Series(), Stages()
    sink = TimeSeriesSink(series, stages, NobodyBut(SECOND), receipts())
    batch = [record("heartbeat"), record("heartbeat", person=SECOND), record("heartbeat", test_id="t1")]
    assert await sink.process(batch) == []
    assert [point.person_id for point in series.points] == [SECOND]
    assert stages.events == []


@pytest.mark.parametrize(
    "off", [timedelta(), timedelta(seconds=-9), timedelta(hours=10), timedelta(days=-2000, seconds=3)]
)
async def test_a_copy_that_is_sent_again_later_is_the_same_point_at_the_servers_time(off):
    happened = datetime(2026, 4, 1, 9, tzinfo=UTC)
    event = json.loads(record("heartbeat").event)
    event["occurred_at"] = (happened + off).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"

    def sent(received, waited_ms):
        at = int(received.timestamp() * 1000)
        return StreamRecord(FIRST.bytes, "c1", at, json.dumps(event).encode(), waited_ms=waited_ms)

    opened = happened - timedelta(minutes=1)
    series = Series()
    sink = TimeSeriesSink(series, Stages(), Everybody(), receipts(int(opened.timestamp() * 1000)))
    await sink.process([sent(happened + timedelta(minutes=20), 1_200_000)])
    # Five hours later; the wait is measured again, and a little differently.
    await sink.process([sent(happened + timedelta(hours=5, minutes=20), 19_199_700)])
    first, again = series.points
    assert first == again
    assert abs(first.at - happened) <= timedelta(seconds=10)


@pytest.mark.parametrize("stored_minutes_ago", [None, 0, 3])
async def test_a_claimed_wait_puts_no_point_before_its_session_as_in_the_list(stored_minutes_ago):
    """The chart showed work of a week ago by a page that was just opened."""
    now = int(time.time() * 1000)
    first = [] if stored_minutes_ago is None else [now - stored_minutes_ago * 60_000]
    series = Series()
    sink = TimeSeriesSink(series, Stages(), Everybody(), receipts(*first))
    event = json.loads(record("heartbeat").event)
    week = 7 * 24 * 3600 * 1000
    raw = json.dumps(event).encode()
    assert await sink.process([StreamRecord(FIRST.bytes, "c1", now, raw, waited_ms=week)]) == []
    known_since = datetime.fromtimestamp(min([now, *first]) / 1000, UTC)
    assert abs(series.points[0].at - known_since) <= timedelta(seconds=10)


async def test_an_event_that_waited_within_its_session_keeps_the_time_at_which_it_happened():
    now = int(time.time() * 1000)
    series = Series()
    sink = TimeSeriesSink(series, Stages(), Everybody(), receipts())
    opened, waited = json.loads(record("heartbeat").event), json.loads(record("heartbeat").event)
    waited["session_id"] = opened["session_id"]
    await sink.process([StreamRecord(FIRST.bytes, "c1", now - 1_800_000, json.dumps(opened).encode())])
    await sink.process([StreamRecord(FIRST.bytes, "c1", now, json.dumps(waited).encode(), waited_ms=1_200_000)])
    happened = datetime.fromtimestamp((now - 1_200_000) / 1000, UTC)
    assert abs(series.points[1].at - happened) <= timedelta(seconds=10)
