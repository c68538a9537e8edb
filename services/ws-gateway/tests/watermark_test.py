"""Hazard: a watermark does not reach the page through a running gateway, or reaches it before what it counts."""

from __future__ import annotations

import asyncio
from typing import Any

from cell_monitor_core import keys
from cell_monitor_core.broker.watermarks import RedisWatermarks, WaitingBeat
from cell_monitor_core.channels import partition_of
from cell_monitor_core.records import decode_beat
from cell_monitor_core.redis_client import RedisClient, run_command
from cell_monitor_core.streams.beats import RedisBeats
from cell_monitor_core.streams.consumer import RedisEventConsumer

CHANNEL = "course:c1"
PARTITION = partition_of(CHANNEL, 8)


async def read_beats(client: RedisClient) -> list[WaitingBeat]:
    """Append a beat, which the gateway's presence asks for, and read the stream as a worker does."""
    beats = RedisBeats(client, partitions=8)
    async with asyncio.timeout(60):
        while (await beats.append(PARTITION)).outcome != "beat":
            await asyncio.sleep(0.02)
    await beats.release(PARTITION)
    stream = keys.events_stream(PARTITION)
    consumer = RedisEventConsumer(client, client, partitions=8)
    await consumer.ensure_groups()
    command = ("XREADGROUP", "GROUP", keys.GROUP_POSTGRES, "w", "COUNT", 100, "STREAMS", stream, ">")
    reply = await run_command(client, stream, *command)
    return [
        WaitingBeat(entry_id.decode(), beat.at, beat.channels)
        for _, entries in reply
        for entry_id, fields in entries
        if (beat := decode_beat(fields)) is not None
    ]


async def test_a_page_gets_the_watermark_after_the_publications_that_it_counts(
    gateway: Any, connect_client: Any, publisher: Any
) -> None:
    page = await connect_client(gateway)
    reply = await page.request("subscribe", **await publisher.position())
    assert reply["recovered"] is True
    client = publisher.broker._client
    await publisher.publish(3)
    await RedisWatermarks(client).advance(PARTITION, await read_beats(client))
    published: list[int] = []
    while (frame := await page.next_frame())["type"] != "watermark":
        published += [one["offset"] for one in frame["publications"]]
    assert published == [reply["offset"] + number for number in (1, 2, 3)]
    assert frame["channel"] == CHANNEL
    assert (frame["epoch"], frame["offset"]) == (reply["epoch"], published[-1])
    assert 0 <= frame["published_at"] - frame["at"] < 20_000


async def test_the_gateway_says_that_it_sends_watermarks(gateway: Any, connect_client: Any, authority: Any) -> None:
    page = await connect_client(gateway, token=None)
    reply = await page.request("connect", token=authority.token())
    assert reply["watermarks"] is True
