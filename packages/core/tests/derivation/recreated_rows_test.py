"""Hazard: a row that was deleted and created again is not published, because Redis keeps its old version."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.channels import course_channel
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_core.storage.ports import AppliedBatch, Draft
from cell_monitor_core.storage.postgres import course_counters, courses, memberships
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.rebuild import rebuild

CHANNEL = course_channel("c1")
PERSON = uuid.UUID(int=7)
EXACT = 2**53
"""Up to here Redis' Lua and JavaScript count exactly."""


@pytest.fixture
async def broker(valkey: str) -> AsyncIterator[RedisBroker]:
    client = connect(valkey, name="test")
    yield RedisBroker(client)
    await aclose(client)


def event(kind: str, seq: int, **data: Any) -> StreamRecord:
    now = datetime.now(UTC)
    body = {
        "event_id": new_event_id(),
        "type": kind,
        "schema_version": 1,
        "occurred_at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "session_id": str(uuid.UUID(int=1)),
        "seq": seq,
        "notebook": {"id": "n1", "path": "n1.ipynb"},
        "data": data,
    }
    return StreamRecord(PERSON.bytes, "c1", int(now.timestamp() * 1000), json.dumps(body).encode())


async def drafts(db: Any, applied: AppliedBatch) -> list[Draft]:
    assert applied.failed == []
    async with db.acquire() as connection:
        counters = await course_counters.refresh_courses(connection, ["c1"])
    encode = msgspec.json.encode
    found = [Draft("student", state.student_id, state.version, encode(state)) for state in applied.students["c1"]]
    found += [Draft("help", each.request_id, each.version, encode(each)) for each in applied.help.get("c1", [])]
    return found + [Draft("course", "c1", state.version, encode(state)) for state in counters]


async def test_a_course_created_again_with_the_same_id_shows_its_first_states(
    db: Any, keyring: KeyRing, broker: RedisBroker
) -> None:
    for seq in range(1, 30):
        await broker.publish(
            CHANNEL, await drafts(db, await PostgresFactStore(db, keyring).apply([event("notebook_saved", seq)]))
        )
    await db.execute("DELETE FROM courses WHERE course_id = 'c1'")
    await courses.create(db, "c1", "The same again")
    await memberships.upsert_many(db, "c1", {PERSON: "student"})
    first = await drafts(db, await PostgresFactStore(db, keyring).apply([event("notebook_saved", 1)]))
    assert [draft.kind for draft in first] == ["student", "course"]
    assert await broker.publish(CHANNEL, first) == 2
    assert all(draft.version < EXACT / 1000 for draft in first)


async def test_states_deleted_and_created_again_are_shown(db: Any, keyring: KeyRing, broker: RedisBroker) -> None:
    store = PostgresFactStore(db, keyring)
    asked = event("help_requested", 1, message="why?")
    await broker.publish(CHANNEL, await drafts(db, await store.apply([asked])))
    for seq in range(2, 9):
        await broker.publish(CHANNEL, await drafts(db, await store.apply([event("notebook_saved", seq)])))
    for table in ("student_states", "help_requests", "course_versions"):
        await db.execute(f"DELETE FROM {table}")
    await rebuild(db, keyring, check=False)
    # The duplicate answers with what the rebuild made, the new fact with the counters.
    recreated = await drafts(db, await store.apply([asked, event("notebook_saved", 9)]))
    assert sorted(draft.kind for draft in recreated) == ["course", "help", "student"]
    assert await broker.publish(CHANNEL, recreated) == 3
