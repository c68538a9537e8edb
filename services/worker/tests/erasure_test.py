"""Hazard: something of a person or course that was erased is left, or comes back with an event that was on its way."""

from __future__ import annotations

import asyncio
import inspect
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from cell_monitor_core import keys
from cell_monitor_core.auth.revocations import Revocation, RevocationList
from cell_monitor_core.channels import course_channel, test_channel
from cell_monitor_core.derivation.help import help_request_id
from cell_monitor_core.erasure.entries import take_out, wait_for_consumers
from cell_monitor_core.erasure.erase import ErasureBusy, Stores, delete_course, erase_person
from cell_monitor_core.erasure.places import KEYS, TABLES
from cell_monitor_core.erasure.tables import NOBODY
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.presence import Presence
from cell_monitor_core.records import StreamRecord, encode_record
from cell_monitor_core.storage.postgres import failed_events, help_queries, memberships, revocations
from cell_monitor_core.storage.postgres.failed_events import WHOLE_ENTRY, FailedRecord
from cell_monitor_core.storage.postgres.help_actions import apply_help_action
from cell_monitor_core.storage.postgres.rebuild import rebuild
from cell_monitor_core.storage.postgres.rotation import COLUMNS
from cell_monitor_core.storage.postgres.time_series import PostgresTimeSeries
from cell_monitor_core.streams.revocations import RedisRevocations

Traffic = Callable[..., list[StreamRecord]]
MARKER = "only-the-erased-one-typed-this"

NOT_KEYS = {"check_partitions", "partition_tag"}

pytestmark = pytest.mark.timeout(240)


async def everything(stage: Any) -> dict[str, bytes]:
    """All that PostgreSQL and Redis hold, each table and key as bytes; ciphertext as it is and decrypted."""
    found: dict[str, bytes] = {}
    for name in TABLES:
        rows = await stage.db.fetch(f"SELECT t::text AS row FROM {name} t")
        found[name] = "\n".join(row["row"] for row in rows).encode()
    for column in COLUMNS:
        names = ", ".join(column.bound_to)
        for blob, *place in await stage.db.fetch(f"SELECT {column.column}, {names} FROM {column.table}"):
            # The people of these tests have no names.
            if blob is not None and column.table != "people":
                found[column.table] += stage.keyring.decrypt(blob, context=column.context, row=column.row(*place))
    read = {
        b"string": stage.redis.get,
        b"hash": stage.redis.hgetall,
        b"set": stage.redis.smembers,
        b"zset": lambda key: stage.redis.zrange(key, 0, -1),
        b"stream": stage.redis.xrange,
    }
    for key in await stage.redis.keys("*"):
        found[key.decode()] = key + repr(await read[await stage.redis.type(key)](key)).encode()
    return found


def spellings(person: uuid.UUID) -> list[bytes]:
    raw = person.bytes
    return [str(person).encode(), person.hex.encode(), raw, repr(raw)[2:-1].encode(), MARKER.encode()]


async def places_with(stage: Any, person: uuid.UUID) -> list[str]:
    """The tables and keys in which anything of a person is found."""
    return sorted(
        name
        for name, content in (await everything(stage)).items()
        if any(each in content for each in spellings(person))
    )


def stores(stage: Any, *, wait_s: float = 60.0) -> Stores:
    return Stores(stage.db, stage.keyring, stage.redis, stage.partitions, PostgresTimeSeries(stage.db), wait_s)


def event(
    person: uuid.UUID, kind: str, data: dict[str, Any], *, course: str = "c1", test_id: str | None = None
) -> StreamRecord:
    now = datetime.now(UTC)
    body = {
        "event_id": new_event_id(),
        "type": kind,
        "schema_version": 1,
        "occurred_at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "session_id": str(uuid.uuid4()),
        "seq": 1,
        "notebook": {"id": "n1", "path": f"{MARKER}.ipynb"},
        "cell": {"id": "a", "source_id": "a", "index": 0, "type": "code"},
        "data": data,
    }
    return StreamRecord(person.bytes, course, int(now.timestamp() * 1000), json.dumps(body).encode(), test_id)


def failing(person: uuid.UUID, **options: Any) -> StreamRecord:
    error = {"name": "NameError", "value": MARKER, "traceback": MARKER}
    data = {"execution_id": new_event_id(), "status": "error", "code": MARKER, "outputs": [], "error": error}
    return event(person, "cell_executed", data, **options)


async def test_every_table_column_and_key_is_named_in_the_list_of_places(stage: Any) -> None:
    rows = await stage.db.fetch(
        "SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN information_schema.tables t "
        "USING (table_schema, table_name) JOIN pg_class p ON p.oid = c.table_name::regclass "
        "WHERE table_schema = 'public' AND t.table_type = 'BASE TABLE' AND NOT p.relispartition"
    )
    schema: dict[str, set[str]] = {}
    for table, column in rows:
        schema.setdefault(table, set()).add(column)
    named = {name: {*table.person, *table.staff, *table.course, *table.other} for name, table in TABLES.items()}
    assert named == schema
    # Whatever looks like a person or a course is not among the rest.
    for name, table in TABLES.items():
        assert not {
            column for column in table.other if column in {"person_id", "course_id"} or column.endswith("_by")
        }, name
    makers = {name for name in keys.__all__ if inspect.isfunction(getattr(keys, name)) and name not in NOT_KEYS}
    assert makers == KEYS.keys()


