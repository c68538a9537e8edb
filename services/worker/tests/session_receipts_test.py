"""Hazard: the chart and the list show one event at two times, because only one of them bounds the wait that a sender claims."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.time_series import PostgresTimeSeries
from cell_monitor_worker.owners import StoredOwners
from cell_monitor_worker.points import arrival_of
from cell_monitor_worker.session_receipts import SessionReceipts, stored_receipts
from cell_monitor_worker.sinks.time_series import TimeSeriesSink

MINUTE = 60_000
WEEK = 7 * 24 * 60 * MINUTE


class Stages:
    async def reached(self, _stage: str, records: Sequence[StreamRecord]) -> None:
        assert not records


def heartbeat(seq: int, received: int, waited: int) -> StreamRecord:
    occurred = datetime.fromtimestamp((received - waited) / 1000, UTC)
    body = {
        "event_id": new_event_id(),
        "type": "heartbeat",
        "schema_version": 1,
        "occurred_at": occurred.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "session_id": str(uuid.UUID(int=1)),
        "seq": seq,
        "data": {"queued": 0, "dropped": 0, "visible": True},
    }
    return StreamRecord(uuid.UUID(int=1).bytes, "c1", received, json.dumps(body).encode(), waited_ms=waited)


@pytest.mark.parametrize("facts_first", [True, False])
@pytest.mark.parametrize("restarted", [True, False])
async def test_the_chart_has_an_event_at_the_time_of_the_list(stage: Any, facts_first: bool, restarted: bool) -> None:
    now = int(time.time() * 1000)
    # A false wait of a page just opened; waits within the session; one that reaches beyond its begin.
    batches = [
        [heartbeat(1, now - 40 * MINUTE, WEEK)],
        [heartbeat(2, now - 20 * MINUTE, 5 * MINUTE), heartbeat(3, now - 20 * MINUTE, 2 * MINUTE)],
        [heartbeat(4, now, WEEK)],
    ]
    store = PostgresFactStore(stage.db, stage.keyring)

    def sink() -> TimeSeriesSink:
        receipts = SessionReceipts(stored_receipts(stage.db))
        return TimeSeriesSink(PostgresTimeSeries(stage.db), Stages(), StoredOwners(stage.db), receipts)

    points = sink()
    for batch in batches:
        if facts_first:
            assert not (await store.apply(batch)).failed
        assert await points.process(batch) == []
        if not facts_first:
            assert not (await store.apply(batch)).failed
        if restarted:
            points = sink()
    rows = await stage.db.fetch(
        "SELECT e.seq, e.happened_at, t.at FROM events e JOIN time_series t USING (person_id, event_id) ORDER BY 1"
    )
    begin = datetime.fromtimestamp((now - 40 * MINUTE) / 1000, UTC)
    assert [row["seq"] for row in rows] == [1, 2, 3, 4]
    assert all(row["at"] >= begin - timedelta(seconds=10) for row in rows)
    # The last claims to be older than the ones before it; in the list it follows them, by its number.
    assert all(abs(row["at"] - row["happened_at"]) <= timedelta(seconds=10) for row in rows[:3])


async def test_only_an_event_that_waited_in_an_unknown_session_waits_for_postgresql() -> None:
    async def unavailable(_sessions: Any) -> dict[Any, int]:
        raise StoreUnavailable("PostgreSQL is down")

    receipts = SessionReceipts(unavailable)
    now = int(time.time() * 1000)

    async def bound(record: StreamRecord) -> int:
        arrival = arrival_of(record)
        assert arrival is not None
        return (await receipts.bound([arrival]))[0].at

    with pytest.raises(StoreUnavailable):
        await bound(heartbeat(1, now - 10 * MINUTE, MINUTE))
    assert await bound(heartbeat(2, now, 0)) == now
    # Since when the session is known was seen by this process: the first receipt, ten minutes ago.
    assert await bound(heartbeat(3, now, 5 * MINUTE)) == now - 5 * MINUTE
