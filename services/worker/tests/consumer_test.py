"""Hazards of a group's consumer: an entry is lost, acknowledged too early, never finished, or stops all others."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cell_monitor_core.channels import course_channel
from cell_monitor_core.records import StreamRecord, decode_entry, encode_record
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres.failed_events import FailedRecord
from cell_monitor_testing.memory_streams import MemoryEventConsumer, MemoryEventProducer, MemoryStreams
from cell_monitor_worker import consumer as consumer_module
from cell_monitor_worker.batches import BatchQueue
from cell_monitor_worker.config import WorkerSettings
from cell_monitor_worker.consumer import GroupConsumer
from cell_monitor_worker.exceptions import GroupHaltedError, StoppingError
from cell_monitor_worker.failures import FailureLimit, RecordFailure


class DeadLetters:
    """The table failed_events in memory."""

    def __init__(self) -> None:
        self.records: dict[tuple[Any, ...], FailedRecord] = {}
        self.unavailable = False
        self.attempts = 0

    async def insert(self, records: Sequence[FailedRecord]) -> int:
        self.attempts += 1
        if self.unavailable:
            raise StoreUnavailable("unavailable")
        for record in records:
            self.records[record.partition, record.entry_id, record.record_index] = record
        return len(records)


class Recorder:
    """A sink that records batches, can be unavailable, and fails events that begin with ``bad``."""

    group = "postgres"

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.stored: set[bytes] = set()
        self.unavailable = False
        self.crash_on: bytes | None = None
        self.attempts = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def process(self, records: Sequence[StreamRecord]) -> list[RecordFailure]:
        await self.gate.wait()
        self.attempts += 1
        if self.unavailable:
            raise StoreUnavailable("unavailable")
        events = [record.event for record in records]
        self.batches.append(events)
        if self.crash_on in events:
            raise RuntimeError("boom")
        self.stored.update(event for event in events if not event.startswith(b"bad"))
        return [
            RecordFailure(index, "data_error", "it is bad")
            for index, event in enumerate(events)
            if event.startswith(b"bad")
        ]


def settings(**changes: Any) -> WorkerSettings:
    keys = json.dumps({"active": "k", "keys": {"k": "A" * 43 + "="}})
    return WorkerSettings(
        redis_url=SecretStr("redis://localhost"),
        partitions=2,
        database_url=SecretStr("postgresql://localhost/x"),
        encryption_keys=SecretStr(keys),
        **{"instance": "me", "worker_reclaim_idle_s": 0.1, **changes},
    )


class Pipeline:
    """An event log in memory, a sink and a consumer."""

    def __init__(self, **changes: Any) -> None:
        streams = MemoryStreams(partitions=2)
        self.producer = MemoryEventProducer(streams)
        self.log = MemoryEventConsumer(streams)
        self.sink = Recorder()
        self.dead_letters = DeadLetters()
        self.settings = settings(**changes)

    def consumer(self, **changes: Any) -> GroupConsumer:
        used = self.settings.model_copy(update=changes)
        queue = BatchQueue(self.sink, concurrency=used.worker_concurrency, batch_events=used.worker_batch_events)
        return GroupConsumer("postgres", self.log, queue, self.dead_letters, used, partitions=2)

    @asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[asyncio.Task[None]]:
        consumer = self.consumer(**changes)
        task = asyncio.create_task(consumer.run())
        try:
            yield task
        finally:
            consumer.stop()
            await asyncio.wait([task])

    async def append(self, *events: bytes, course: str = "c1") -> None:
        items = [(uuid.uuid4().bytes, encode_record(StreamRecord(b"p" * 16, course, 1, event))) for event in events]
        await self.producer.append(course_channel(course), items)

    async def waiting(self) -> int:
        return sum([(await self.log.lag(partition, "postgres"))[0] for partition in range(2)])


async def until(condition: Callable[[], Awaitable[bool]], *, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not await condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.01)


@pytest.fixture
async def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    # A stop takes as long as a blocking read.
    monkeypatch.setattr(consumer_module, "_BLOCK", timedelta(milliseconds=30))
    made = Pipeline()
    await made.log.ensure_groups()
    return made


async def test_entries_are_acknowledged_after_they_are_stored(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    acknowledge = pipeline.log.acknowledge
    stored_when_acknowledged: list[set[bytes]] = []

    async def observed(*arguments: Any) -> None:
        stored_when_acknowledged.append(set(pipeline.sink.stored))
        await acknowledge(*arguments)

    monkeypatch.setattr(pipeline.log, "acknowledge", observed)
    await pipeline.append(b"one", b"two")
    async with pipeline.running():

        async def done() -> bool:
            return await pipeline.waiting() == 0

        await until(done)
    assert stored_when_acknowledged == [{b"one", b"two"}]


async def test_an_unavailable_store_counts_no_deliveries(pipeline: Pipeline) -> None:
    # Else the entries of a long outage end as dead letters, although nothing is wrong with them.
    pipeline.sink.unavailable = True
    await pipeline.append(b"one")
    async with pipeline.running(worker_reclaim_idle_s=0.02):

        async def tried_often() -> bool:
            return pipeline.sink.attempts >= 4

        await until(tried_often)
        (entry,) = [
            entry
            for partition in range(2)
            for entry in await pipeline.log.reclaim(partition, "postgres", "observer", min_idle=timedelta(0), count=10)
        ]
        # Once for the consumer, once for this look.
        assert entry.deliveries == 2
        pipeline.sink.unavailable = False


async def test_an_unavailable_store_acknowledges_and_fails_nothing(pipeline: Pipeline) -> None:
    pipeline.sink.unavailable = True
    await pipeline.append(b"one")
    async with pipeline.running():
        await asyncio.sleep(0.3)
        assert await pipeline.waiting() == 1
        pipeline.sink.unavailable = False

        async def done() -> bool:
            return await pipeline.waiting() == 0

        await until(done)
    assert pipeline.dead_letters.records == {}


async def test_stopping_with_an_unavailable_store_leaves_the_entries_pending(pipeline: Pipeline) -> None:
    pipeline.sink.unavailable = True
    await pipeline.append(b"one")
    async with pipeline.running() as task:
        await asyncio.sleep(0.1)
    assert task.exception() is None
    assert await pipeline.waiting() == 1
    pipeline.sink.unavailable = False
    async with pipeline.running(instance="other"):

        async def done() -> bool:
            return await pipeline.waiting() == 0

        await until(done)
    assert pipeline.sink.stored == {b"one"}


async def test_a_consumer_whose_read_hangs_ends_when_it_is_cancelled(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: Any, **__: Any) -> list[Any]:
        return await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(pipeline.log, "read", hang)
    task = asyncio.create_task(pipeline.consumer().run())
    await asyncio.sleep(0.05)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=60)
    assert done == {task}


async def test_entries_of_a_crashed_consumer_are_claimed(pipeline: Pipeline) -> None:
    await pipeline.append(b"one")
    for partition in range(2):
        await pipeline.log.read(partition, "postgres", "dead", count=10, block=timedelta(0))
    async with pipeline.running():

        async def done() -> bool:
            return await pipeline.waiting() == 0

        await until(done)
    assert pipeline.sink.stored == {b"one"}


async def test_invalid_records_and_entries_are_dead_lettered_and_the_rest_is_stored(pipeline: Pipeline) -> None:
    await pipeline.append(b"one", b"bad", b"two")
    await pipeline.producer.append(course_channel("c1"), [(b"i" * 16, b"\xc1")])
    async with pipeline.running():

        async def done() -> bool:
            return await pipeline.waiting() == 0

        await until(done)
    assert pipeline.sink.stored == {b"one", b"two"}
    assert sorted((record.record_index, record.reason) for record in pipeline.dead_letters.records.values()) == [
        (-1, "invalid_entry"),
        (1, "data_error"),
    ]


async def test_nothing_is_acknowledged_while_failed_events_is_unavailable(pipeline: Pipeline) -> None:
    pipeline.dead_letters.unavailable = True
    await pipeline.append(b"bad")
    async with pipeline.running():
        await asyncio.sleep(0.3)
        assert await pipeline.waiting() == 1
        pipeline.dead_letters.unavailable = False

        async def done() -> bool:
            return await pipeline.waiting() == 0

        await until(done)
    assert len(pipeline.dead_letters.records) == 1


async def test_too_many_failures_halt_the_group_before_they_are_dead_lettered(pipeline: Pipeline) -> None:
    await pipeline.append(*[b"bad %d" % number for number in range(60)])
    await pipeline.append(*[b"bad %d" % number for number in range(60, 120)], course="c2")
    consumer = pipeline.consumer(worker_failed_at_least=100)
    with pytest.raises(GroupHaltedError, match=r"of the last \d+ events failed"):
        await asyncio.wait_for(consumer.run(), 60)
    assert consumer.halted
    assert await pipeline.waiting() >= 1
    assert len(pipeline.dead_letters.records) < 100


async def test_an_entry_that_crashes_the_process_is_isolated_and_finally_dead_lettered(pipeline: Pipeline) -> None:
    pipeline.sink.crash_on = b"poison"
    await pipeline.append(b"poison")
    await pipeline.append(b"fine")
    for _ in range(40):
        # The entry crashes each run until it has been delivered too often.
        consumer = pipeline.consumer(worker_isolate_after_deliveries=2, worker_dead_letter_after_deliveries=16)
        task = asyncio.create_task(consumer.run())

        async def done(task: asyncio.Task[None] = task) -> bool:
            return task.done() or await pipeline.waiting() == 0

        await until(done)
        consumer.stop()
        await asyncio.wait([task])
        if task.exception() is None:
            break
    assert await pipeline.waiting() == 0
    assert pipeline.sink.stored == {b"fine"}
    (record,) = pipeline.dead_letters.records.values()
    assert record.reason == "too_many_deliveries"


async def test_an_entry_delivered_too_often_stays_pending_until_it_is_in_failed_events(pipeline: Pipeline) -> None:
    pipeline.dead_letters.unavailable = True
    await pipeline.append(b"poison")
    for partition in range(2):
        await pipeline.log.read(partition, "postgres", "dead", count=10, block=timedelta(0))
        for _ in range(16):
            await pipeline.log.reclaim(partition, "postgres", "dead", min_idle=timedelta(0), count=10)
    async with pipeline.running(worker_isolate_after_deliveries=2, worker_dead_letter_after_deliveries=16):

        async def tried() -> bool:
            return pipeline.dead_letters.attempts >= 2

        await until(tried)
        assert await pipeline.waiting() == 1
        pipeline.dead_letters.unavailable = False

        async def done() -> bool:
            return await pipeline.waiting() == 0

        await until(done)
    (record,) = pipeline.dead_letters.records.values()
    assert record.reason == "too_many_deliveries"
    assert pipeline.sink.attempts == 0


async def settled() -> None:
    """Let tasks that wait for no clock and no server go on until each waits: a moment's sleep may end before."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_waiting_jobs_are_combined_and_isolated_ones_are_not() -> None:
    sink = Recorder()
    sink.gate.clear()
    queue = BatchQueue(sink, concurrency=1, batch_events=5)
    batches = asyncio.create_task(queue.run())

    def job(*events: bytes, isolate: bool = False) -> asyncio.Task[list[RecordFailure]]:
        records = [StreamRecord(b"p" * 16, "c1", 1, event) for event in events]
        return asyncio.create_task(queue.submit(records, isolate=isolate))

    first = job(b"a")
    await settled()
    rest = [job(b"b", b"bad"), job(b"c", b"d", b"e"), job(b"f"), job(b"g", isolate=True), job(b"h")]
    await settled()
    sink.gate.set()
    failures = await asyncio.gather(first, *rest)
    assert sink.batches == [[b"a"], [b"b", b"bad", b"c", b"d", b"e"], [b"f"], [b"g"], [b"h"]]
    assert [[failure.index for failure in found] for found in failures] == [[], [1], [], [], [], []]
    batches.cancel()
    await asyncio.wait([batches])
    with pytest.raises(StoppingError):
        await queue.submit([])


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 200)), max_size=50))
def test_the_limit_uses_the_newest_thousand_records_and_needs_a_minimum(
    batches: list[tuple[int, int]],
) -> None:
    limit = FailureLimit(share=0.5, at_least=100)
    seen: list[bool] = []
    for total, most in batches:
        failed = min(total, most)
        seen += [False] * (total - failed) + [True] * failed
        message = limit.exceeded_by(total, failed)
        if len(seen) < 100:
            assert message is None
        if message is not None:
            # More than half of the last n records failed, for some n of at least 100.
            assert any(
                2 * sum(seen[start:]) > len(seen) - start for start in range(max(0, len(seen) - 1199), len(seen) - 99)
            )


async def test_the_stored_form_of_a_dead_lettered_entry_can_be_decoded(pipeline: Pipeline) -> None:
    await pipeline.producer.append(course_channel("c1"), [(b"i" * 16, b"\xc1")])
    async with pipeline.running():

        async def done() -> bool:
            return bool(pipeline.dead_letters.records)

        await until(done)
    (record,) = pipeline.dead_letters.records.values()
    fields = msgspec.msgpack.decode(record.record, type=dict[bytes, bytes])
    with pytest.raises(ValueError, match="not readable"):
        decode_entry(fields)


async def test_points_linger_and_a_stop_ends_the_wait() -> None:
    sink = Recorder()
    queue = BatchQueue(sink, concurrency=2, batch_events=100, linger_s=30.0)
    batches = asyncio.create_task(queue.run())
    await settled()
    records = [StreamRecord(b"p" * 16, "c1", 1, event) for event in (b"a", b"b")]
    jobs = [asyncio.create_task(queue.submit([record])) for record in records]
    await settled()
    assert sink.batches == []
    queue.stop()
    assert await asyncio.gather(*jobs) == [[], []]
    assert len(sink.batches) == 1
    batches.cancel()