async def test_columns_that_erasing_looks_through_have_an_index(stage: Any) -> None:
    indexed = {
        (row["table"], row["column"])
        for row in await stage.db.fetch(
            "SELECT c.relname AS table, a.attname AS column FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]"
        )
    }
    # Of some rows or none, ever.
    small = {
        ("help_outbox", "course_id"),
        ("opaque_outbox", "course_id"),
        ("session_states", "course_id"),
        ("cell_states", "course_id"),
    }
    wanted = {
        (name, column) for name, table in TABLES.items() for column in (*table.person, *table.staff, *table.course)
    }
    assert wanted - small <= indexed


async def test_a_person_is_erased_while_their_events_keep_coming(stage: Any, traffic: Traffic) -> None:
    records = traffic(students=3, events=900)
    person = uuid.UUID(bytes=records[0].person_id)
    others = [record for record in records if record.person_id != person.bytes]
    theirs = [failing(person, course=course) for course in ("c1", "c2") for _ in range(150)]
    theirs += [event(person, "help_requested", {"message": MARKER}), failing(person, course="", test_id="t-1")]
    worker = stage.worker()
    await worker.start()
    await stage.queue(records + theirs[:100])
    await stage.producer.append(test_channel("t-1"), [(uuid.uuid4().bytes, encode_record(theirs[-1]))])
    bad = StreamRecord(person.bytes, "c1", theirs[0].received_at, json.dumps({"broken": MARKER}).encode())
    await stage.queue_raw(course_channel("c1"), encode_record(bad))
    await failed_events.insert(
        stage.db,
        stage.keyring,
        [FailedRecord("postgres", 0, "1-0", WHOLE_ENTRY, "r", "d", b"\xc1" + person.bytes + MARKER.encode())],
    )
    await stage.until_drained()
    held = await places_with(stage, person)
    assert {"events", "event_payloads", "event_keys", "student_states", "help_requests", "failed_events"} <= set(held)
    assert {"time_series", "people", "cell_states", "session_states"} <= set(held)
    assert any("history" in name for name in held)
    assert any("progress" in name for name in held)

    sending = asyncio.create_task(stage.queue(theirs[100:], each=5))
    await erase_person(stores(stage), person)
    await sending
    await stage.queue([failing(person), *others], repeated=True)
    await stage.until_drained()

    # Finished entries are trimmed within half a second.
    async def trimmed() -> bool:
        return await places_with(stage, person) == []

    await stage.until(trimmed, "nothing of the person is left")
    await erase_person(stores(stage), person)
    assert await places_with(stage, person) == []
    assert await stage.stored() == len(others)
    assert await stage.in_series() == len(others)
    report = await rebuild(stage.db, stage.keyring, check=True)
    assert (report.differences, report.events) == ([], len(others))
    assert await worker.stop() == 0


async def test_a_batch_that_has_begun_is_waited_for(stage: Any) -> None:
    person = uuid.UUID(int=5)
    mine, other = failing(person), failing(uuid.UUID(int=6))
    await stage.queue([mine, other])
    held = [
        entry
        for partition in range(stage.partitions)
        for entry in await stage.log.read(partition, "postgres", "slow", count=10, block=timedelta(0))
    ]
    assert len(held) == 1
    with pytest.raises(ErasureBusy):
        await erase_person(stores(stage, wait_s=0.2), person)
    # Begun: nothing more is stored of the person, and the course is known although its member is gone.
    assert await stage.db.fetchval("SELECT course_ids FROM erasures") is not None
    erasing = asyncio.create_task(erase_person(stores(stage), person))
    await stage.log.acknowledge(held[0].partition, "postgres", [held[0].entry_id])
    await erasing
    assert await stage.db.fetchval("SELECT count(*) FROM erasures") == 0
    # The neighbour's record of the same entry is still there to be stored.
    worker = stage.worker()
    await worker.start()
    await stage.until_drained()
    people = [row[0] for row in await stage.db.fetch("SELECT person_id FROM events")]
    assert people == [uuid.UUID(int=6)]


async def test_tokens_of_an_erased_person_end_and_what_ended_them_before_names_them_nowhere(stage: Any) -> None:
    person, other = uuid.UUID(int=5), uuid.UUID(int=6)
    target = RedisRevocations(stage.redis)
    for each in (person, other):
        await memberships.upsert_many(stage.db, "c1", {each: "instructor"})
    # One of the changes has reached the services, the other has not.
    await target.append([Revocation(str(person), 1), Revocation(str(other), 1)])
    await erase_person(stores(stage), person)
    assert await places_with(stage, person) == []
    async with stage.db.acquire() as connection, connection.transaction():
        await target.append((await revocations.pending(connection, 10_000)).values())
    assert await places_with(stage, person) == []
    found = RevocationList()
    found.add((await target.since(0))[0], now=0.0)
    assert found.covers(str(person), 99, "")
    assert [found.covers(str(other), generation, "") for generation in (0, 99)] == [True, False]
    assert 0 < await stage.redis.ttl(keys.revocations()) <= 720


