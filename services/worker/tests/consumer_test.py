"""One group's consumer over the log in memory: what is acknowledged, put aside, isolated, and when it stops."""

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


class Bin:
    """failed_events in memory."""

    def __init__(self) -> None:
        self.records: dict[tuple[Any, ...], FailedRecord] = {}
        self.away = False

    async def insert(self, records: Sequence[FailedRecord]) -> int:
        if self.away:
            raise StoreUnavailable("away")
        for record in records:
            self.records[record.partition, record.entry_id, record.record_index] = record
        return len(records)


class Recorder:
    """A sink that remembers batches, is away on request, and finds events whose text says so bad."""

    group = "postgres"

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.stored: set[bytes] = set()
        self.away = False
        self.crash_on: bytes | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def process(self, records: Sequence[StreamRecord]) -> list[RecordFailure]:
        await self.gate.wait()
        if self.away:
            raise StoreUnavailable("away")
        events = [record.event for record in records]
        self.batches.append(events)
        if self.crash_on in events:
            raise RuntimeError("boom")
        self.stored.update(event for event in events if not event.startswith(b"bad"))
        return [
            RecordFailure(index, "unknown_course" if b"gone" in event else "data_error", "it is bad")
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


class Line:
    """A log, a sink and a consumer."""

    def __init__(self, **changes: Any) -> None:
        streams = MemoryStreams(partitions=2)
        self.producer = MemoryEventProducer(streams)
        self.log = MemoryEventConsumer(streams)
        self.sink = Recorder()
        self.bin = Bin()
        self.settings = settings(**changes)

    def consumer(self, **changes: Any) -> GroupConsumer:
        used = self.settings.model_copy(update=changes)
        queue = BatchQueue(self.sink, lanes=used.worker_lanes, batch_events=used.worker_batch_events)
        return GroupConsumer("postgres", self.log, queue, self.bin, used, partitions=2)

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


async def until(condition: Callable[[], Awaitable[bool]], *, timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not await condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.01)


@pytest.fixture
async def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    # How long a read waits is how long a stop takes.
    monkeypatch.setattr(consumer_module, "_BLOCK", timedelta(milliseconds=30))
    made = Line()
    await made.log.ensure_groups()
    return made


async def test_entries_are_acknowledged_once_done_and_not_before(line: Line) -> None:
    line.sink.gate.clear()
    await line.append(b"one", b"two")
    async with line.running():
        await asyncio.sleep(0.05)
        assert await line.waiting() == 1
        line.sink.gate.set()

        async def done() -> bool:
            return await line.waiting() == 0

        await until(done)
    assert line.sink.stored == {b"one", b"two"}


async def test_while_the_store_is_away_nothing_is_acknowledged_or_put_aside(line: Line) -> None:
    line.sink.away = True
    await line.append(b"one")
    async with line.running():
        await asyncio.sleep(0.3)
        assert await line.waiting() == 1
        line.sink.away = False

        async def done() -> bool:
            return await line.waiting() == 0

        await until(done)
    assert line.bin.records == {}


async def test_stopping_while_the_store_is_away_leaves_the_entries_to_others(line: Line) -> None:
    line.sink.away = True
    await line.append(b"one")
    async with line.running() as task:
        await asyncio.sleep(0.1)
    assert task.exception() is None
    assert await line.waiting() == 1
    line.sink.away = False
    async with line.running(instance="other"):

        async def done() -> bool:
            return await line.waiting() == 0

        await until(done)
    assert line.sink.stored == {b"one"}


async def test_a_consumer_whose_read_hangs_ends_when_it_is_cancelled(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: Any, **__: Any) -> list[Any]:
        return await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(line.log, "read", hang)
    task = asyncio.create_task(line.consumer().run())
    await asyncio.sleep(0.05)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5)
    assert done == {task}


async def test_what_a_dead_consumer_was_given_is_taken_over(line: Line) -> None:
    await line.append(b"one")
    for partition in range(2):
        await line.log.read(partition, "postgres", "dead", count=10, block=timedelta(0))
    async with line.running():

        async def done() -> bool:
            return await line.waiting() == 0

        await until(done)
    assert line.sink.stored == {b"one"}


async def test_bad_records_and_entries_go_aside_and_the_rest_is_stored(line: Line) -> None:
    await line.append(b"one", b"bad", b"two")
    await line.producer.append(course_channel("c1"), [(b"i" * 16, b"\xc1")])
    async with line.running():

        async def done() -> bool:
            return await line.waiting() == 0

        await until(done)
    assert line.sink.stored == {b"one", b"two"}
    assert sorted((record.record_index, record.reason) for record in line.bin.records.values()) == [
        (-1, "invalid_entry"),
        (1, "data_error"),
    ]


async def test_without_a_place_for_failures_nothing_is_acknowledged(line: Line) -> None:
    line.bin.away = True
    await line.append(b"bad")
    async with line.running():
        await asyncio.sleep(0.3)
        assert await line.waiting() == 1
        line.bin.away = False

        async def done() -> bool:
            return await line.waiting() == 0

        await until(done)
    assert len(line.bin.records) == 1


