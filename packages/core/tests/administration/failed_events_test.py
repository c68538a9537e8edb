"""Hazards: a replay loses or doubles events, takes another course's, never ends, or is in no log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from cell_monitor_core import keys
from cell_monitor_core.administration import failed_events as service
from cell_monitor_core.administration.failed_events import FailedEventList, FailedEventReplay, FailedFilter
from cell_monitor_core.auth.audit import OPERATOR, Actor
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.records import StreamRecord, decode_entry, encode_record, encode_records
from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_core.storage.postgres import courses, failed_events, people
from cell_monitor_core.storage.postgres.failed_events import WHOLE_ENTRY, FailedRecord
from cell_monitor_core.storage.postgres.pool import create_pool
from cell_monitor_core.streams.producer import RedisEventProducer
from cell_monitor_testing.keys import SampleSecrets

PARTITIONS = 4
SECRET = "print(my_answer)"


class Stores:
    """PostgreSQL with the rights of the API, Valkey, and what waits in them."""

    def __init__(self, pool: asyncpg.Pool, owner: asyncpg.Pool, redis: Any, secrets: SampleSecrets) -> None:
        self.pool, self.owner, self.redis = pool, owner, redis
        self.keyring = KeyRing.from_json(secrets.encryption_keys)
        self.index = BlindIndex.from_text(secrets.index_key)
        self.producer = RedisEventProducer(redis, partitions=PARTITIONS)
        self.replay = FailedEventReplay(pool, self.keyring, self.producer)
        self.list = FailedEventList(pool, self.keyring)

    async def fail(self, count: int = 1, *, group: str = "postgres", course: str = "c1", **changes: Any) -> list[str]:
        """Store failed records; return the ids of their events."""
        ids = [str(uuid4()) for _ in range(count)]
        await failed_events.insert(
            self.owner,
            self.keyring,
            [
                FailedRecord(
                    group, 0, f"{event_id}-0", 0, changes.get("reason", "data_error"), "why",
                    changes.get("record", record(event_id, course)), course_id=course,
                )
                for event_id in ids
            ],
        )  # fmt: skip
        return ids

    async def queued(self) -> list[str]:
        """The ids of the events in the streams, sorted."""
        found = []
        for partition in range(PARTITIONS):
            for _, fields in await self.redis.xrange(keys.events_stream(partition)):
                found += [json.loads(each.event)["event_id"] for each in decode_entry(fields)]
        return sorted(found)

    async def entries(self) -> list[asyncpg.Record]:
        """The audit log, oldest first."""
        return await self.owner.fetch("SELECT * FROM audit_entries ORDER BY acted_at, entry_id")


def record(event_id: str, course: str = "c1") -> bytes:
    event = json.dumps({"event_id": event_id, "data": {"code": SECRET}}).encode()
    return encode_record(StreamRecord(UUID(int=7).bytes, course, 1, event))


@pytest.fixture
async def stores(database: str, valkey: str, secrets: SampleSecrets) -> AsyncIterator[Stores]:
    owner = await create_pool(database, application_name="test", max_size=2)
    pool = await create_pool(f"{database}?role=cell_monitor_api", application_name="test-api", max_size=4)
    for course in ("c1", "c2"):
        await courses.create(owner, course, course)
    await owner.execute("DELETE FROM audit_entries")
    redis = connect(valkey, name="test")
    made = Stores(pool, owner, redis, secrets)
    yield made
    await made.producer.aclose()
    await aclose(redis)
    await pool.close()
    await owner.close()


async def test_what_waits_is_queued_once_and_entered_with_its_count(stores: Stores) -> None:
    ids = await stores.fail(3)
    # The same record in the other group.
    await failed_events.insert(
        stores.owner, stores.keyring,
        [FailedRecord("influxdb", 0, f"{ids[0]}-0", 0, "data_error", "why", record(ids[0]), course_id="c1")],
    )  # fmt: skip
    report = await stores.replay.step(by=OPERATOR)
    assert (report.queued, report.events, report.unreadable, report.remaining) == (3, 3, 0, 0)
    assert await stores.queued() == sorted(ids)
    again = await stores.replay.step(by=OPERATOR)
    assert (again.queued, again.remaining) == (0, 0)
    assert await stores.queued() == sorted(ids)
    assert (await stores.list.waiting()).total == 0
    # A replay that changed nothing has no entry.
    (entry,) = await stores.entries()
    assert (entry["action"], entry["actor_kind"], entry["course_id"]) == ("failed_events_replayed", "operator", None)
    assert entry["details"] == {"queued": 3, "unreadable": 0}


async def test_a_course_or_a_reason_that_was_chosen_is_replayed_and_no_other(stores: Stores) -> None:
    mine = await stores.fail(2, course="c1")
    await stores.fail(2, course="c2")
    crashed = await stores.fail(1, course="c2", reason="too_many_deliveries")
    assert (await stores.replay.step(FailedFilter(course_id="c1"), by=OPERATOR)).queued == 2
    assert await stores.queued() == sorted(mine)
    assert (await stores.replay.step(FailedFilter(reason="too_many_deliveries"), by=OPERATOR)).queued == 1
    assert await stores.queued() == sorted([*mine, *crashed])
    assert [(each.course_id, each.count) for each in (await stores.list.waiting()).groups] == [("c2", 2)]
    entries = await stores.entries()
    assert [entry["course_id"] for entry in entries] == ["c1", None]
    assert entries[1]["details"] == {"queued": 1, "unreadable": 0, "reason": "too_many_deliveries"}


async def test_what_cannot_be_read_stays_is_counted_and_does_not_hold_back_the_others(stores: Stores) -> None:
    (before,) = await stores.fail(1)
    await stores.fail(1, record=b"\xc1 no record")
    other_ring = KeyRing({"k9": bytes(32)}, "k9")
    await failed_events.insert(
        stores.owner, other_ring, [FailedRecord("postgres", 0, "9-0", 0, "data_error", "d", b"x")]
    )
    (after,) = await stores.fail(1)
    report = await stores.replay.step(by=OPERATOR)
    assert (report.queued, report.unreadable, report.remaining) == (2, 2, 0)
    assert await stores.queued() == sorted([before, after])
    assert (await stores.list.waiting()).total == 2


async def test_a_whole_entry_gives_all_its_events(stores: Stores) -> None:
    ids = [str(uuid4()) for _ in range(3)]
    payload = msgspec.msgpack.encode({b"v": b"1", b"b": encode_records([record(each) for each in ids])})
    await failed_events.insert(
        stores.owner, stores.keyring,
        [FailedRecord("postgres", 0, "1-0", WHOLE_ENTRY, "too_many_deliveries", "why", payload)],
    )  # fmt: skip
    report = await stores.replay.step(FailedFilter(without_course=True), by=OPERATOR)
    assert (report.queued, report.events) == (1, 3)
    assert await stores.queued() == sorted(ids)


async def test_many_are_replayed_in_steps_and_what_fails_meanwhile_is_for_the_next_replay(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_RECORDS", 4)
    monkeypatch.setattr(service, "_PAGE", 2)
    ids = await stores.fail(5)
    await stores.fail(1, record=b"\xc1 no record")
    report = await stores.replay.step(by=OPERATOR)
    assert (report.queued, report.remaining) == (4, 2)
    await stores.fail(3)
    second = await stores.replay.step(by=OPERATOR, position=report.position)
    assert (second.queued, second.unreadable, second.remaining) == (1, 1, 0)
    assert await stores.queued() == sorted(ids)
    assert (await stores.list.waiting()).total == 4
    assert [entry["details"]["queued"] for entry in await stores.entries()] == [4, 1]


async def test_a_step_ends_after_its_time(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PAGE", 2)
    await stores.fail(6)
    now = [0.0]

    class Slow:
        """A producer that takes a second for each request."""

        async def append(self, channel: str, items: Sequence[tuple[bytes, bytes]]) -> Any:
            now[0] += 1.0
            return await stores.producer.append(channel, items)

    report = await FailedEventReplay(stores.pool, stores.keyring, Slow(), clock=lambda: now[0]).step(by=OPERATOR)
    assert (report.queued, report.remaining) == (2, 4)


async def test_two_who_replay_at_the_same_time_queue_nothing_twice(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_RECORDS", 10)
    ids = await stores.fail(60)
    for group_id in ids[::3]:
        await failed_events.insert(
            stores.owner, stores.keyring,
            [FailedRecord("influxdb", 0, f"{group_id}-0", 0, "data_error", "why", record(group_id), course_id="c1")],
        )  # fmt: skip

    async def everything() -> int:
        report, count = None, 0
        while report is None or report.remaining:
            report = await stores.replay.step(by=OPERATOR, position=report and report.position)
            count += report.queued
        return count

    counts = await asyncio.gather(*(everything() for _ in range(3)))
    assert sum(counts) == 60
    assert await stores.queued() == sorted(ids)


async def test_a_full_queue_refuses_and_nothing_is_marked_that_was_not_queued(stores: Stores) -> None:
    ids = await stores.fail(4)
    refused = ids[2]

    class Full:
        """A producer that refuses one record, or all."""

        def __init__(self, refuses: Callable[[bytes], bool]) -> None:
            self._refuses = refuses

        async def append(self, channel: str, items: Sequence[tuple[bytes, bytes]]) -> Any:
            if self._refuses(items[0][1]):
                raise LogUnavailable("the stream is full", retry_after=10)
            return await stores.producer.append(channel, items)

    def replay(refuses: Callable[[bytes], bool]) -> FailedEventReplay:
        return FailedEventReplay(stores.pool, stores.keyring, Full(refuses))

    with pytest.raises(LogUnavailable):
        await replay(lambda _: True).step(by=OPERATOR)
    assert ((await stores.list.waiting()).total, await stores.entries()) == (4, [])
    report = await replay(lambda item: refused.encode() in item).step(by=OPERATOR)
    assert (report.queued, report.remaining) == (3, 1)
    report = await stores.replay.step(by=OPERATOR, position=report.position)
    assert (report.queued, report.remaining) == (1, 0)
    assert await stores.queued() == sorted(ids)


async def test_the_list_goes_from_page_to_page_names_senders_and_shows_no_payload(stores: Stores) -> None:
    ann = await people.upsert(stores.owner, stores.keyring, stores.index, username="ann")
    records = [
        FailedRecord("postgres", 0, f"{number}-0", 0, "data_error", "why", record(str(uuid4())), ann, course_id="c1")
        for number in range(1, 6)
    ]
    await failed_events.insert(stores.owner, stores.keyring, records)
    first = await stores.list.page(waiting_only=True, limit=3)
    rest = await stores.list.page(waiting_only=True, limit=3, before=first.next_before)
    assert [event.entry_id for event in (*first.events, *rest.events)] == ["5-0", "4-0", "3-0", "2-0", "1-0"]
    assert rest.next_before is None
    assert first.usernames == {ann: "ann"}
    assert SECRET not in repr((first, rest))
    await stores.replay.step(by=Actor.person(ann))
    assert (await stores.list.page(waiting_only=True)).events == []
    replayed = (await stores.list.page(waiting_only=False)).events
    assert len(replayed) == 5
    assert all(event.replayed_at for event in replayed)
    assert [entry["actor_id"] for entry in await stores.entries()] == [ann]
