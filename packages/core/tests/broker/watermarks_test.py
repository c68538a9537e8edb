"""Hazards: a watermark that counts fewer publications than were made before it, or that grows the channel's history."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import NamedTuple

import pytest

from cell_monitor_core import keys
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.broker.watermarks import RedisWatermarks, WaitingBeat
from cell_monitor_core.channels import partition_of
from cell_monitor_core.presence import Presence
from cell_monitor_core.publications import Publication, Watermark
from cell_monitor_core.records import decode_beat
from cell_monitor_core.redis_client import RedisClient, aclose, connect, run_command
from cell_monitor_core.storage.ports import Draft
from cell_monitor_core.streams.beats import RedisBeats
from cell_monitor_core.streams.consumer import RedisEventConsumer

PARTITIONS = 8
CHANNEL = "course:c1"
PARTITION = partition_of(CHANNEL, PARTITIONS)


class Path(NamedTuple):
    client: RedisClient
    broker: RedisBroker
    consumer: RedisEventConsumer
    received: asyncio.Queue[Publication | Watermark]

    async def beat(self, *channels: str) -> list[WaitingBeat]:
        """Append a beat, and return it as a worker reads it."""
        for channel in channels:
            await Presence(self.client, partitions=PARTITIONS).refresh(channel, ["page"])
        assert (await RedisBeats(self.client, partitions=PARTITIONS).append(PARTITION)).outcome == "beat"
        await run_command(self.client, keys.watermark_lease(PARTITION), "DEL", keys.watermark_lease(PARTITION))
        read = await self.consumer.read(PARTITION, keys.GROUP_POSTGRES, "w", count=10, block=timedelta(0))
        return [
            WaitingBeat(entry.entry_id, beat.at, beat.channels)
            for entry in read
            if (beat := decode_beat(entry.fields)) is not None
        ]

    async def next(self) -> Publication | Watermark:
        return await asyncio.wait_for(self.received.get(), 60)


@pytest.fixture
async def path(redis_url: str) -> AsyncIterator[Path]:
    client = connect(redis_url, name="test")
    for name in (
        keys.events_stream(PARTITION),
        keys.watermark_newest(PARTITION),
        keys.watermark_lease(PARTITION),
        keys.followed_channels(PARTITION),
    ):
        await run_command(client, name, "DEL", name)
    broker = RedisBroker(client, partitions=PARTITIONS)
    await broker.forget(CHANNEL)
    consumer = RedisEventConsumer(client, client, partitions=PARTITIONS)
    await consumer.ensure_groups()
    received: asyncio.Queue[Publication | Watermark] = asyncio.Queue()
    subscribed = asyncio.Event()

    async def listen() -> None:
        async for message in broker.listen([PARTITION], on_subscribed=lambda _: subscribed.set()):
            received.put_nowait(message)

    listening = asyncio.create_task(listen())
    await asyncio.wait_for(subscribed.wait(), 60)
    yield Path(client, broker, consumer, received)
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening
    await aclose(client)


async def test_a_watermark_follows_the_publications_that_it_counts(path: Path) -> None:
    epoch = (await path.broker.position(CHANNEL)).epoch
    await path.broker.publish(CHANNEL, [Draft("student", f"s{n}", 1, b"{}") for n in range(3)])
    [beat] = await path.beat(CHANNEL)
    advance = await RedisWatermarks(path.client).advance(PARTITION, [beat])
    assert advance.done == 1
    messages = [await path.next() for _ in range(4)]
    assert [getattr(message, "offset", None) for message in messages] == [1, 2, 3, 3]
    mark = messages[-1]
    assert isinstance(mark, Watermark)
    assert (mark.channel, mark.epoch, mark.at) == (CHANNEL, epoch, beat.at)
    assert mark.published_at >= mark.at


async def test_a_watermark_is_no_publication(path: Path) -> None:
    before = await path.broker.position(CHANNEL)
    [beat] = await path.beat(CHANNEL)
    await RedisWatermarks(path.client).advance(PARTITION, [beat])
    assert isinstance(await path.next(), Watermark)
    assert await path.broker.position(CHANNEL) == before
    history = keys.history_stream(PARTITION, CHANNEL)
    assert await run_command(path.client, history, "XLEN", history) == 0


async def test_a_published_beat_is_deleted_from_the_stream(path: Path) -> None:
    beats = await path.beat(CHANNEL)
    await RedisWatermarks(path.client).advance(PARTITION, beats)
    stream = keys.events_stream(PARTITION)
    assert await run_command(path.client, stream, "XLEN", stream) == 0


async def test_of_several_beats_the_newest_is_published_for_the_channels_of_all(path: Path) -> None:
    other = next(f"course:o{n}" for n in range(1000) if partition_of(f"course:o{n}", PARTITIONS) == PARTITION)
    for channel in (CHANNEL, other):
        await path.broker.position(channel)
    beats = [*await path.beat(CHANNEL), *await path.beat(other)]
    advance = await RedisWatermarks(path.client).advance(PARTITION, beats)
    assert advance.done == 2
    marks = [await path.next(), await path.next()]
    assert {mark.channel for mark in marks} == {CHANNEL, other}
    assert all(isinstance(mark, Watermark) and mark.at == beats[1].at for mark in marks)


async def test_many_channels_get_their_watermark_in_several_calls(path: Path) -> None:
    names = [f"course:n{n}" for n in range(6000) if partition_of(f"course:n{n}", PARTITIONS) == PARTITION][:450]
    assert len(names) == 450
    for name in names:
        await path.broker.position(name)
    [beat] = await path.beat(*names)
    await RedisWatermarks(path.client).advance(PARTITION, [beat])
    assert {(await path.next()).channel for _ in names} == set(names)


async def test_a_channel_without_a_position_gets_none(path: Path) -> None:
    [beat] = await path.beat(CHANNEL)
    assert (await RedisWatermarks(path.client).advance(PARTITION, [beat])).done == 1
    await path.broker.publish(CHANNEL, [Draft("student", "s1", 1, b"{}")])
    assert isinstance(await path.next(), Publication)


async def test_beats_without_a_valid_name_of_a_course_publish_nothing(path: Path) -> None:
    [beat] = await path.beat(CHANNEL)
    forged = WaitingBeat(beat.entry_id, beat.at, ("course:}{x", "test:t1", "course:" + "x" * 100))
    assert (await RedisWatermarks(path.client).advance(PARTITION, [forged])).done == 1
    assert path.received.empty()
