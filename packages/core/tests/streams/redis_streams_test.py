"""What can go wrong between the event streams and a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cell_monitor.embedded.valkey import EmbeddedValkey
from cell_monitor_core import keys
from cell_monitor_core.channels import partition_of
from cell_monitor_core.keys import GROUP_POSTGRES
from cell_monitor_core.records import StreamRecord, decode_entry, encode_record
from cell_monitor_core.redis_client import run_command
from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_core.streams import consumer as consumer_module
from cell_monitor_core.streams.producer import SEEN_BUCKET_SECONDS
from cell_monitor_testing.cluster import ValkeyCluster

CHANNEL = "course:c1"
PARTITION = partition_of(CHANNEL, 8)
STREAM = keys.events_stream(PARTITION)
NOW = timedelta(0)


def item(size: int = 20, event_id: bytes | None = None) -> tuple[bytes, bytes]:
    return event_id or os.urandom(16), encode_record(StreamRecord(b"p" * 16, "c1", 1, b"x" * size))


async def entry_sizes(pair: Any) -> list[int]:
    entries = await pair.consumer.read(PARTITION, GROUP_POSTGRES, "sizes", count=1000, block=NOW)
    return [len(decode_entry(entry.fields)) for entry in entries]


@pytest.fixture
async def own_server(server_folder: Path) -> AsyncIterator[EmbeddedValkey]:
    server = EmbeddedValkey(server_folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def own_pair(own_server: EmbeddedValkey, open_redis_streams: Any, sending: str) -> AsyncIterator[Any]:
    async with open_redis_streams(own_server.url) as pair:
        yield pair


async def test_concurrent_calls_share_entries(redis_pair: Any) -> None:
    await redis_pair.consumer.ensure_groups()
    await redis_pair.producer.append(CHANNEL, [item()])
    await asyncio.gather(*(redis_pair.producer.append(CHANNEL, [item()]) for _ in range(100)))
    sizes = await entry_sizes(redis_pair)
    assert sum(sizes) == 101
    assert len(sizes) <= 5
    assert max(sizes) <= 64


async def test_the_first_burst_of_a_fresh_process_is_taken_whole(redis_pair: Any) -> None:
    # Nothing is open yet, no script loaded, and more comes while both are being done.
    await redis_pair.consumer.ensure_groups()
    channels = [f"course:c{number % 12}" for number in range(600)]
    outcomes = await asyncio.gather(*(redis_pair.producer.append(channel, [item()]) for channel in channels))
    assert outcomes == [["accepted"]] * 600
    assert redis_pair.producer.buffered_bytes == 0


async def test_closing_waits_for_requests_in_flight(redis_pair: Any) -> None:
    calls = [
        asyncio.create_task(redis_pair.producer.append(f"course:c{number % 12}", [item()])) for number in range(100)
    ]
    await asyncio.sleep(0)
    await redis_pair.producer.aclose()
    assert await asyncio.gather(*calls) == [["accepted"]] * 100


async def test_big_records_do_not_make_entries_that_a_worker_cannot_hold(redis_pair: Any) -> None:
    await redis_pair.consumer.ensure_groups()
    await redis_pair.producer.append(CHANNEL, [item(60_000) for _ in range(10)])
    assert await entry_sizes(redis_pair) == [4, 4, 2]


async def test_scripts_forgotten_by_the_server_are_loaded_again(redis_pair: Any, redis_url: str) -> None:
    await redis_pair.consumer.ensure_groups()
    await redis_pair.producer.append(CHANNEL, [item()])
    await run_command(redis_pair.client, STREAM, "SCRIPT FLUSH")
    outcomes = await asyncio.gather(*(redis_pair.producer.append(CHANNEL, [item()]) for _ in range(3)))
    assert outcomes == [["accepted"]] * 3
    assert sum(await entry_sizes(redis_pair)) == 4


async def test_a_group_lost_by_flushall_is_made_again_and_loses_nothing_that_follows(redis_pair: Any) -> None:
    await redis_pair.consumer.ensure_groups()
    await redis_pair.producer.append(CHANNEL, [item()])
    await run_command(redis_pair.client, STREAM, "FLUSHALL")
    assert await redis_pair.producer.append(CHANNEL, [item()]) == ["accepted"]
    assert await redis_pair.consumer.read(PARTITION, GROUP_POSTGRES, "a", count=10, block=NOW) == []
    assert len(await redis_pair.consumer.read(PARTITION, GROUP_POSTGRES, "a", count=10, block=NOW)) == 1
    await run_command(redis_pair.client, STREAM, "FLUSHALL")
    assert await redis_pair.consumer.reclaim(PARTITION, GROUP_POSTGRES, "a", min_idle=NOW, count=10) == []


async def test_flushall_under_a_blocked_reader_does_not_end_it(redis_pair: Any) -> None:
    await redis_pair.consumer.ensure_groups()
    reader = asyncio.create_task(
        redis_pair.consumer.read(PARTITION, GROUP_POSTGRES, "a", count=10, block=timedelta(seconds=10))
    )
    while not await _blocked_clients(redis_pair):
        await asyncio.sleep(0.01)
    await run_command(redis_pair.client, STREAM, "FLUSHALL")
    await redis_pair.producer.append(CHANNEL, [item()])
    got = await asyncio.wait_for(reader, 60)
    got += await redis_pair.consumer.read(PARTITION, GROUP_POSTGRES, "a", count=10, block=NOW)
    assert len(got) == 1


async def _blocked_clients(pair: Any) -> int:
    info = await run_command(pair.client, STREAM, "INFO", "clients")
    return int(info["blocked_clients"])


async def test_ids_are_remembered_into_the_next_bucket_and_then_forgotten(
    redis_pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 10_000 * SEEN_BUCKET_SECONDS + 1.0
    monkeypatch.setattr("cell_monitor_core.streams.producer.time.time", lambda: now)
    first = item()
    assert await redis_pair.producer.append(CHANNEL, [first]) == ["accepted"]
    now += SEEN_BUCKET_SECONDS
    assert await redis_pair.producer.append(CHANNEL, [first]) == ["duplicate"]
    now += SEEN_BUCKET_SECONDS
    assert await redis_pair.producer.append(CHANNEL, [first]) == ["accepted"]


async def test_the_sets_of_seen_ids_expire_and_stay_within_their_bound(redis_pair: Any) -> None:
    producer = redis_pair.producer
    producer._bounds = (producer._bounds[0], b"3", producer._bounds[2])
    for _ in range(6):
        await redis_pair.producer.append(CHANNEL, [item()])
    bucket = int(time.time()) // SEEN_BUCKET_SECONDS
    seen = [keys.seen_set(PARTITION, number) for number in (bucket - 1, bucket)]
    sizes = [await run_command(redis_pair.client, STREAM, "SCARD", key) for key in seen]
    assert max(sizes) <= 3
    lives = [await run_command(redis_pair.client, STREAM, "TTL", key) for key in seen]
    assert max(lives) > 0
    assert -1 not in lives


async def test_a_full_server_refuses_without_keeping_a_part(redis_pair: Any) -> None:
    await redis_pair.consumer.ensure_groups()
    await redis_pair.producer.append(CHANNEL, [item()])
    sample = item()
    client = redis_pair.client
    await run_command(client, STREAM, "CONFIG SET", "maxmemory", "1")
    try:
        with pytest.raises(LogUnavailable, match="full") as caught:
            await redis_pair.producer.append(CHANNEL, [sample])
        assert caught.value.retry_after > 0
    finally:
        await run_command(client, STREAM, "CONFIG SET", "maxmemory", "0")
    assert await redis_pair.producer.append(CHANNEL, [sample]) == ["accepted"]
    assert sum(await entry_sizes(redis_pair)) == 2


async def test_a_bounded_buffer_refuses_what_is_over_it(redis_pair: Any) -> None:
    redis_pair.producer._max_buffered_bytes = 1000
    outcomes = await asyncio.gather(
        *(redis_pair.producer.append(CHANNEL, [item(300)]) for _ in range(5)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, LogUnavailable)]
    assert [error.reason for error in refused] == ["overloaded"] * 2
    assert outcomes.count(["accepted"]) == 3  # type: ignore[comparison-overlap]
    assert redis_pair.producer.buffered_bytes == 0
    assert await redis_pair.producer.append(CHANNEL, [item(300)]) == ["accepted"]


async def test_a_caller_that_gives_up_spoils_nothing_for_the_others(redis_pair: Any) -> None:
    calls = [asyncio.create_task(redis_pair.producer.append(CHANNEL, [item()])) for _ in range(3)]
    await asyncio.sleep(0)
    calls[1].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes[0] == outcomes[2] == ["accepted"]
    assert redis_pair.producer.buffered_bytes == 0


async def test_a_request_that_is_cancelled_still_answers_its_callers(
    redis_url: str, open_redis_streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cell_monitor_core.streams.node_connection.transport_of", lambda _: None)
    async with open_redis_streams(redis_url) as pair:
        await pair.producer.append(CHANNEL, [item()])
        call = asyncio.create_task(pair.producer.append(CHANNEL, [item()]))
        while not (requests := [task for task in asyncio.all_tasks() if task.get_name() == "redis-pipeline"]):
            await asyncio.sleep(0)
        for request in requests:
            request.cancel()
        with pytest.raises(LogUnavailable, match="shutting down"):
            await asyncio.wait_for(call, 60)
        assert pair.producer.buffered_bytes == 0
        assert await pair.producer.append(CHANNEL, [item()]) == ["accepted"]


async def test_consumers_long_gone_are_forgotten_unless_they_hold_something(
    redis_pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis_pair.consumer.ensure_groups()
    await redis_pair.producer.append(CHANNEL, [item()])
    await redis_pair.consumer.read(PARTITION, GROUP_POSTGRES, "holds", count=1, block=NOW)
    await redis_pair.consumer.read(PARTITION, GROUP_POSTGRES, "idle", count=1, block=timedelta(milliseconds=1))
    monkeypatch.setattr(consumer_module, "CONSUMER_IDLE", timedelta(milliseconds=-1))
    await redis_pair.consumer.reclaim(PARTITION, GROUP_POSTGRES, "me", min_idle=timedelta(hours=1), count=1)
    consumers = await run_command(redis_pair.client, STREAM, "XINFO CONSUMERS", STREAM, GROUP_POSTGRES)
    assert {consumer["name"] for consumer in consumers} <= {b"holds", b"me"}
    assert b"holds" in {consumer["name"] for consumer in consumers}


async def test_every_caller_learns_that_the_server_is_unavailable_and_its_return_is_noticed(
    own_server: EmbeddedValkey, own_pair: Any
) -> None:
    await own_pair.consumer.ensure_groups()
    await own_pair.producer.append(CHANNEL, [item()])
    own_server.kill()
    outcomes = await asyncio.wait_for(
        asyncio.gather(
            *(own_pair.producer.append(f"course:c{n}", [item()]) for n in range(30)), return_exceptions=True
        ),
        20,
    )
    assert all(isinstance(outcome, LogUnavailable) for outcome in outcomes)
    with pytest.raises(LogUnavailable):
        await own_pair.consumer.read(PARTITION, GROUP_POSTGRES, "a", count=1, block=NOW)
    own_server.start()
    assert await own_pair.producer.append(CHANNEL, [item()]) == ["accepted"]


async def test_callers_learn_that_redis_is_unavailable_before_the_topology_is_asked_for(
    own_server: EmbeddedValkey, own_pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await own_pair.producer.append(CHANNEL, [item()])
    looked, continued = asyncio.Event(), asyncio.Event()

    async def slow_refresh() -> None:
        looked.set()
        await continued.wait()

    monkeypatch.setattr(own_pair.producer._nodes, "refresh", slow_refresh)
    own_server.kill()
    with pytest.raises(LogUnavailable, match="unavailable"):
        await asyncio.wait_for(own_pair.producer.append(CHANNEL, [item()]), 60)
    await asyncio.wait_for(looked.wait(), 60)
    continued.set()


async def test_a_server_that_hangs_is_an_error_and_not_a_hang(
    own_server: EmbeddedValkey, own_pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cell_monitor_core.streams import node_connection

    monkeypatch.setattr(node_connection, "_REQUEST_SECONDS", 0.3)
    await own_pair.producer.append(CHANNEL, [item()])
    sample = item()
    await run_command(own_pair.client, STREAM, "CLIENT PAUSE", 1500, "ALL")
    with pytest.raises(LogUnavailable, match="does not answer"):
        await asyncio.wait_for(own_pair.producer.append(CHANNEL, [sample]), 60)
    # A record with an unknown result is sent again: it is new or a duplicate, never stored twice.
    deadline = time.monotonic() + 60
    while True:
        try:
            outcome = await own_pair.producer.append(CHANNEL, [sample])
            break
        except LogUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    assert outcome in (["accepted"], ["duplicate"])


async def test_what_was_accepted_survives_a_restart_of_the_server(own_server: EmbeddedValkey, own_pair: Any) -> None:
    await own_pair.consumer.ensure_groups()
    known = item()
    await own_pair.producer.append(CHANNEL, [known])
    own_server.stop()
    own_server.start()
    assert await own_pair.producer.append(CHANNEL, [known]) == ["duplicate"]
    assert len(await own_pair.consumer.read(PARTITION, GROUP_POSTGRES, "a", count=10, block=NOW)) == 1


@pytest.fixture
def own_cluster(server_folder: Path) -> Iterator[ValkeyCluster]:
    cluster = ValkeyCluster(server_folder)
    cluster.start()
    yield cluster
    cluster.stop()


async def test_a_lost_master_stops_only_its_own_partitions(
    own_cluster: ValkeyCluster, open_redis_streams: Any, sending: str
) -> None:
    async with open_redis_streams(own_cluster.url) as pair:
        producer = pair.producer
        channels = [f"course:c{number}" for number in range(60)]
        await asyncio.gather(*(producer.append(channel, [item()]) for channel in channels))
        own_cluster.nodes[0].kill()
        outcomes = await asyncio.wait_for(
            asyncio.gather(*(producer.append(channel, [item()]) for channel in channels), return_exceptions=True), 30
        )
        assert {type(outcome) for outcome in outcomes} == {list, LogUnavailable}
        reasons = {outcome.reason for outcome in outcomes if isinstance(outcome, LogUnavailable)}
        assert reasons <= {"Redis is unavailable", "Redis does not answer"}
        own_cluster.nodes[0].start()
        own_cluster.wait_ready()
        deadline = time.monotonic() + 60
        while True:
            outcomes = await asyncio.gather(
                *(producer.append(channel, [item()]) for channel in channels), return_exceptions=True
            )
            if all(outcome == ["accepted"] for outcome in outcomes):
                break
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


def _direct(node: EmbeddedValkey) -> Any:
    return node.client()


async def test_a_slot_that_moves_loses_nothing(
    own_cluster: ValkeyCluster, open_redis_streams: Any, sending: str
) -> None:
    from redis.crc import key_slot

    async with open_redis_streams(own_cluster.url) as pair:
        client = pair.client
        await pair.consumer.ensure_groups()
        sent = [item() for _ in range(20)]
        for one in sent[:10]:
            assert await pair.producer.append(CHANNEL, [one]) == ["accepted"]
        slot = key_slot(STREAM.encode())
        source = client.get_node_from_key(STREAM)
        assert source is not None
        by_port = {node.port: _direct(node) for node in own_cluster.nodes}
        target_port = next(port for port in by_port if port != source.port)
        ids = {port: direct.execute_command("CLUSTER", "MYID").decode() for port, direct in by_port.items()}
        by_port[target_port].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        by_port[source.port].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target_port])
        names = by_port[source.port].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        by_port[source.port].execute_command(
            "MIGRATE", "127.0.0.1", target_port, "", 0, 5000, "AUTH", "cluster-password", "KEYS", *names
        )
        # Between the two owners a script with missing keys is refused with a reason; no record is lost.
        for one in sent[10:15]:
            with contextlib.suppress(LogUnavailable):
                assert await pair.producer.append(CHANNEL, [one]) == ["accepted"]
        for port in (target_port, source.port):
            by_port[port].execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[target_port])
        # Now MOVED.
        for one in sent[15:]:
            assert await pair.producer.append(CHANNEL, [one]) == ["accepted"]
        for one in sent[10:15]:
            assert await pair.producer.append(CHANNEL, [one]) in (["accepted"], ["duplicate"])
        for one in sent:
            assert await pair.producer.append(CHANNEL, [one]) == ["duplicate"]
        assert sum(await entry_sizes(pair)) == 20


def test_partitions_spread_over_the_masters_of_a_cluster() -> None:
    from redis.crc import key_slot

    for partitions in (8, 16, 32, 64):
        slots = [key_slot(keys.events_stream(partition).encode()) for partition in range(partitions)]
        for masters in (2, 3, 4, 6):
            owned = [0] * masters
            for slot in slots:
                owned[slot * masters // 16384] += 1
            assert max(owned) - min(owned) <= 1, (partitions, masters, owned)


def test_all_keys_of_a_partition_are_in_one_slot() -> None:
    from redis.crc import key_slot

    for partition in range(keys.MAX_PARTITIONS):
        names = [
            keys.events_stream(partition),
            keys.seen_set(partition, 7),
            keys.publication_channel(partition),
            keys.publication_meta(partition, "course:x"),
            keys.history_stream(partition, "course:x"),
            keys.publication_versions(partition, "course:x"),
            keys.presence_zset(partition, "course:x"),
            keys.test_progress(partition, "x", b"p" * 16),
        ]
        assert len({key_slot(name.encode()) for name in names}) == 1
