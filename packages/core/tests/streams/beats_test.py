"""Hazards: beats that nobody appends, that cost where nobody looks, that fill the stream, or that an older worker stores."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from cell_monitor_core import keys
from cell_monitor_core.channels import partition_of
from cell_monitor_core.presence import Presence
from cell_monitor_core.records import Beat, decode_beat, decode_entry
from cell_monitor_core.redis_client import RedisClient, aclose, connect, run_command
from cell_monitor_core.streams.beats import RedisBeats
from cell_monitor_core.streams.consumer import RedisEventConsumer
from cell_monitor_core.streams.producer import RedisEventProducer

PARTITIONS = 8
CHANNEL = "course:c1"
PARTITION = partition_of(CHANNEL, PARTITIONS)
STREAM = keys.events_stream(PARTITION)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[RedisClient]:
    made = connect(redis_url, name="test")
    names = (STREAM, keys.watermark_lease(PARTITION), keys.followed_channels(PARTITION))
    for name in names:
        await run_command(made, name, "DEL", name)
    yield made
    await aclose(made)


async def follow(client: RedisClient, *channels: str) -> None:
    for channel in channels:
        await Presence(client, partitions=PARTITIONS).refresh(channel, ["page"])


async def entries(client: RedisClient) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in await run_command(client, STREAM, "XRANGE", STREAM, "-", "+")]


async def now_ms(client: RedisClient) -> int:
    seconds, microseconds = await run_command(client, STREAM, "TIME")
    return int(seconds) * 1000 + int(microseconds) // 1000


async def test_a_beat_names_the_followed_courses_and_the_time_of_redis(client: RedisClient) -> None:
    await follow(client, CHANNEL)
    before = await now_ms(client)
    assert (await RedisBeats(client, partitions=PARTITIONS).append(PARTITION)).outcome == "beat"
    [fields] = await entries(client)
    beat = decode_beat(fields)
    assert beat is not None
    assert beat.channels == (CHANNEL,)
    assert before <= beat.at <= await now_ms(client)


async def test_a_worker_of_an_earlier_release_finds_no_event_in_a_beat(client: RedisClient) -> None:
    await follow(client, CHANNEL)
    await RedisBeats(client, partitions=PARTITIONS).append(PARTITION)
    [fields] = await entries(client)
    # Its decode_entry is this one: it reads v and b.
    assert decode_entry(fields) == []


async def test_a_course_that_nobody_follows_gets_none(client: RedisClient) -> None:
    beats = RedisBeats(client, partitions=PARTITIONS)
    assert (await beats.append(PARTITION)).outcome == "idle"
    presence = Presence(client, partitions=PARTITIONS)
    await presence.refresh(CHANNEL, ["one", "two"])
    await presence.leave(CHANNEL, ["one"])
    assert (await beats.append(PARTITION)).outcome == "beat"
    await presence.leave(CHANNEL, ["two"])
    beats._due_at.clear()
    assert (await beats.append(PARTITION)).outcome == "idle"


async def test_a_course_that_a_dead_gateway_followed_gets_none_once_its_presence_expires(client: RedisClient) -> None:
    await Presence(client, partitions=PARTITIONS, ttl=60).refresh(CHANNEL, ["page"])
    followed = keys.followed_channels(PARTITION)
    await run_command(client, followed, "ZADD", followed, 1, CHANNEL)
    assert (await RedisBeats(client, partitions=PARTITIONS).append(PARTITION)).outcome == "idle"


async def test_a_channel_of_test_mode_gets_none(client: RedisClient) -> None:
    channel = next(f"test:t{n}" for n in range(1000) if partition_of(f"test:t{n}", PARTITIONS) == PARTITION)
    await follow(client, channel)
    assert (await RedisBeats(client, partitions=PARTITIONS).append(PARTITION)).outcome == "idle"


async def test_only_the_holder_of_the_lease_appends(client: RedisClient) -> None:
    await follow(client, CHANNEL)
    first, second = (RedisBeats(client, partitions=PARTITIONS) for _ in range(2))
    assert (await first.append(PARTITION)).outcome == "beat"
    refused = await second.append(PARTITION)
    assert refused.outcome == "held"
    assert 0 < refused.wait_s <= 2
    assert len(await entries(client)) == 1


async def test_the_lease_of_a_process_that_stops_goes_to_another_one(client: RedisClient) -> None:
    await follow(client, CHANNEL)
    frozen = RedisBeats(client, partitions=PARTITIONS, lease=timedelta(milliseconds=50))
    other = RedisBeats(client, partitions=PARTITIONS)
    await frozen.append(PARTITION)
    while (reply := await other.append(PARTITION)).outcome == "held":
        await asyncio.sleep(reply.wait_s)
    assert reply.outcome == "beat"
    assert (await frozen.append(PARTITION)).outcome == "held"


async def test_a_released_lease_is_free_and_another_one_is_kept(client: RedisClient) -> None:
    await follow(client, CHANNEL)
    first, second = (RedisBeats(client, partitions=PARTITIONS) for _ in range(2))
    await first.append(PARTITION)
    await second.release(PARTITION)
    assert (await second.append(PARTITION)).outcome == "held"
    await first.release(PARTITION)
    assert (await second.append(PARTITION)).outcome == "beat"


async def test_a_full_stream_takes_no_beat_and_beats_take_no_place_of_events(client: RedisClient) -> None:
    await follow(client, CHANNEL)
    producer = RedisEventProducer(client, partitions=PARTITIONS, max_backlog_entries=4)
    beats = RedisBeats(client, partitions=PARTITIONS, max_entries=2)
    try:
        for _ in range(2):
            await producer.append(CHANNEL, [(uuid.uuid4().bytes, b"\xc0")])
        assert (await beats.append(PARTITION)).outcome == "full"
        for _ in range(2):
            assert await producer.append(CHANNEL, [(uuid.uuid4().bytes, b"\xc0")]) == ["accepted"]
    finally:
        await producer.aclose()


async def test_beats_become_rarer_as_the_backlog_grows(client: RedisClient) -> None:
    await follow(client, CHANNEL)
    # An hour old: nobody has read it.
    await run_command(client, STREAM, "XADD", STREAM, f"{await now_ms(client) - 3_600_000}-0", "v", "1", "b", b"\x90")
    beats = RedisBeats(client, partitions=PARTITIONS)
    assert (await beats.append(PARTITION)).outcome == "beat"
    assert (await beats.append(PARTITION)).outcome == "later"
    wait = beats._due_at[PARTITION] - asyncio.get_running_loop().time()
    # A thirtieth of an hour.
    assert 100 < wait <= 120


async def test_deleted_beats_do_not_confuse_the_backlog_of_a_group_that_has_not_read_them(client: RedisClient) -> None:
    consumer = RedisEventConsumer(client, client, partitions=PARTITIONS)
    await consumer.ensure_groups()
    producer = RedisEventProducer(client, partitions=PARTITIONS)
    await follow(client, CHANNEL)
    try:
        for _ in range(3):
            await producer.append(CHANNEL, [(uuid.uuid4().bytes, b"\xc0")])
        await RedisBeats(client, partitions=PARTITIONS).append(PARTITION)
        read = await consumer.read(PARTITION, keys.GROUP_POSTGRES, "w", count=10, block=timedelta(0))
        await consumer.acknowledge(PARTITION, keys.GROUP_POSTGRES, [entry.entry_id for entry in read])
        await run_command(client, STREAM, "XDEL", STREAM, read[-1].entry_id)
        assert (await consumer.lag(PARTITION, keys.GROUP_TIMESERIES))[0] == 3
        assert (await consumer.lag(PARTITION, keys.GROUP_POSTGRES))[0] == 0
        await consumer.read(PARTITION, keys.GROUP_TIMESERIES, "w", count=2, block=timedelta(0))
        assert (await consumer.lag(PARTITION, keys.GROUP_TIMESERIES))[0] == 3
    finally:
        await producer.aclose()


@pytest.mark.parametrize(
    "fields",
    [
        {b"b": b"\x90"},
        {b"b": b"\x91\xc0", b"w": b"1\ncourse:c1"},
        {b"b": b"\x90", b"w": b""},
        {b"b": b"\x90", b"w": b"\xff\xfe"},
        {b"b": b"\x90", b"w": b"-1\ncourse:c1"},
        {b"b": b"\x90", b"w": b"1e3"},
        {b"b": b"\x90", b"w": b"9" * 400_000},
        {b"b": b"\x90", b"w": "\N{ARABIC-INDIC DIGIT ONE}".encode()},
    ],
)
def test_what_is_no_beat_of_this_form_is_none(fields: dict[bytes, bytes]) -> None:
    assert decode_beat(fields) is None


def test_a_beat_without_channels_is_read() -> None:
    assert decode_beat({b"b": b"\x90", b"w": b"17"}) == Beat(17, ())
