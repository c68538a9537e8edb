"""Hazards: after an upgrade a dashboard or a time series lacks what was derived late; one store holds up the other."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from cell_monitor_core import keys
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.channels import course_channel
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.erasure.erase import Stores, erase_person
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.publishing import Publisher
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import PoisonPoints, StoreUnavailable, TimeSeriesPoint
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.rebuild import rebuild
from cell_monitor_core.storage.postgres.time_series import PostgresTimeSeries
from cell_monitor_core.telemetry.metrics import OPAQUE_EVENTS, OPAQUE_EVENTS_WAITING
from cell_monitor_testing.releases import earlier_release
from cell_monitor_worker.course_publisher import CoursePublisher
from cell_monitor_worker.opaque_events import OpaqueEvents
from cell_monitor_worker.owners import StoredOwners
from cell_monitor_worker.session_receipts import SessionReceipts, stored_receipts
from cell_monitor_worker.sinks.time_series import TimeSeriesSink

CELL = {"id": "a", "source_id": "a", "index": 0, "type": "code"}
TYPES = ("cell_executed", "cell_added", "help_requested")


def event(kind: str, person: int, seq: int, **fields: Any) -> StreamRecord:
    body = {
        "event_id": new_event_id(),
        "type": kind,
        "schema_version": 1,
        "occurred_at": f"2026-04-01T09:{seq // 60:02}:{seq % 60:02}.000Z",
        "session_id": str(uuid.UUID(int=person)),
        "seq": seq,
        "notebook": {"id": "n1", "path": "n1.ipynb"},
        "cell": CELL,
        "data": {},
        **fields,
    }
    return StreamRecord(uuid.UUID(int=person).bytes, "c1", int(time.time() * 1000), json.dumps(body).encode())


def lesson(person: int) -> list[StreamRecord]:
    """What one student does: 2 failed runs, a new cell, a request for help, and a release's own event."""
    error = {"name": "NameError", "value": "x", "traceback": ""}
    data = {"status": "error", "code": "x", "outputs": [], "error": error}
    return [
        event("cell_executed", person, 1, data={**data, "execution_id": str(uuid.uuid4())}),
        event("cell_executed", person, 2, data={**data, "execution_id": str(uuid.uuid4())}),
        event("cell_added", person, 3, cell={**CELL, "index": 7}, data={"count": 1}),
        event("help_requested", person, 4, data={"message": "why?"}),
        event("of_the_next_release", person, 5),
    ]


class Stages:
    async def reached(self, _stage: str, records: Sequence[StreamRecord]) -> None:
        assert not records


async def by_the_earlier_release(stage: Any, records: list[StreamRecord]) -> None:
    """Store a lesson as both groups of a worker do that knows none of its types."""
    with earlier_release(*TYPES):
        applied = await PostgresFactStore(stage.db, stage.keyring).apply(records)
        await TimeSeriesSink(
            PostgresTimeSeries(stage.db), Stages(), StoredOwners(stage.db), SessionReceipts(stored_receipts(stage.db))
        ).process(records)
    assert (applied.opaque, applied.failed, await stage.in_series()) == (len(records), [], 0)