async def test_too_many_failures_halt_the_group_before_they_are_put_aside(line: Line) -> None:
    await line.append(*[b"bad %d" % number for number in range(60)])
    await line.append(*[b"bad %d" % number for number in range(60, 120)], course="c2")
    consumer = line.consumer(worker_failed_at_least=100)
    with pytest.raises(GroupHaltedError, match=r"of the last \d+ events failed"):
        await asyncio.wait_for(consumer.run(), 10)
    assert consumer.halted
    assert await line.waiting() >= 1
    assert len(line.bin.records) < 100


async def test_events_of_a_deleted_course_do_not_halt_it(line: Line) -> None:
    await line.append(*[b"bad gone %d" % number for number in range(64)])
    async with line.running(worker_failed_at_least=10):

        async def done() -> bool:
            return await line.waiting() == 0

        await until(done)
    assert len(line.bin.records) == 64


async def test_an_entry_that_breaks_the_process_is_isolated_and_at_last_put_aside(line: Line) -> None:
    line.sink.crash_on = b"poison"
    await line.append(b"poison")
    await line.append(b"fine")
    for _ in range(40):
        # Each life ends with the entry, until it is handed out once too often.
        consumer = line.consumer(worker_alone_after_deliveries=2, worker_aside_after_deliveries=16)
        task = asyncio.create_task(consumer.run())

        async def done(task: asyncio.Task[None] = task) -> bool:
            return task.done() or await line.waiting() == 0

        await until(done)
        consumer.stop()
        await asyncio.wait([task])
        if task.exception() is None:
            break
    assert await line.waiting() == 0
    assert line.sink.stored == {b"fine"}
    (record,) = line.bin.records.values()
    assert record.reason == "too_many_deliveries"


async def test_lanes_join_what_waits_and_never_what_must_stand_alone() -> None:
    sink = Recorder()
    sink.gate.clear()
    queue = BatchQueue(sink, lanes=1, batch_events=5)
    lanes = asyncio.create_task(queue.run())

    def job(*events: bytes, alone: bool = False) -> asyncio.Task[list[RecordFailure]]:
        records = [StreamRecord(b"p" * 16, "c1", 1, event) for event in events]
        return asyncio.create_task(queue.submit(records, alone=alone))

    first = job(b"a")
    await asyncio.sleep(0.01)
    rest = [job(b"b", b"bad"), job(b"c", b"d", b"e"), job(b"f"), job(b"g", alone=True), job(b"h")]
    await asyncio.sleep(0.01)
    sink.gate.set()
    failures = await asyncio.gather(first, *rest)
    assert sink.batches == [[b"a"], [b"b", b"bad", b"c", b"d", b"e"], [b"f"], [b"g"], [b"h"]]
    assert [[failure.index for failure in found] for found in failures] == [[], [1], [], [], [], []]
    lanes.cancel()
    await asyncio.wait([lanes])
    with pytest.raises(StoppingError):
        await queue.submit([])


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 200)), max_size=50))
def test_the_limit_judges_by_the_newest_thousand_and_never_before_enough_were_seen(
    batches: list[tuple[int, int]],
) -> None:
    limit = FailureLimit(share=0.5, at_least=100)
    seen: list[bool] = []
    for total, most in batches:
        failed = min(total, most)
        seen += [False] * (total - failed) + [True] * failed
        told = limit.exceeded_by(total, failed)
        if len(seen) < 100:
            assert told is None
        if told is not None:
            # More than half of some stretch of at least 100 that ends now.
            assert any(
                2 * sum(seen[start:]) > len(seen) - start for start in range(max(0, len(seen) - 1199), len(seen) - 99)
            )


async def test_the_stream_format_of_a_put_aside_entry_can_be_taken_apart_again(line: Line) -> None:
    await line.producer.append(course_channel("c1"), [(b"i" * 16, b"\xc1")])
    async with line.running():

        async def done() -> bool:
            return bool(line.bin.records)

        await until(done)
    (record,) = line.bin.records.values()
    fields = msgspec.msgpack.decode(record.record, type=dict[bytes, bytes])
    with pytest.raises(ValueError, match="not readable"):
        decode_entry(fields)


async def test_points_wait_for_company_and_a_stop_does_not_wait_for_them() -> None:
    sink = Recorder()
    queue = BatchQueue(sink, lanes=2, batch_events=100, gather_s=30.0)
    lanes = asyncio.create_task(queue.run())
    await asyncio.sleep(0.01)
    records = [StreamRecord(b"p" * 16, "c1", 1, event) for event in (b"a", b"b")]
    jobs = [asyncio.create_task(queue.submit([record])) for record in records]
    await asyncio.sleep(0.01)
    assert sink.batches == []
    queue.stop()
    assert await asyncio.gather(*jobs) == [[], []]
    assert len(sink.batches) == 1
    lanes.cancel()
