"""Hazards of the broker on a real Redis: restarts, lost connections, moved slots, expired keys."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cell_monitor.embedded.valkey import EmbeddedValkey
from cell_monitor_core import keys
from cell_monitor_core.broker import listener as listener_module
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.channels import partition_of
from cell_monitor_core.presence import Presence
from cell_monitor_core.publications import Publication
from cell_monitor_core.redis_client import aclose, connect, run_command
from cell_monitor_core.storage.ports import Draft, StoreUnavailable

CHANNEL = "course:c1"
PARTITION = partition_of(CHANNEL, 8)


def draft(version: int, key: str = "s1") -> Draft:
    return Draft("student", key, version, b"{}")


class Recorder:
    """A listener that records publications and the number of subscriptions of each partition."""

    def __init__(self, broker: RedisBroker) -> None:
        self.received: asyncio.Queue[Publication] = asyncio.Queue()
        self.subscribed: asyncio.Queue[list[int]] = asyncio.Queue()
        self.task = asyncio.create_task(self._pump(broker))

    async def _pump(self, broker: RedisBroker) -> None:
        async for publication in broker.listen(range(8), on_subscribed=self._note):
            self.received.put_nowait(publication)

    def _note(self, partitions: Sequence[int]) -> None:
        self.subscribed.put_nowait(list(partitions))

    async def until_all_subscribed(self) -> None:
        subscribed: set[int] = set()
        while len(subscribed) < 8:
            subscribed |= set(await asyncio.wait_for(self.subscribed.get(), 60))

    async def until_subscribed(self, partition: int) -> None:
        while partition not in await asyncio.wait_for(self.subscribed.get(), 60):
            pass

    async def close(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture
async def own_server(server_folder: Path) -> AsyncIterator[EmbeddedValkey]:
    server = EmbeddedValkey(server_folder)
    server.start()
    yield server
    server.stop()


async def test_a_restarted_server_starts_a_new_epoch_so_that_no_offset_is_reused(
    own_server: EmbeddedValkey,
) -> None:
    client = connect(own_server.url, name="test")
    broker = RedisBroker(client)
    try:
        await broker.publish(CHANNEL, [draft(1), draft(2)])
        before = await broker.position(CHANNEL)
        own_server.kill()
        with pytest.raises(StoreUnavailable):
            await broker.publish(CHANNEL, [draft(3)])
        own_server.start()
        recovery = await broker.recover(CHANNEL, before.epoch, before.offset, limit=10)
        assert not recovery.recovered
        assert recovery.epoch != before.epoch
        after = await broker.position(CHANNEL)
        assert (after.epoch, after.offset) == (recovery.epoch, 0)
        # Versions survive the restart: published states are not published again, newer ones are.
        assert await broker.publish(CHANNEL, [draft(2), draft(3)]) == 1
        assert (await broker.recover(CHANNEL, after.epoch, 0, limit=10)).recovered
    finally:
        await aclose(client)


async def test_a_listener_subscribes_again_after_a_restart_and_reports_it(own_server: EmbeddedValkey) -> None:
    client = connect(own_server.url, name="test")
    broker = RedisBroker(client)
    recorder = Recorder(broker)
    try:
        await recorder.until_all_subscribed()
        own_server.kill()
        own_server.start()
        await recorder.until_all_subscribed()
        await broker.publish(CHANNEL, [draft(1)])
        assert (await asyncio.wait_for(recorder.received.get(), 60)).offset == 1
    finally:
        await recorder.close()
        await aclose(client)


async def test_a_listener_whose_connection_is_cut_subscribes_again(redis_broker: RedisBroker) -> None:
    recorder = Recorder(redis_broker)
    try:
        await recorder.until_all_subscribed()
        channel = keys.publication_channel(PARTITION)
        await run_command(redis_broker._client, channel, "CLIENT KILL", "TYPE", "pubsub")
        await recorder.until_subscribed(PARTITION)
        await redis_broker.publish(CHANNEL, [draft(1)])
        assert (await asyncio.wait_for(recorder.received.get(), 60)).offset == 1
    finally:
        await recorder.close()


async def test_an_idle_listener_stays_subscribed(redis_broker: RedisBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "_PING_SECONDS", 0.05)
    monkeypatch.setattr(listener_module, "_SILENCE_SECONDS", 5.0)
    recorder = Recorder(redis_broker)
    try:
        await recorder.until_all_subscribed()
        channel = keys.publication_channel(PARTITION)
        before = await _pings(redis_broker, channel)
        while await _pings(redis_broker, channel) < before + 5:
            await asyncio.sleep(0.02)
        assert recorder.subscribed.empty()
        await redis_broker.publish(CHANNEL, [draft(1)])
        assert (await asyncio.wait_for(recorder.received.get(), 60)).offset == 1
    finally:
        await recorder.close()


async def _pings(broker: RedisBroker, channel: str) -> int:
    stats = await run_command(broker._client, channel, "INFO", "commandstats")
    return int(stats.get("cmdstat_ping", {}).get("calls", 0))


async def test_an_unresponsive_connection_is_replaced(
    own_server: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "_PING_SECONDS", 0.05)
    monkeypatch.setattr(listener_module, "_SILENCE_SECONDS", 0.3)
    client = connect(own_server.url, name="test")
    recorder = Recorder(RedisBroker(client))
    try:
        await recorder.until_all_subscribed()
        # The server receives commands and does not answer, as in a network that drops packets.
        await run_command(client, "x", "CLIENT PAUSE", 1500, "ALL")
        await recorder.until_all_subscribed()
    finally:
        await recorder.close()
        await aclose(client)


async def test_a_listener_follows_a_slot_to_its_new_master(server_folder: Path) -> None:
    from redis.crc import key_slot

    from cell_monitor_testing.cluster import ValkeyCluster

    cluster = ValkeyCluster(server_folder)
    cluster.start()
    client = connect(cluster.url, name="test")
    broker = RedisBroker(client)
    recorder = Recorder(broker)
    try:
        await recorder.until_all_subscribed()
        channel = keys.publication_channel(PARTITION)
        slot = key_slot(channel.encode())
        source: Any = client.get_node_from_key(channel)  # type: ignore[union-attr]
        direct = {node.port: node.client() for node in cluster.nodes}
        target = next(port for port in direct if port != source.port)
        target_id = direct[target].execute_command("CLUSTER", "MYID").decode()
        for port in (target, source.port):
            direct[port].execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        await recorder.until_subscribed(PARTITION)
        await broker.publish(CHANNEL, [draft(1)])
        publication = await asyncio.wait_for(recorder.received.get(), 60)
        assert publication.channel == CHANNEL
        for connection in direct.values():
            connection.close()
    finally:
        await recorder.close()
        await aclose(client)
        cluster.stop()


async def test_a_lost_offset_deletes_the_old_history(redis_broker: RedisBroker) -> None:
    await redis_broker.publish(CHANNEL, [draft(n, f"s{n}") for n in range(1, 6)])
    before = await redis_broker.position(CHANNEL)
    meta = keys.publication_meta(PARTITION, CHANNEL)
    await run_command(redis_broker._client, meta, "DEL", meta)
    await redis_broker.publish(CHANNEL, [draft(9, "s9")])
    after = await redis_broker.position(CHANNEL)
    assert after.epoch != before.epoch
    recovery = await redis_broker.recover(CHANNEL, after.epoch, 0, limit=100)
    assert [publication.offset for publication in recovery.publications] == [1]
    assert not (await redis_broker.recover(CHANNEL, before.epoch, 5, limit=100)).recovered


async def test_all_keys_of_a_channel_expire(redis_broker: RedisBroker) -> None:
    await redis_broker.publish(CHANNEL, [draft(1)])
    for key in (
        keys.publication_meta(PARTITION, CHANNEL),
        keys.history_stream(PARTITION, CHANNEL),
        keys.publication_versions(PARTITION, CHANNEL),
    ):
        assert await run_command(redis_broker._client, key, "TTL", key) > 0


async def test_recovery_from_an_expired_history_is_refused_and_not_empty(redis_broker: RedisBroker) -> None:
    await redis_broker.publish(CHANNEL, [draft(1)])
    epoch = (await redis_broker.position(CHANNEL)).epoch
    history = keys.history_stream(PARTITION, CHANNEL)
    await run_command(redis_broker._client, history, "DEL", history)
    assert not (await redis_broker.recover(CHANNEL, epoch, 0, limit=10)).recovered
    assert (await redis_broker.recover(CHANNEL, epoch, 1, limit=10)).recovered


async def test_presence_counts_connections_until_they_leave_or_expire(redis_url: str) -> None:
    client = connect(redis_url, name="test")
    presence = Presence(client, ttl=60)
    try:
        await presence.refresh(CHANNEL, [f"c{n}" for n in range(1500)])
        await presence.refresh(CHANNEL, ["c0"])
        assert await presence.count(CHANNEL) == 1500
        await presence.leave(CHANNEL, [f"c{n}" for n in range(1, 1500)])
        assert await presence.count(CHANNEL) == 1
        assert await presence.count("course:other") == 0
        await Presence(client, ttl=-1).refresh("course:dead", ["gone"])
        key = keys.presence_zset(PARTITION, CHANNEL)
        await run_command(client, key, "ZADD", key, 1, "died-long-ago")
        assert await presence.count(CHANNEL) == 1
    finally:
        await aclose(client)


async def test_an_invalid_redis_url_is_refused_without_showing_its_password() -> None:
    with pytest.raises(ValueError, match="redis://") as caught:
        connect("http://:sesame@host", name="test")
    assert "sesame" not in str(caught.value)
