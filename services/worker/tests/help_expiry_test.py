"""Hazard: a request closes itself and no dashboard shows it, or closes because the worker is behind."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.channels import course_channel
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.publishing import Publisher
from cell_monitor_core.records import StreamRecord, encode_record
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_worker.course_publisher import CoursePublisher
from cell_monitor_worker.help_expiry import HelpExpiry
from cell_monitor_worker.help_outbox import HelpOutbox

PERSON = uuid.UUID(int=7)


async def ask_for_help(stage: Any, *, hours_ago: float) -> None:
    """Store a request of a student of whom nothing was received since."""
    at = datetime.now(UTC) - timedelta(hours=hours_ago)
    event = {
        "event_id": new_event_id(),
        "type": "help_requested",
        "schema_version": 1,
        "occurred_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "session_id": str(uuid.UUID(int=1)),
        "seq": 1,
        "notebook": {"id": "n1", "path": "n1.ipynb"},
        "data": {"message": "why?"},
    }
    record = StreamRecord(PERSON.bytes, "c1", int(at.timestamp() * 1000), json.dumps(event).encode())
    assert (await PostgresFactStore(stage.db, stage.keyring).apply([record])).failed == []


def expiry_of(stage: Any) -> HelpExpiry:
    return HelpExpiry(stage.db, stage.keyring, stage.log, range(stage.partitions))


async def statuses(stage: Any) -> list[str]:
    return [row[0] for row in await stage.db.fetch("SELECT status FROM help_requests")]


async def test_a_closed_request_is_published_with_the_students_row_and_the_counters(stage: Any) -> None:
    await ask_for_help(stage, hours_ago=1)
    for _ in range(2):
        assert await expiry_of(stage).run()
    broker = RedisBroker(stage.redis, partitions=stage.partitions)
    courses = CoursePublisher(stage.db, Publisher(broker), interval=0)
    assert await HelpOutbox(stage.db, stage.keyring, Publisher(broker), courses).publish()
    assert await courses.flush()
    position = await broker.position(course_channel("c1"))
    recovery = await broker.recover(course_channel("c1"), position.epoch, 0, limit=100)
    request, row, counters = [json.loads(bytes(publication.state)) for publication in recovery.publications]
    assert (request["status"], request["closed_at"] is not None) == ("expired", True)
    assert (row["student_id"], row["help"]) == (str(PERSON), None)
    assert counters["help_open"] == 0
    assert await stage.db.fetchval("SELECT count(*) FROM help_outbox") == 0


async def test_the_worker_process_closes_it_by_itself(stage: Any) -> None:
    await ask_for_help(stage, hours_ago=1)
    await stage.worker().start()

    async def closed() -> bool:
        return await statuses(stage) == ["expired"]

    await stage.until(closed, "the request has closed itself")


async def test_nothing_closes_while_events_wait_that_may_say_that_the_student_is_there(stage: Any) -> None:
    await ask_for_help(stage, hours_ago=1)
    waiting = StreamRecord(PERSON.bytes, "c1", 0, b"{}")
    await stage.producer.append(course_channel("c1"), [(uuid.uuid4().bytes, encode_record(waiting))])

    class OldEntries:
        async def lag(self, partition: int, group: str) -> tuple[int, float]:
            entries, _ = await stage.log.lag(partition, group)
            return entries, 61.0 if entries else 0.0

    behind = HelpExpiry(stage.db, stage.keyring, OldEntries(), range(stage.partitions))  # type: ignore[arg-type]
    assert not await behind.run()
    assert await statuses(stage) == ["open"]


@pytest.mark.parametrize("hours_ago", [0.4, 0.0])
async def test_a_student_who_was_seen_within_the_half_hour_keeps_the_request(stage: Any, hours_ago: float) -> None:
    await ask_for_help(stage, hours_ago=hours_ago)
    assert await expiry_of(stage).run()
    assert await statuses(stage) == ["open"]