async def test_records_that_wait_are_gone_when_erasing_returns_although_no_worker_runs(stage: Any) -> None:
    # A worker would discard them; until one runs, code and messages of the erased person would stay in the stream.
    person, other = uuid.UUID(int=5), uuid.UUID(int=6)

    async def queued_by(sender: uuid.UUID) -> bool:
        entries = [await stage.redis.xrange(keys.events_stream(partition)) for partition in range(stage.partitions)]
        return any(name in repr(entries).encode() for name in spellings(sender)[:-1])

    await stage.queue([failing(person), failing(other)])
    assert await queued_by(person)
    await erase_person(stores(stage), person)
    assert not await queued_by(person)
    assert await queued_by(other)
    await delete_course(stores(stage), "c1")
    assert not await queued_by(other)


async def test_somebody_who_helped_is_erased_and_the_help_stays(stage: Any) -> None:
    student, staff = uuid.UUID(int=5), uuid.UUID(int=6)
    asked = event(student, "help_requested", {"message": "why?"})
    worker = stage.worker()
    await worker.start()
    await stage.queue([asked])
    await stage.until_drained()
    request_id = help_request_id(student, uuid.UUID(json.loads(asked.event)["event_id"]))
    await apply_help_action(
        stage.db, stage.keyring, course_id="c1", request_id=request_id, action="claim", person_id=staff
    )
    await erase_person(stores(stage), staff)
    assert str(staff).encode() not in b"".join((await everything(stage)).values())
    (request,) = await help_queries.list_active(stage.db, stage.keyring, "c1")
    assert (request.status, request.claimed_by, request.message) == ("claimed", str(NOBODY), "why?")
    assert (await rebuild(stage.db, stage.keyring, check=True)).differences == []


async def test_a_course_is_deleted_with_everything_of_it_and_its_people_stay(stage: Any, traffic: Traffic) -> None:
    records = traffic(students=3, events=600)
    worker = stage.worker()
    await worker.start()
    await stage.queue(records[:300])
    await Presence(stage.redis, partitions=stage.partitions).refresh(course_channel("c1"), ["x"])
    people = await stage.db.fetchval("SELECT count(*) FROM people")
    sending = asyncio.create_task(stage.queue(records[300:], each=20))
    await delete_course(stores(stage), "c1")
    await sending
    await stage.until_drained()
    kept = [record for record in records if record.course_id != "c1"]

    async def gone() -> bool:
        found = await everything(stage)
        # The audit log goes on saying that the course was deleted.
        log = found["audit_entries"].splitlines()
        found["audit_entries"] = b"\n".join(line for line in log if b"course_deleted" not in line)
        assert sum(b"course_deleted" in line for line in log) == 1
        return not any(
            "course:c1" in name or b'"c1"' in content or b",c1," in content for name, content in found.items()
        )

    await stage.until(gone, "nothing of the course is left")
    assert await stage.stored() == len(kept)
    assert await stage.in_series() == len(kept)
    assert await stage.db.fetchval("SELECT count(*) FROM event_keys") == len(kept)
    assert await stage.db.fetchval("SELECT count(*) FROM event_payloads") == len(kept)
    assert await stage.db.fetchval("SELECT count(*) FROM people") == people
    assert (await rebuild(stage.db, stage.keyring, check=True)).differences == []
    assert await stage.db.fetchval("SELECT count(*) FROM failed_events") == 0


async def test_records_are_taken_out_of_entries_on_a_cluster_too(any_stage: Any) -> None:
    person = uuid.UUID(int=5)
    mixed = [
        failing(person if number % 3 == 0 else uuid.UUID(int=6), course=f"c{1 + number % 3}") for number in range(60)
    ]
    await any_stage.queue(mixed)
    partitions = range(any_stage.partitions)

    async def left() -> list[bytes]:
        found = []
        for partition in partitions:
            for entry in await any_stage.log.read(partition, "postgres", "w", count=100, block=timedelta(0)):
                found += [record[0] for record in msgspec.msgpack.decode(entry.fields[b"b"])]
        return found

    assert await take_out(any_stage.redis, partitions, lambda record: record.person_id == person.bytes) > 0
    assert await take_out(any_stage.redis, partitions, lambda record: record.person_id == person.bytes) == 0
    assert await wait_for_consumers(any_stage.redis, partitions, seconds=0)
    assert await left() == [uuid.UUID(int=6).bytes] * 40
    assert not await wait_for_consumers(any_stage.redis, partitions, seconds=0)