async def published(stage: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """The newest publication of each thing in the course."""
    broker = RedisBroker(stage.redis, partitions=stage.partitions)
    position = await broker.position(course_channel("c1"))
    recovery = await broker.recover(course_channel("c1"), position.epoch, 0, limit=1000)
    found = {}
    for publication in recovery.publications:
        shown = json.loads(bytes(publication.state))
        found[publication.kind, shown.get("student_id" if publication.kind == "student" else "request_id", "")] = shown
    return found


async def assert_exact(stage: Any, students: int) -> None:
    report = await rebuild(stage.db, stage.keyring, check=True)
    assert (report.differences, report.students) == ([], students)


class Chore:
    """The chore of a worker for both groups, or for some."""

    def __init__(
        self, stage: Any, series: Any = None, *, publishes: bool = True, keyring: KeyRing | None = None
    ) -> None:
        publisher = Publisher(RedisBroker(stage.redis, partitions=stage.partitions))
        courses = CoursePublisher(stage.db, publisher, interval=0)
        self.run = OpaqueEvents(
            stage.db, keyring or stage.keyring, publisher if publishes else None, courses, series
        ).run


async def left(stage: Any, group: str) -> int:
    return int(await stage.db.fetchval("SELECT count(*) FROM opaque_outbox WHERE consumer_group = $1", group))


async def test_what_is_derived_late_is_on_the_dashboard_and_in_the_series(stage: Any) -> None:
    before = {outcome: OPAQUE_EVENTS.labels(outcome).value for outcome in ("derived", "unreadable")}
    await by_the_earlier_release(stage, lesson(1))
    assert await Chore(stage, PostgresTimeSeries(stage.db)).run()
    student = (await published(stage))["student", str(uuid.UUID(int=1))]
    assert (student["runs"], student["error_streak"], student["cell"]["index"]) == (2, 2, 0)
    assert student["help"]["status"] == "open"
    [request] = [shown for (kind, _), shown in (await published(stage)).items() if kind == "help"]
    assert (request["message"], request["status"]) == ("why?", "open")
    rows = await stage.db.fetch("SELECT type FROM time_series ORDER BY type")
    assert [row["type"] for row in rows] == ["cell_added", "cell_executed", "cell_executed", "help_requested"]
    assert OPAQUE_EVENTS.labels("derived").value - before["derived"] == 4
    assert OPAQUE_EVENTS.labels("unreadable").value == before["unreadable"]
    # That of the next release waits for it.
    assert OPAQUE_EVENTS_WAITING.value == 1
    assert [await left(stage, group) for group in keys.REQUIRED_GROUPS] == [0, 0]
    await assert_exact(stage, 1)


class Unavailable:
    """A time series that is down, then refuses a point, then is well."""

    def __init__(self, series: PostgresTimeSeries) -> None:
        self._series = series
        self.down = True

    async def write(self, points: Sequence[TimeSeriesPoint]) -> None:
        if self.down:
            raise StoreUnavailable("InfluxDB is down")
        await self._series.write(points[1:])
        raise PoisonPoints([(points[0], "refused")])


async def test_time_series_that_are_down_hold_up_neither_states_nor_the_points_of_later(stage: Any) -> None:
    await by_the_earlier_release(stage, lesson(1))
    series = Unavailable(PostgresTimeSeries(stage.db))
    chore = Chore(stage, series)
    assert not await chore.run()
    assert (await published(stage))["student", str(uuid.UUID(int=1))]["runs"] == 2
    assert (await left(stage, keys.GROUP_POSTGRES), await left(stage, keys.GROUP_TIMESERIES)) == (0, 4)
    series.down = False
    assert await chore.run()
    # A point that the store refuses is not tried again.
    assert (await stage.in_series(), await left(stage, keys.GROUP_TIMESERIES)) == (3, 0)


async def test_a_death_between_commit_and_publication_delays_what_is_shown_and_loses_none(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await by_the_earlier_release(stage, lesson(1))

    async def die(_self: Any, _channel: str, _drafts: Any) -> None:
        raise StoreUnavailable("Redis is down")

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "publish", die)
        assert not await Chore(stage).run()
    await assert_exact(stage, 1)
    assert await published(stage) == {}
    # Nothing is left to be derived, and another worker publishes what was.
    assert await Chore(stage).run()
    assert (await published(stage))["student", str(uuid.UUID(int=1))]["runs"] == 2


async def test_groups_that_have_processes_of_their_own_do_their_own_part(stage: Any) -> None:
    await by_the_earlier_release(stage, lesson(1))
    assert await Chore(stage, PostgresTimeSeries(stage.db), publishes=False).run()
    assert await stage.in_series() == 0
    assert await Chore(stage).run()
    assert (await stage.in_series(), await left(stage, keys.GROUP_POSTGRES)) == (0, 0)
    assert await Chore(stage, PostgresTimeSeries(stage.db), publishes=False).run()
    assert await stage.in_series() == 4


async def test_a_payload_whose_key_is_missing_waits_for_the_key(stage: Any) -> None:
    await by_the_earlier_release(stage, lesson(1))
    without = KeyRing({"other": bytes(range(32))}, "other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "cell_monitor_worker.opaque_events.derivation_keys.error_signature_key",
            lambda *_: asyncio.sleep(0, b"k" * 32),
        )
        assert await Chore(stage, keyring=without).run()
    assert OPAQUE_EVENTS_WAITING.value == 5
    assert await Chore(stage).run()
    assert OPAQUE_EVENTS_WAITING.value == 1
    await assert_exact(stage, 1)


class Gated(PostgresTimeSeries):
    """A time series whose write waits for ``go_on``."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self.writing = asyncio.Event()
        self.go_on = asyncio.Event()

    async def write(self, points: Sequence[TimeSeriesPoint]) -> None:
        self.writing.set()
        await self.go_on.wait()
        await super().write(points)


async def test_a_person_erased_while_their_points_are_written_has_none_afterwards(stage: Any) -> None:
    await by_the_earlier_release(stage, lesson(1))
    series = Gated(stage.db)
    chore = asyncio.create_task(Chore(stage, series).run())
    await series.writing.wait()
    stores = Stores(stage.db, stage.keyring, stage.redis, stage.partitions, PostgresTimeSeries(stage.db))
    erasing = asyncio.create_task(erase_person(stores, uuid.UUID(int=1)))

    async def waits() -> bool:
        return bool(await stage.db.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await stage.until(waits, "the erasing waits for the write")
    series.go_on.set()
    assert await chore
    await erasing
    assert await stage.in_series() == 0
    for table in ("events", "event_payloads", "opaque_outbox", "student_states"):
        assert await stage.db.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert await published(stage) == {}


@pytest.mark.timeout(180)
async def test_workers_of_the_newer_release_derive_it_once_while_events_go_on(stage: Any) -> None:
    students = range(1, 9)
    await by_the_earlier_release(stage, [record for person in students for record in lesson(person)])
    workers = [stage.worker() for _ in range(2)]
    for worker in workers:
        await worker.start()
    later = [event("cell_added", person, 6, cell={**CELL, "index": 9}, data={"count": 1}) for person in students]
    await stage.queue(later)

    async def done() -> bool:
        return (
            await stage.db.fetchval("SELECT count(*) FROM events WHERE position('@' IN type) > 0") == len(students)
            and await stage.in_series() == 5 * len(students)
            and await stage.db.fetchval("SELECT count(*) FROM opaque_outbox") == 0
        )

    await stage.until(done, "everything that this release knows is derived and in the series")
    await stage.until_drained()
    await assert_exact(stage, len(students))
    shown = await published(stage)
    for person in students:
        student = shown["student", str(uuid.UUID(int=person))]
        assert (student["runs"], student["errors"], student["error_streak"], student["missing"]) == (2, 2, 2, 0)
        assert student["cell"]["index"] == 9
