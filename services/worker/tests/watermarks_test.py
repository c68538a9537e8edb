"""Hazards: a beat that waits for another worker is never tried again, or an unavailable Redis ends the watermarks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from cell_monitor_core.broker.watermarks import Advance, WaitingBeat
from cell_monitor_core.records import Beat
from cell_monitor_core.storage.ports import RedisUnavailable
from cell_monitor_worker import watermarks as module
from cell_monitor_worker.watermarks import WatermarkPublisher


class Redis:
    """Publishes beats up to ``floor``; keeps what it was asked."""

    def __init__(self) -> None:
        self.floor = 0
        self.unavailable = False
        self.asked: list[tuple[int, list[str]]] = []
        self.published: list[str] = []
        self.called = asyncio.Event()

    async def advance(self, partition: int, beats: list[WaitingBeat]) -> Advance:
        self.asked.append((partition, [beat.entry_id for beat in beats]))
        # A test that waits runs after this call.
        self.called.set()
        if self.unavailable:
            raise RedisUnavailable("unavailable")
        done = [beat.entry_id for beat in beats if beat.at <= self.floor]
        self.published += done[-1:]
        return Advance(len(done), 0.1 if done else None)

    async def until_asked(self, times: int) -> None:
        await self._until(lambda: len(self.asked) >= times)

    async def until_published(self, entry_id: str) -> None:
        await self._until(lambda: entry_id in self.published)

    async def _until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not done():
                self.called.clear()
                await self.called.wait()


@asynccontextmanager
async def running(redis: Redis) -> AsyncIterator[WatermarkPublisher]:
    publisher = WatermarkPublisher(redis, partitions=2)
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def beat(at: int) -> tuple[str, Beat]:
    return f"{at}-0", Beat(at, ("course:c1",))


@pytest.fixture
def no_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an acknowledgement makes the publisher try again."""
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", 3600.0)


@pytest.mark.usefixtures("no_retry")
async def test_a_beat_is_tried_when_it_is_read_and_when_an_entry_of_its_partition_is_acknowledged() -> None:
    redis = Redis()
    async with running(redis) as publisher:
        publisher.note(1, *beat(10))
        await redis.until_asked(1)
        publisher.acknowledged(0)
        redis.floor = 10
        publisher.acknowledged(1)
        await redis.until_asked(2)
        assert redis.asked == [(1, ["10-0"]), (1, ["10-0"])]
        assert redis.published == ["10-0"]


async def test_a_beat_that_waits_for_another_worker_is_tried_again_by_itself() -> None:
    redis = Redis()
    async with running(redis) as publisher:
        publisher.note(0, *beat(10))
        await redis.until_asked(3)
        redis.floor = 10
        await redis.until_published("10-0")


async def test_an_unavailable_redis_delays_the_watermarks_and_does_not_end_them() -> None:
    redis = Redis()
    redis.unavailable, redis.floor = True, 10
    async with running(redis) as publisher:
        publisher.note(0, *beat(10))
        await redis.until_asked(2)
        assert redis.published == []
        redis.unavailable = False
        await redis.until_published("10-0")


@pytest.mark.usefixtures("no_retry")
async def test_beats_of_a_dead_worker_are_put_in_the_order_of_the_stream() -> None:
    redis = Redis()
    publisher = WatermarkPublisher(redis, partitions=2)
    for at in (30, 100, 9):
        publisher.note(0, *beat(at))
    task = asyncio.create_task(publisher.run())
    await redis.until_asked(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert redis.asked == [(0, ["9-0", "30-0", "100-0"])]


@pytest.mark.usefixtures("no_retry")
async def test_beats_that_wait_are_bounded() -> None:
    redis = Redis()
    publisher = WatermarkPublisher(redis, partitions=1)
    for at in range(2000):
        publisher.note(0, *beat(at))
    task = asyncio.create_task(publisher.run())
    await redis.until_asked(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    # The newest are kept: an older one says less.
    assert redis.asked[0][1][-1] == "1999-0"
    assert len(redis.asked[0][1]) == 500
