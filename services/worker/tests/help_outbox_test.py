"""Hazard: a committed help action is never published, or an entry of the outbox blocks the others."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.channels import course_channel
from cell_monitor_core.derivation.help import HelpAlreadyClaimed, help_request_id
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.publishing import Publisher
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.help_actions import apply_help_action
from cell_monitor_worker.course_publisher import CoursePublisher
from cell_monitor_worker.help_outbox import HelpOutbox

PERSON, STAFF = uuid.UUID(int=7), uuid.UUID(int=8)


class Box:
    """An outbox, its broker, and the publications on a real Valkey."""

    def __init__(self, stage: Any) -> None:
        self.stage = stage
        self.broker = RedisBroker(stage.redis, partitions=stage.partitions)
        publisher = Publisher(self.broker)
        self.courses = CoursePublisher(stage.db, publisher, interval=0)
        self.outbox = HelpOutbox(stage.db, stage.keyring, publisher, self.courses)

    async def claimed(self, course_id: str = "c1") -> str:
        """Create and claim a request, as an API that crashes before the publication."""
        event_id = new_event_id()
        now = datetime.now(UTC)
        event = {
            "event_id": event_id,
            "type": "help_requested",
            "schema_version": 1,
            "occurred_at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "session_id": str(uuid.UUID(int=1)),
            "seq": 1,
            "notebook": {"id": "n1", "path": "n1.ipynb"},
            "data": {"message": "why?"},
        }
        record = StreamRecord(PERSON.bytes, course_id, int(now.timestamp() * 1000), json.dumps(event).encode())
        assert (await PostgresFactStore(self.stage.db, self.stage.keyring).apply([record])).failed == []
        await apply_help_action(
            self.stage.db,
            self.stage.keyring,
            course_id=course_id,
            request_id=help_request_id(PERSON, uuid.UUID(event_id)),
            action="claim",
            person_id=STAFF,
        )
        return str(help_request_id(PERSON, uuid.UUID(event_id)))

    async def waiting(self) -> int:
        return int(await self.stage.db.fetchval("SELECT count(*) FROM help_outbox"))

    async def published(self, course_id: str = "c1") -> list[tuple[str, dict[str, Any]]]:
        position = await self.broker.position(course_channel(course_id))
        recovery = await self.broker.recover(course_channel(course_id), position.epoch, 0, limit=100)
        return [(publication.kind, json.loads(bytes(publication.state))) for publication in recovery.publications]


@pytest.fixture
def box(stage: Any) -> Box:
    return Box(stage)


async def test_an_unpublished_action_is_published_once_with_row_and_counters(box: Box) -> None:
    request_id = await box.claimed()
    assert await box.waiting() == 1
    assert await box.outbox.publish()
    assert await box.courses.flush()
    (help_kind, request), (student_kind, row), (course_kind, counters) = await box.published()
    assert (help_kind, student_kind, course_kind) == ("help", "student", "course")
    assert (request["request_id"], request["status"], request["claimed_by"]) == (request_id, "claimed", str(STAFF))
    assert (row["student_id"], row["help"]["status"]) == (str(PERSON), "claimed")
    assert counters["help_open"] == 1
    assert await box.waiting() == 0
    assert await box.outbox.publish()
    assert len(await box.published()) == 3


async def test_an_action_waits_while_redis_is_unavailable_and_blocks_no_other_course(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    await box.claimed("c1")
    await box.claimed("c2")
    publish = RedisBroker.publish

    async def one_node_unavailable(self: RedisBroker, channel: str, drafts: Any) -> int:
        if channel == course_channel("c1"):
            raise StoreUnavailable("test")
        return await publish(self, channel, drafts)

    with monkeypatch.context() as patch:
        patch.setattr(RedisBroker, "publish", one_node_unavailable)
        assert not await box.outbox.publish()
    assert await box.waiting() == 1
    assert len(await box.published("c2")) == 2
    assert await box.outbox.publish()
    assert await box.waiting() == 0
    assert len(await box.published("c1")) == 2


async def test_an_unreadable_request_is_dropped_and_does_not_stop_the_worker(box: Box) -> None:
    damaged, gone, whole = [await box.claimed() for _ in range(3)]
    await box.stage.db.execute("UPDATE help_requests SET message_enc = 'x' WHERE request_id = $1", uuid.UUID(damaged))
    await box.stage.db.execute("DELETE FROM help_requests WHERE request_id = $1", uuid.UUID(gone))
    assert await box.outbox.publish()
    assert [state["request_id"] for kind, state in await box.published() if kind == "help"] == [whole]
    assert await box.waiting() == 0


async def test_a_refused_action_adds_no_entry(box: Box) -> None:
    request_id = await box.claimed()
    assert await box.outbox.publish()
    with pytest.raises(HelpAlreadyClaimed):
        await apply_help_action(
            box.stage.db,
            box.stage.keyring,
            course_id="c1",
            request_id=uuid.UUID(request_id),
            action="claim",
            person_id=uuid.UUID(int=9),
        )
    assert await box.waiting() == 0
