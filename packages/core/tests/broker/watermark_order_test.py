"""Hazard: a watermark passes an event that is not committed, and a page that lacks a help request says Live.

Random interleavings of senders, beats and several workers, one of which may die, on a real Valkey. What the workers have
finished is counted here, not asked of the code.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_monitor_core import keys
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.broker.watermarks import RedisWatermarks, WaitingBeat
from cell_monitor_core.channels import partition_of
from cell_monitor_core.presence import Presence
from cell_monitor_core.records import decode_beat
from cell_monitor_core.redis_client import RedisClient, aclose, connect, run_command
from cell_monitor_core.storage.ports import LogEntry
from cell_monitor_core.streams.beats import RedisBeats
from cell_monitor_core.streams.consumer import RedisEventConsumer
from cell_monitor_core.streams.producer import RedisEventProducer

CHANNEL = "course:c1"
PARTITIONS = 8
PARTITION = partition_of(CHANNEL, PARTITIONS)
GROUP = keys.GROUP_POSTGRES
WORKERS = ("w0", "w1", "w2")
NOW = timedelta(0)

workers = st.sampled_from(WORKERS)
steps = st.one_of(
    st.just(("send",)),
    st.tuples(st.just("beat"), workers, st.integers(1, 4)),
    st.just(("trim",)),
    st.tuples(st.just("read"), workers, st.integers(1, 4)),
    st.tuples(st.just("finish"), workers, st.integers(0, 3)),
    st.tuples(st.just("late_beat"), workers),
    st.tuples(st.just("die"), workers),
    st.tuples(st.just("reclaim"), workers),
)


def position(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


@dataclass
class Worker:
    """What one worker has in memory: entries with records that it works on, and beats that wait."""

    working: dict[str, LogEntry] = field(default_factory=dict)
    beats: list[WaitingBeat] = field(default_factory=list)
    suspended: bool = False


@dataclass
class Model:
    """The path of one partition, with the real Redis at its centre."""

    client: RedisClient
    producer: RedisEventProducer
    consumer: RedisEventConsumer
    watermarks: RedisWatermarks
    beats: RedisBeats
    unfinished: set[str] = field(default_factory=set)
    published: list[str] = field(default_factory=list)
    workers: dict[str, Worker] = field(default_factory=lambda: {name: Worker() for name in WORKERS})

    async def _entries(self) -> dict[str, dict[bytes, bytes]]:
        stream = keys.events_stream(PARTITION)
        return {i.decode(): f for i, f in await run_command(self.client, stream, "XRANGE", stream, "-", "+")}

    async def send(self) -> None:
        before = await self._entries()
        await self.producer.append(CHANNEL, [(uuid.uuid4().bytes, b"\xc0")])
        [new] = (await self._entries()).keys() - before.keys()
        self.unfinished.add(new)

    async def beat(self, name: str, count: int) -> None:
        """Append a beat; a worker reads, and may reach it."""
        self.beats._due_at.clear()
        assert (await self.beats.append(PARTITION)).outcome == "beat"
        await self.read(name, count)

    async def late_beat(self, name: str) -> None:
        """A worker reads a beat and is suspended before it does anything with it, until its next step."""
        await self.beat(name, 1)
        self.workers[name].suspended = True

    async def trim(self) -> None:
        await self.consumer.trim(PARTITION)

    def _take(self, worker: Worker, entries: list[LogEntry]) -> None:
        for entry in entries:
            beat = decode_beat(entry.fields)
            if beat is None:
                worker.working[entry.entry_id] = entry
            else:
                worker.beats.append(WaitingBeat(entry.entry_id, beat.at, beat.channels))
        worker.beats.sort(key=lambda beat: position(beat.entry_id))

    async def read(self, name: str, count: int) -> None:
        self._take(self.workers[name], await self.consumer.read(PARTITION, GROUP, name, count=count, block=NOW))

    async def reclaim(self, name: str) -> None:
        worker = self.workers[name]
        entries = await self.consumer.reclaim(PARTITION, GROUP, name, min_idle=NOW, count=10)
        # Claimed from the worker that had it: with no time to wait, also from workers that are alive.
        for other in self.workers.values():
            for entry in entries:
                other.working.pop(entry.entry_id, None)
        self._take(worker, entries)

    async def finish(self, name: str, which: int) -> None:
        """Commit and publish one entry, then acknowledge it: in any order."""
        worker = self.workers[name]
        if worker.working:
            entry_id = sorted(worker.working)[which % len(worker.working)]
            del worker.working[entry_id]
            self.unfinished.discard(entry_id)
            await self.consumer.acknowledge(PARTITION, GROUP, [entry_id])

    async def die(self, name: str) -> None:
        self.workers[name] = Worker()

    async def advance(self, name: str) -> None:
        worker = self.workers[name]
        if not worker.beats:
            return
        advance = await self.watermarks.advance(PARTITION, worker.beats)
        done, worker.beats = worker.beats[: advance.done], worker.beats[advance.done :]
        if advance.age_s is not None:
            passed = done[-1].entry_id
            behind = {entry_id for entry_id in self.unfinished if position(entry_id) < position(passed)}
            assert not behind, "the watermark passed events that nobody has finished"
            assert not self.published or position(passed) > position(self.published[-1])
            self.published.append(passed)

    async def play(self, script: list[tuple[Any, ...]]) -> None:
        """Take the steps; after each one every worker that is not suspended tries to publish its beats."""
        for name, *arguments in script:
            for argument in arguments[:1]:
                self.workers[argument].suspended = False
            await getattr(self, name)(*arguments)
            for worker in WORKERS:
                if not self.workers[worker].suspended:
                    await self.advance(worker)

    async def drain(self) -> None:
        """Finish everything and beat once more: the watermark must get through."""
        await self.beat("w0", 1)
        await self.reclaim("w0")
        await self.read("w0", 1000)
        await self.reclaim("w0")
        while self.workers["w0"].working:
            await self.finish("w0", 0)
        before = len(self.published)
        await self.advance("w0")
        assert len(self.published) == before + 1
        assert not self.workers["w0"].beats


async def play(url: str, script: list[tuple[Any, ...]]) -> None:
    client, blocking = connect(url, name="test"), connect(url, name="test", blocking=True)
    producer = RedisEventProducer(client, partitions=PARTITIONS)
    try:
        for key in (keys.events_stream(PARTITION), keys.watermark_newest(PARTITION), keys.watermark_lease(PARTITION)):
            await run_command(client, key, "DEL", key)
        consumer = RedisEventConsumer(client, blocking, partitions=PARTITIONS)
        await consumer.ensure_groups()
        await Presence(client, partitions=PARTITIONS).refresh(CHANNEL, ["page"])
        await RedisBroker(client, partitions=PARTITIONS).position(CHANNEL)
        beats = RedisBeats(client, partitions=PARTITIONS)
        model = Model(client, producer, consumer, RedisWatermarks(client), beats)
        await model.play(script)
        await model.drain()
    finally:
        await producer.aclose()
        await aclose(client)
        await aclose(blocking)


@pytest.fixture
def play_on(valkey: str) -> Callable[[list[tuple[Any, ...]]], None]:
    return lambda script: asyncio.run(play(valkey, script))


@given(script=st.lists(steps, min_size=5, max_size=40))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_watermark_passes_an_event_that_a_worker_has_not_finished(
    play_on: Callable[[list[tuple[Any, ...]]], None], script: list[tuple[Any, ...]]
) -> None:
    play_on(script)


def test_entries_of_a_killed_worker_hold_the_watermark_until_another_has_finished_them(
    play_on: Callable[[list[tuple[Any, ...]]], None],
) -> None:
    killed = [("send",), ("read", "w0", 1), ("die", "w0"), ("send",), ("beat", "w1", 4), ("finish", "w1", 0)]
    play_on([*killed, ("beat", "w1", 4), ("reclaim", "w2"), ("finish", "w2", 0)])
