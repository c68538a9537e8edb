"""Hazards: one process of the API keeps the beats to itself when it ends, or an error ends them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from cell_monitor_api.services.watermark_beats import WatermarkBeats
from cell_monitor_core import keys
from cell_monitor_core.channels import partition_of
from cell_monitor_core.presence import Presence
from cell_monitor_core.redis_client import RedisClient, aclose, connect, run_command
from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_core.streams.beats import BeatReply, RedisBeats

CHANNEL = "course:c1"
PARTITION = partition_of(CHANNEL, 8)
STREAM = keys.events_stream(PARTITION)


@pytest.fixture
async def client(valkey: str) -> AsyncIterator[RedisClient]:
    made = connect(valkey, name="test")
    await Presence(made, partitions=8).refresh(CHANNEL, ["page"])
    yield made
    await aclose(made)


@asynccontextmanager
async def process(client: RedisClient) -> AsyncIterator[RedisBeats]:
    """The beats of one process of the API, with a short interval."""
    beats = RedisBeats(client, partitions=8)
    running = WatermarkBeats(beats, interval_s=0.05)
    running.start()
    try:
        yield beats
    finally:
        await running.aclose()


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not done():
            await asyncio.sleep(0.01)


async def owner(client: RedisClient) -> str:
    value = await run_command(client, STREAM, "GET", keys.watermark_lease(PARTITION))
    return "" if value is None else value.decode()


async def test_another_process_takes_over_at_once_when_one_ends(client: RedisClient) -> None:
    async with process(client) as second:
        async with process(client) as first:
            async with asyncio.timeout(60):
                while not await owner(client):
                    await asyncio.sleep(0.01)
            assert await owner(client) in {first.owner, second.owner}
        assert await owner(client) in {"", second.owner}
        async with asyncio.timeout(60):
            while await owner(client) != second.owner:
                await asyncio.sleep(0.01)
    assert await owner(client) == ""


class Failing:
    """Beats that fail in every way before they succeed."""

    partitions = 1

    def __init__(self) -> None:
        self.failures: list[Exception] = [LogUnavailable("Redis is unavailable"), RuntimeError("a bug"), KeyError("x")]
        self.appended = 0

    async def append(self, partition: int) -> BeatReply:
        if self.failures:
            raise self.failures.pop(0)
        self.appended += 1
        return BeatReply("beat", 1.0)

    async def release(self, partition: int) -> None:
        raise LogUnavailable("Redis is unavailable")


async def test_beats_go_on_after_errors() -> None:
    beats = Failing()
    running = WatermarkBeats(beats, interval_s=0.01)
    running.start()
    await until(lambda: beats.appended >= 3)
    await running.aclose()


class Swallowing(Failing):
    """Beats whose command takes no notice of a cancellation."""

    async def append(self, partition: int) -> BeatReply:
        self.appended += 1
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return BeatReply("beat", 3600.0)


async def test_the_process_ends_although_a_command_swallows_the_cancellation() -> None:
    beats = Swallowing()
    running = WatermarkBeats(beats, interval_s=0.01)
    running.start()
    await until(lambda: beats.appended == 1)
    async with asyncio.timeout(60):
        await running.aclose()
