"""Hazard: a killed worker or an unavailable store loses or duplicates events. Real processes on real stores."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from yarl import URL

from cell_monitor_core import keys
from cell_monitor_core.administration.failed_events import FailedEventReplay, ReplayReport
from cell_monitor_core.auth.audit import OPERATOR
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.channels import course_channel, partition_of, test_channel
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.publications import CourseState, Publication, StudentState
from cell_monitor_core.records import StreamRecord, decode_entry, encode_record
from cell_monitor_core.storage.influxdb.time_series import InfluxTimeSeries
from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_core.storage.postgres import failed_events, student_states
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.rebuild import rebuild
from cell_monitor_testing.fault_proxy import FaultProxy

Traffic = Callable[..., list[StreamRecord]]

pytestmark = pytest.mark.timeout(240)


async def get(worker: Any, path: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.get(f"{worker.url}{path}")


async def assert_exact(stage: Any, records: list[StreamRecord]) -> None:
    """Check that both stores have exactly the sent events, and that the states equal those of a rebuild."""
    assert await stage.stored() == len(records)
    assert await stage.in_series() == len(records)
    assert await stage.db.fetchval("SELECT count(*) FROM failed_events") == 0
    report = await rebuild(stage.db, stage.keyring, check=True)
    assert report.differences == []
    assert report.events == len(records)


async def published_students(stage: Any, course: str) -> dict[str, StudentState]:
    """Return the newest published row of each student."""
    broker = RedisBroker(stage.redis, partitions=stage.partitions)
    position = await broker.position(course_channel(course))
    recovery = await broker.recover(course_channel(course), position.epoch, 0, limit=10_000)
    if not recovery.recovered:
        # Old publications are trimmed; the newest ones are compared.
        oldest = max(0, position.offset - 900)
        recovery = await broker.recover(course_channel(course), position.epoch, oldest, limit=10_000)
    return {
        state.student_id: state
        for publication in recovery.publications
        if publication.kind == "student"
        for state in [msgspec.json.decode(publication.state, type=StudentState)]
    }


async def stored_students(stage: Any, course: str) -> dict[str, StudentState]:
    sql = f"SELECT {student_states.SHOWN} FROM student_states s WHERE s.course_id = $1"
    states = [student_states.shown_state(stage.keyring, row) for row in await stage.db.fetch(sql, course)]
    return {state.student_id: state for state in states}


async def test_shuffled_events_sent_five_times_are_stored_exactly_and_published(stage: Any, traffic: Traffic) -> None:
    records = traffic(students=4, events=900)
    worker = stage.worker()
    await worker.start()
    await stage.queue(records)
    for seed in range(4):
        await stage.queue(random.Random(seed).sample(records, len(records)), repeated=True)
    await stage.until_drained()
    await assert_exact(stage, records)
    for course in ("c1", "c2", "c3"):
        assert await published_students(stage, course) == await stored_students(stage, course)

    async def trimmed() -> bool:
        lengths = [await stage.redis.xlen(keys.events_stream(number)) for number in range(stage.partitions)]
        return sum(lengths) == 0

    await stage.until(trimmed, "finished entries are deleted")
    metrics = (await get(worker, "/metrics")).text
    assert f'cell_monitor_events_stored_total{{group="postgres"}} {float(len(records))}' in metrics

    async def backlog_shown() -> bool:
        lines = (await get(worker, "/metrics")).text.splitlines()
        shown = [line for line in lines if line.startswith("cell_monitor_backlog_entries{")]
        return len(shown) == 2 * stage.partitions and all(line.endswith(" 0.0") for line in shown)

    await stage.until(backlog_shown, "the metrics show an empty backlog")
    assert await worker.stop() == 0


async def test_a_full_redis_is_emptied_without_more_memory(stage: Any, traffic: Traffic) -> None:
    records = traffic(students=6, events=5000)
    test_record = msgspec.structs.replace(records[0], test_id="full")
    await stage.log.ensure_groups()
    # A page has followed this course, so that there are publications to make.
    broker = RedisBroker(stage.redis, partitions=stage.partitions)
    before = await broker.position(course_channel("c1"))
    await stage.queue(records[:4900])
    await stage.queue([test_record], repeated=True)
    used = (await stage.redis.info("memory"))["used_memory"]
    try:
        await stage.redis.config_set("maxmemory", used - 1)
        with pytest.raises(LogUnavailable):
            await stage.queue(records[4900:])
        # It also starts there.
        worker = stage.worker()
        await worker.start()
        await stage.until_drained()

        async def trimmed() -> bool:
            lengths = [await stage.redis.xlen(keys.events_stream(number)) for number in range(stage.partitions)]
            return sum(lengths) == 0

        await stage.until(trimmed, "finished entries are deleted")
        await stage.queue(records[4900:])
        await stage.until_drained()
        await assert_exact(stage, records)
        # Nobody who followed before takes what was not published for nothing.
        assert not (await broker.recover(course_channel("c1"), before.epoch, before.offset, limit=10)).recovered
        assert await worker.stop() == 0
    finally:
        await stage.redis.config_set("maxmemory", 0)


@pytest.mark.resilience
async def test_another_worker_finishes_after_repeated_kills(any_stage: Any, traffic: Traffic) -> None:
    stage = any_stage
    records = traffic(students=6, events=4500)
    survivor = stage.worker()
    await survivor.start()
    sending = asyncio.create_task(stage.queue(records, each=25))
    for share in (0.1, 0.4, 0.7):
        victim = stage.worker()
        await victim.start()

        async def reached(least: int = int(share * len(records))) -> bool:
            return await stage.stored() >= least

        await stage.until(reached, f"{share:.0%} of the events are stored")
        victim.kill()
    await sending
    await stage.until_drained()
    await assert_exact(stage, records)
    assert await survivor.stop() == 0


@pytest.mark.resilience
async def test_a_crash_between_commit_and_publication_still_publishes(stage: Any, traffic: Traffic) -> None:
    records = traffic(students=2, events=90)
    await stage.queue(records)
    # A worker that stored all events and crashed before it published or acknowledged them.
    for partition in range(stage.partitions):
        entries = await stage.log.read(partition, "postgres", "dead", count=100, block=timedelta(0))
        for entry in entries:
            await PostgresFactStore(stage.db, stage.keyring).apply(decode_entry(entry.fields))
    assert await stage.stored() == len(records)
    assert await published_students(stage, "c1") == {}

    worker = stage.worker()
    await worker.start()
    await stage.until_drained()
    await assert_exact(stage, records)
    for course in ("c1", "c2", "c3"):
        assert await published_students(stage, course) == await stored_students(stage, course)


@pytest.mark.resilience
async def test_an_outage_of_postgresql_loses_and_fails_no_event(stage: Any, traffic: Traffic) -> None:
    records = traffic(students=4, events=1500)
    target = URL(stage.dsn)
    async with FaultProxy(target.port or 5432) as proxy:
        worker = stage.worker(DATABASE_URL=str(target.with_host("127.0.0.1").with_port(proxy.port)))
        await worker.start()
        await stage.queue(records[:500])

        async def some() -> bool:
            return await stage.stored() > 100

        await stage.until(some, "some events are stored")
        await proxy.cut()
        await stage.queue(records[500:])

        async def unready() -> bool:
            return (await get(worker, "/readyz")).status_code == 503

        await stage.until(unready, "the worker is not ready")
        await proxy.heal()
        await stage.until_drained()
        await assert_exact(stage, records)
        assert await worker.stop() == 0


@pytest.mark.resilience
async def test_an_outage_of_redis_loses_no_event(stage: Any, traffic: Traffic) -> None:
    records = traffic(students=4, events=1200)
    await stage.queue(records)
    target = URL(stage.redis_url)
    async with FaultProxy(target.port or 6379) as proxy:
        worker = stage.worker(REDIS_URL=str(target.with_port(proxy.port)))
        await worker.start()
        for _ in range(3):
            proxy.reset_connections()
            await asyncio.sleep(0)
        await proxy.cut()
        await proxy.heal()
        await stage.until_drained()
        await assert_exact(stage, records)


@pytest.mark.resilience
async def test_an_outage_of_the_time_series_store_delays_only_its_own_group(stage: Any, traffic: Traffic) -> None:
    records = traffic(students=4, events=600)
    worker = stage.worker(INFLUXDB_URL="http://127.0.0.1:9", INFLUXDB_TOKEN="t", INFLUXDB_ORG="o", INFLUXDB_BUCKET="b")
    await worker.start()
    await stage.queue(records)
    await stage.until_drained("postgres")
    assert await stage.stored() == len(records)
    assert await stage.waiting("influxdb") > 0
    assert (await get(worker, "/readyz")).status_code == 200
    # Entries that the other group needs were not trimmed: it stores all of them when its store is available again.
    assert await worker.stop() == 0
    other = stage.worker()
    await other.start()
    await stage.until_drained()
    await assert_exact(stage, records)


@pytest.mark.influxdb
async def test_every_event_reaches_a_real_influxdb(stage: Any, traffic: Traffic, influxdb: Any) -> None:
    records = traffic(students=3, events=300)
    worker = stage.worker(
        INFLUXDB_URL=influxdb.url,
        INFLUXDB_TOKEN=influxdb.token,
        INFLUXDB_ORG=influxdb.org,
        INFLUXDB_BUCKET=influxdb.bucket,
    )
    await worker.start()
    await stage.queue(records)
    await stage.queue(records, repeated=True)
    await stage.until_drained()
    series = InfluxTimeSeries(influxdb.url, influxdb.token, influxdb.org, influxdb.bucket)
    try:
        counts = [await series.count(course) for course in ("c1", "c2", "c3")]
    finally:
        await series.close()
    assert sum(counts) == len(records)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_finishes_the_batch_and_exits_with_zero(stage: Any, traffic: Traffic, signum: int) -> None:
    records = traffic(students=4, events=3000)
    await stage.queue(records)
    worker = stage.worker()
    await worker.start()
    worker.signal(signum)
    assert await worker.stop() == 0
    # The worker finished all entries that it had read: none is pending, the rest was never delivered.
    for partition in range(stage.partitions):
        pending = await stage.redis.xpending(keys.events_stream(partition), "postgres")
        assert pending["pending"] == 0
    other = stage.worker()
    await other.start()
    await stage.until_drained()
    await assert_exact(stage, records)


async def test_the_last_published_counters_of_a_course_are_its_current_ones(stage: Any, traffic: Traffic) -> None:
    records = traffic(students=5, events=600)
    class_of = {uuid.UUID(bytes=record.person_id) for record in records if record.course_id == "c1"}
    await stage.db.execute("DELETE FROM memberships WHERE person_id <> ALL($1::uuid[])", class_of)
    worker = stage.worker()
    await worker.start()
    await stage.queue(records)
    await stage.until_drained()
    runs = await stage.db.fetchval("SELECT count(*) FROM events WHERE type = 'cell_executed' AND course_id = 'c1'")
    broker = RedisBroker(stage.redis, partitions=stage.partitions)

    async def counters() -> list[CourseState]:
        position = await broker.position(course_channel("c1"))
        recovery = await broker.recover(course_channel("c1"), position.epoch, 0, limit=10_000)
        return [
            msgspec.json.decode(publication.state, type=CourseState)
            for publication in recovery.publications
            if publication.kind == "course"
        ]

    async def published() -> bool:
        found = await counters()
        return bool(found) and found[-1].runs == runs

    await stage.until(published, "the last counters are published")
    newest = (await counters())[-1]
    assert (newest.students, newest.started) == (5, 5)


async def test_heartbeats_cause_no_publication_of_the_course_counters(stage: Any, traffic: Traffic) -> None:
    records = traffic(students=1, events=30, shuffled=False)
    sender, session = records[0].person_id, json.loads(records[0].event)["session_id"]

    def event(kind: str, seq: int, data: dict[str, Any], **place: Any) -> StreamRecord:
        body = {
            "event_id": new_event_id(), "type": kind, "schema_version": 1, "occurred_at": "2026-04-01T09:00:00.000Z",
            "session_id": session, "seq": seq, "notebook": {"id": "n", "path": "n.ipynb"}, "data": data, **place,
        }  # fmt: skip
        return StreamRecord(sender, "c1", records[0].received_at, json.dumps(body).encode())

    worker = stage.worker()
    await worker.start()
    broker = RedisBroker(stage.redis, partitions=stage.partitions)

    async def published(kind: str) -> list[dict[str, Any]]:
        position = await broker.position(course_channel("c1"))
        recovery = await broker.recover(course_channel("c1"), position.epoch, 0, limit=10_000)
        return [json.loads(bytes(each.state)) for each in recovery.publications if each.kind == kind]

    async def runs_shown(runs: int) -> bool:
        found = await published("course")
        return bool(found) and found[-1]["runs"] == runs

    cell = {"id": "a", "source_id": "a", "index": 0, "type": "code"}
    ran = {"execution_id": new_event_id(), "status": "ok", "code": "1", "outputs": []}
    await stage.queue([event("cell_executed", 1, ran, cell=cell)])
    await stage.until(lambda: runs_shown(1), "the first run is counted")
    before = len(await published("course"))
    for seq in range(2, 42):
        await stage.queue([event("heartbeat", seq, {"queued": 0, "dropped": 0, "visible": True})])
        await stage.until_drained()
    await stage.queue([event("cell_executed", 42, {**ran, "execution_id": new_event_id()}, cell=cell)])
    await stage.until(lambda: runs_shown(2), "the second run is counted")
    assert len(await published("course")) == before + 1


async def test_test_mode_is_marked_at_each_stage_and_published(stage: Any, traffic: Traffic) -> None:
    (record,) = traffic(students=1, events=3, shuffled=False)[:1]
    event = json.loads(record.event)
    test = StreamRecord(record.person_id, "", record.received_at, record.event, test_id="t-1")
    await stage.producer.append(test_channel("t-1"), [(uuid.UUID(event["event_id"]).bytes, encode_record(test))])
    worker = stage.worker()
    await worker.start()
    await stage.until_drained()
    key = keys.test_progress(partition_of(test_channel("t-1"), stage.partitions), "t-1", record.person_id)
    marks = await stage.redis.hgetall(key)
    assert {name.decode().partition(":")[2] for name in marks} == {"postgres", "timeseries", "published"}
    assert 0 < await stage.redis.ttl(key) <= 3600
    broker = RedisBroker(stage.redis, partitions=stage.partitions)
    position = await broker.position(test_channel("t-1"))
    (publication,) = (await broker.recover(test_channel("t-1"), position.epoch, 0, limit=10)).publications
    assert isinstance(publication, Publication)
    assert publication.kind == "test"
    assert json.loads(bytes(publication.state)) == {"event_id": event["event_id"], "type": event["type"]}
    assert await stage.db.fetchval("SELECT count(*) FROM student_states") == 0


async def test_a_stream_of_invalid_events_halts_the_worker_before_it_fills_failed_events(
    stage: Any, traffic: Traffic
) -> None:
    good = traffic(students=4, events=300)
    bad = [
        StreamRecord(record.person_id, record.course_id, record.received_at, b'{"broken": true}')
        for record in traffic(students=4, events=900, seed=2)
    ]
    by_course: dict[str, list[tuple[bytes, bytes]]] = {}
    for record in bad:
        by_course.setdefault(record.course_id, []).append((uuid.uuid4().bytes, encode_record(record)))
    worker = stage.worker(WORKER_HALT_HOLD_S="3")
    await worker.start()
    for course, items in by_course.items():
        for start in range(0, len(items), 64):
            await stage.producer.append(course_channel(course), items[start : start + 64])
    await stage.queue(good)

    async def halted() -> bool:
        try:
            answer = await get(worker, "/readyz")
        except httpx.TransportError:
            return False
        return answer.status_code == 503 and "GroupHaltedError" in answer.text

    await stage.until(halted, "the worker reports that it has halted")

    async def ended() -> bool:
        return not worker.running

    await stage.until(ended, "the worker exits")
    assert await worker.stop() == 3
    assert "group_halted" in worker.log
    assert "replay" in worker.log
    # At most the events before the limit applies, in each group.
    assert await stage.db.fetchval("SELECT count(*) FROM failed_events") < 2 * 2 * 100
    assert await stage.waiting() > 0


async def test_failed_events_are_dead_lettered_and_replayed_after_the_correction(stage: Any, traffic: Traffic) -> None:
    records = traffic(students=3, events=600)
    await stage.db.execute("ALTER TABLE events ADD CONSTRAINT no_exercise_3 CHECK (cell_id <> 'exercise-3')")
    unlucky = [record for record in records if b'"exercise-3"' in record.event]
    worker = stage.worker()
    await worker.start()
    await stage.queue(records)
    await stage.producer.append(course_channel("c1"), [(uuid.uuid4().bytes, b"\xc1 no record")])
    await stage.until_drained()
    assert await stage.stored() == len(records) - len(unlucky)
    waiting = await failed_events.list_page(stage.db, limit=1000)
    reasons = [failed.reason for failed in waiting]
    assert reasons.count("data_error") == len(unlucky)
    assert reasons.count("invalid_entry") == 2
    assert all("print(answer)" not in failed.detail for failed in waiting)

    await stage.db.execute("ALTER TABLE events DROP CONSTRAINT no_exercise_3")
    report = await replay(stage)
    # What failed in both groups counts once.
    assert (report.queued, report.unreadable) == (len(unlucky), 1)
    await stage.until_drained()
    assert await stage.stored() == len(records)
    assert (await rebuild(stage.db, stage.keyring, check=True)).differences == []
    assert (await replay(stage)).queued == 0


async def test_replaying_what_fails_again_ends_and_does_not_multiply_it(stage: Any, traffic: Traffic) -> None:
    # A record that no group can read: it fails at once, in both, whenever it is queued.
    wrong = msgspec.structs.replace(traffic(students=1, events=1)[0], event=b'{"broken": true}')
    worker = stage.worker()
    await worker.start()
    await stage.queue([wrong], repeated=True)
    await stage.until_drained()
    assert len(await failed_events.list_page(stage.db, waiting_only=True)) == 2
    for _ in range(2):
        report = await replay(stage, Waiting(stage))
        assert (report.queued, report.events) == (1, 1)
        await stage.until_drained()
        # One row for each group, as before.
        assert len(await failed_events.list_page(stage.db, waiting_only=True)) == 2
    assert await worker.stop() == 0


async def replay(stage: Any, producer: Any = None) -> ReplayReport:
    """Replay all that waits, in one step: there are fewer than it takes."""
    report = await FailedEventReplay(stage.db, stage.keyring, producer or stage.producer).step(by=OPERATOR)
    assert report.remaining == 0
    return report


class Waiting:
    """A producer that returns when the worker has processed what was queued: it is faster than the replay."""

    def __init__(self, stage: Any) -> None:
        self._stage = stage

    async def append(self, channel: str, items: Any) -> Any:
        outcome = await self._stage.producer.append(channel, items)
        await self._stage.until_drained()
        return outcome


async def test_the_worker_waits_for_unavailable_stores_and_is_not_ready(stage: Any, traffic: Traffic) -> None:
    target = URL(stage.dsn)
    async with FaultProxy(target.port or 5432) as proxy:
        await proxy.cut()
        worker = stage.worker(DATABASE_URL=str(target.with_host("127.0.0.1").with_port(proxy.port)))
        worker.launch()

        async def answers() -> bool:
            try:
                alive, ready = await get(worker, "/livez"), await get(worker, "/readyz")
            except httpx.TransportError:
                return False
            return (alive.status_code, ready.status_code) == (200, 503)

        await stage.until(answers, "it is live and not ready")
        await proxy.heal()
        await worker.wait_ready()
        assert await worker.stop() == 0


async def test_another_schema_version_is_refused_with_its_number(stage: Any) -> None:
    await stage.db.execute("DELETE FROM schema_version WHERE version = (SELECT max(version) FROM schema_version)")
    worker = stage.worker()
    worker.launch()

    async def ended() -> bool:
        return not worker.running

    await stage.until(ended, "it refuses to start")
    assert await worker.stop() == 2
    assert "schema" in worker.log


@pytest.mark.parametrize("redis_url", ["redis://127.0.0.1:9", "redis+cluster://127.0.0.1:9,127.0.0.1:7"])
async def test_an_unreachable_redis_is_waited_for_and_the_worker_can_be_stopped_meanwhile(
    stage: Any, redis_url: str
) -> None:
    worker = stage.worker(REDIS_URL=redis_url)
    worker.launch()

    async def waits_again() -> bool:
        return worker.log.count("worker_waits_for_stores") > 1

    await stage.until(waits_again, "the worker asks again")
    assert worker.running
    assert (await get(worker, "/readyz")).status_code == 503
    worker.signal(signal.SIGTERM)
    assert await worker.stop() == 0


@pytest.mark.stores
@pytest.mark.parametrize("any_redis", ["valkey_cluster"], indirect=True)
async def test_a_cluster_that_hangs_is_waited_for_and_the_worker_can_be_stopped_meanwhile(
    any_stage: Any, cluster_server: Any, traffic: Traffic
) -> None:
    records = traffic(students=3, events=300)
    worker = any_stage.worker()
    await worker.start()
    await any_stage.queue(records[:150])
    await any_stage.until_drained()

    async def unready() -> bool:
        return (await get(worker, "/readyz")).status_code == 503

    with cluster_server.paused():
        await any_stage.until(unready, "the worker is not ready")
    await worker.wait_ready()
    await any_stage.queue(records[150:])
    await any_stage.until_drained()
    await assert_exact(any_stage, records)
    with cluster_server.paused():
        await any_stage.until(unready, "the worker is not ready")
        # Kubernetes kills it after 30 s.
        assert await worker.stop(timeout=30) == 0
