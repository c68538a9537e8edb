"""Hazard: a watching client misses publications without notice, through restarts, gaps, slow neighbours and drains."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from cell_monitor.embedded.valkey import EmbeddedValkey
from cell_monitor_core import keys
from cell_monitor_core.channels import partition_of
from cell_monitor_core.redis_client import run_command


class Watcher:
    """Follows a channel until cancelled, by the contract; fails at the first offset that does not follow the one before."""

    def __init__(self, gateway: Any, authority: Any, position: dict[str, Any]) -> None:
        self.gateway = gateway
        self.authority = authority
        self.position = position
        self.versions: list[int] = []
        self.recovered = 0
        self.snapshots_needed = 0
        self.live = asyncio.Event()
        self.snapshot: Any = None
        self.codes: list[int] = []

    async def run(self) -> None:
        while True:
            try:
                await self._follow()
            except (OSError, InvalidHandshake, TimeoutError):
                pass
            except ConnectionClosed as end:
                self.codes.append(end.rcvd.code if end.rcvd is not None else 1006)
            self.live.clear()
            await asyncio.sleep(0.05)

    async def _follow(self) -> None:
        async with connect(self.gateway.url, subprotocols=["cell-monitor.v1"]) as socket:  # type: ignore[list-item]
            await socket.send(json.dumps({"type": "connect", "id": 1, "token": self.authority.token()}))
            assert json.loads(await asyncio.wait_for(socket.recv(), 60))["type"] == "connected"
            await socket.send(json.dumps({"type": "subscribe", "id": 2, **self.position}))
            reply = json.loads(await asyncio.wait_for(socket.recv(), 60))
            if reply["type"] == "disconnect":
                return
            assert reply["type"] == "subscribed", reply
            if not reply["recovered"]:
                assert reply["publications"] == []
                self.snapshots_needed += 1
                self.position = await self.snapshot()
                return
            self.recovered += 1
            self._take(reply["publications"])
            assert reply["offset"] == self.position["offset"]
            self.live.set()
            async for text in socket:
                frame = json.loads(text)
                if frame["type"] == "publications":
                    self._take(frame["publications"])
                elif frame["type"] == "ping":
                    await socket.send('{"type":"pong"}')

    def _take(self, publications: list[dict[str, Any]]) -> None:
        for publication in publications:
            assert publication["epoch"] == self.position["epoch"]
            assert publication["offset"] == self.position["offset"] + 1, "a gap without notice"
            self.position = self.position | {"offset": publication["offset"]}
            self.versions.append(publication["state"]["version"])

    async def until(self, version: int) -> None:
        deadline = time.monotonic() + 60
        while not self.versions or self.versions[-1] < version:
            assert time.monotonic() < deadline, (self.versions[-5:], version)
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def watching(gateway: Any, authority: Any, publisher: Any) -> AsyncIterator[Watcher]:
    watcher = Watcher(gateway, authority, await publisher.position())
    watcher.snapshot = publisher.position
    task = asyncio.create_task(watcher.run())
    try:
        await asyncio.wait_for(watcher.live.wait(), 60)
        yield watcher
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_live_publications_come_complete_and_in_order(gateway: Any, authority: Any, publisher: Any) -> None:
    async with watching(gateway, authority, publisher) as watcher:
        await publisher.publish(50)
        await publisher.publish(300, together=True)
        await watcher.until(350)
        assert watcher.versions == list(range(1, 351))


async def test_publications_of_one_window_share_a_frame(
    start_gateway: Any, connect_client: Any, publisher: Any, valkey: str
) -> None:
    gateway = await start_gateway(valkey, gateway_coalesce_ms=1000)
    client = await connect_client(gateway)
    await client.request("subscribe", channel="course:c1")
    await publisher.publish()
    await client.publications(1)
    await publisher.publish(20)
    sizes = []
    while sum(sizes) < 20:
        frame = await client.next_frame()
        sizes.append(len(frame["publications"]))
    # Twenty without it. On a busy machine they may be published in several windows.
    assert len(sizes) <= 6


async def test_a_subscriber_recovers_exactly_what_it_missed(gateway: Any, connect_client: Any, publisher: Any) -> None:
    position = await publisher.position()
    await publisher.publish(30)
    client = await connect_client(gateway)
    reply = await client.request("subscribe", **position | {"offset": 10})
    assert reply["recovered"]
    assert [one["offset"] for one in reply["publications"]] == list(range(11, 31))
    assert (reply["epoch"], reply["offset"]) == (position["epoch"], 30)


@pytest.mark.parametrize("change", [{"epoch": "other"}, {"offset": 31}, {"offset": 100_000}])
async def test_a_position_that_does_not_exist_is_refused_whole_and_not_followed(
    gateway: Any, connect_client: Any, publisher: Any, change: dict[str, Any]
) -> None:
    await publisher.publish(30)
    client = await connect_client(gateway)
    position = await publisher.position()
    reply = await client.request("subscribe", **position | change)
    assert (reply["recovered"], reply["publications"]) == (False, [])
    assert (reply["epoch"], reply["offset"]) == (position["epoch"], 30)
    await publisher.publish()
    # Nothing that follows is sent to a client that lacks what came before.
    reply = await client.request("subscribe", **position)
    assert reply["recovered"]
    assert client.frames == []
    assert len(reply["publications"]) == 1


async def test_more_than_can_be_recovered_is_refused_whole(
    start_gateway: Any, connect_client: Any, publisher: Any, valkey: str
) -> None:
    gateway = await start_gateway(valkey, gateway_recovery_publications=10)
    position = await publisher.position()
    await publisher.publish(11)
    client = await connect_client(gateway)
    assert not (await client.request("subscribe", **position))["recovered"]
    assert (await client.request("subscribe", **position | {"offset": 1}))["recovered"]


async def test_after_unsubscribing_nothing_more_comes(gateway: Any, connect_client: Any, publisher: Any) -> None:
    client = await connect_client(gateway)
    await client.request("subscribe", channel="course:c1")
    await client.request("unsubscribe", channel="course:c1")
    await publisher.publish(3)
    await client.request("presence", channel="course:c1")
    assert client.frames == []


async def test_subscribing_while_publications_stream_leaves_no_gap_and_no_duplicate(
    gateway: Any, authority: Any, publisher: Any
) -> None:
    stop = asyncio.Event()

    async def stream() -> None:
        while not stop.is_set():
            await publisher.publish(3, together=True)

    async with watching(gateway, authority, publisher) as first:
        streaming = asyncio.create_task(stream())
        for _ in range(15):
            async with watching(gateway, authority, publisher) as late:
                await late.until(publisher.versions)
                assert late.versions == sorted(set(late.versions))
                assert late.recovered == 1
        stop.set()
        await streaming
        await first.until(publisher.versions)
        assert first.versions == list(range(1, publisher.versions + 1))
        assert first.recovered == 1


async def test_a_gateway_that_is_killed_and_started_again_leaves_no_gap(
    gateway: Any, authority: Any, publisher: Any
) -> None:
    async with watching(gateway, authority, publisher) as watcher:
        await publisher.publish(20)
        gateway.process.kill()
        await publisher.publish(20)
        await gateway.process.start()
        await publisher.publish(20)
        await watcher.until(60)
        assert watcher.versions == list(range(1, 61))
        assert watcher.recovered >= 2
        assert watcher.snapshots_needed == 0


async def test_a_cut_subscription_to_redis_is_filled_from_the_history(
    start_gateway: Any, authority: Any, publisher: Any, valkey: str
) -> None:
    # No routine check, and nothing is published after the last cut: the subscription itself has to look back.
    gateway = await start_gateway(valkey, gateway_position_check_s=600)
    async with watching(gateway, authority, publisher) as watcher:
        await publisher.publish(5)
        await watcher.until(5)
        for _ in range(5):
            await run_command(publisher.broker._client, "x", "CLIENT KILL", "TYPE", "pubsub")
            await publisher.publish(7)
        await watcher.until(40)
        assert watcher.versions == list(range(1, 41))
        assert watcher.codes == []


async def test_a_lost_message_is_noticed_by_the_next_one(gateway: Any, authority: Any, publisher: Any) -> None:
    async with watching(gateway, authority, publisher) as watcher:
        await publisher.publish(5)
        await watcher.until(5)
        await lose_messages(publisher, 4)
        await publisher.publish(1)
        await watcher.until(10)
        assert watcher.versions == list(range(1, 11))
        assert watcher.codes == []


async def lose_messages(publisher: Any, count: int) -> None:
    """Publish what reaches the history and no subscriber, as a lossy Pub/Sub does."""
    tag = keys.partition_tag(partition_of("course:c1", 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "publication_channel", lambda _: f"cm:{tag}:nobody")
        await publisher.publish(count)


async def test_a_lost_last_message_is_noticed_by_the_position_check(
    start_gateway: Any, authority: Any, publisher: Any, valkey: str
) -> None:
    gateway = await start_gateway(valkey, gateway_position_check_s=0.3)
    async with watching(gateway, authority, publisher) as watcher:
        await publisher.publish(5)
        await lose_messages(publisher, 4)
        await watcher.until(9)
        assert watcher.versions == list(range(1, 10))


async def test_a_gap_that_cannot_be_filled_sends_the_client_to_its_snapshot(
    gateway: Any, authority: Any, publisher: Any
) -> None:
    async with watching(gateway, authority, publisher) as watcher:
        await publisher.publish(3)
        await watcher.until(3)
        await lose_messages(publisher, 2)
        history = keys.history_stream(partition_of("course:c1", 8), "course:c1")
        await run_command(publisher.broker._client, history, "DEL", history)
        await publisher.publish(1)
        deadline = time.monotonic() + 60
        while not watcher.snapshots_needed or not watcher.live.is_set():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert 3010 in watcher.codes
        await publisher.publish(1)
        await watcher.until(7)


@pytest.fixture
async def own_valkey(server_folder: Path) -> AsyncIterator[EmbeddedValkey]:
    server = EmbeddedValkey(server_folder)
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_a_restarted_redis_means_recovery_or_a_snapshot_and_never_a_gap_without_notice(
    start_gateway: Any, authority: Any, own_valkey: EmbeddedValkey, publisher_of: Any, ending: str
) -> None:
    gateway = await start_gateway(own_valkey.url, gateway_position_check_s=0.5)
    async with publisher_of(own_valkey.url) as publisher, watching(gateway, authority, publisher) as watcher:
        await publisher.publish(10)
        await watcher.until(10)
        getattr(own_valkey, ending)()
        own_valkey.start()
        await publisher.publish(10)
        newest = publisher.versions
        deadline = time.monotonic() + 60
        while watcher.versions[-1] < newest and not (watcher.snapshots_needed and watcher.live.is_set()):
            assert time.monotonic() < deadline, (watcher.codes, watcher.versions[-3:])
            await asyncio.sleep(0.05)
        await publisher.publish(3)
        await watcher.until(publisher.versions)
        # What it did not receive as a publication was in a snapshot; offsets were checked one by one.
        missing = set(range(1, publisher.versions + 1)) - set(watcher.versions)
        assert not missing or watcher.snapshots_needed


async def test_while_redis_is_unavailable_clients_are_closed_and_can_reconnect_after_it(
    start_gateway: Any, authority: Any, own_valkey: EmbeddedValkey, publisher_of: Any, connect_client: Any
) -> None:
    gateway = await start_gateway(own_valkey.url)
    async with publisher_of(own_valkey.url) as publisher:
        await publisher.publish(1)
        client = await connect_client(gateway)
        own_valkey.kill()
        await client.send(type="subscribe", id=5, channel="course:c1")
        code, disconnect = await client.closed()
        assert code == 3010
        assert disconnect["reconnect_after_ms"] > 0
        async with httpx.AsyncClient(base_url=gateway.http) as http:
            deadline = time.monotonic() + 60
            while (ready := await http.get("/readyz")).status_code == 200:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            assert ready.status_code == 503
            assert "redis: ok" not in ready.text
            assert (await http.get("/livez")).status_code == 200
        own_valkey.start()
        async with watching(gateway, authority, publisher) as watcher:
            await publisher.publish(1)
            await watcher.until(2)


async def test_a_slow_reader_is_closed_and_everybody_else_gets_everything(
    start_gateway: Any, connect_client: Any, authority: Any, publisher: Any, valkey: str
) -> None:
    gateway = await start_gateway(valkey, gateway_max_backlog_bytes=65_536, gateway_coalesce_ms=0)
    # A small window of unread frames, then it stops reading.
    slow = await connect_client(gateway, max_queue=1)
    await slow.request("subscribe", channel="course:c1")
    slow.socket.transport.pause_reading()
    async with watching(gateway, authority, publisher) as watcher:
        for _ in range(60):
            await publisher.publish(2, size=100_000)
            await watcher.until(publisher.versions)
        assert watcher.versions == list(range(1, publisher.versions + 1))
        assert watcher.codes == []
    slow.socket.transport.resume_reading()
    code, disconnect = await slow.closed()
    assert code == 3008
    assert disconnect is not None
    assert disconnect["reason"] == "slow"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
async def test_a_gateway_that_is_stopped_closes_its_connections_spread_over_time(
    start_gateway: Any, connect_client: Any, valkey: str, signum: int
) -> None:
    gateway = await start_gateway(valkey, gateway_drain_s=1)
    clients = [await connect_client(gateway) for _ in range(60)]
    ends = [asyncio.create_task(client.closed()) for client in clients]
    gateway.process.signal(signum)
    results = await asyncio.gather(*ends)
    assert {code for code, _ in results} == {3001}
    after = [disconnect["reconnect_after_ms"] for _, disconnect in results]
    assert min(after) >= 0
    assert max(after) <= 10_000
    assert len(set(after)) > 20
    assert await gateway.process.stop() == 0


@pytest.mark.parametrize("redis_url", ["redis://127.0.0.1:9", "redis+cluster://127.0.0.1:9,127.0.0.1:7"])
async def test_an_unreachable_redis_is_waited_for_and_the_gateway_can_be_stopped_meanwhile(
    start_gateway: Any, redis_url: str
) -> None:
    gateway = await start_gateway(redis_url, wait=False)
    async with asyncio.timeout(60), httpx.AsyncClient() as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(f"{gateway.http}/readyz")).status_code == 503:
                    break
            await asyncio.sleep(0.05)
    assert gateway.process.running
    gateway.process.signal(signal.SIGTERM)
    assert await gateway.process.stop() == 0


async def test_a_client_moves_from_a_draining_gateway_to_another_without_a_gap(
    start_gateway: Any, authority: Any, publisher: Any, valkey: str
) -> None:
    one, two = await start_gateway(valkey), await start_gateway(valkey)
    async with watching(one, authority, publisher) as watcher:
        await publisher.publish(10)
        await watcher.until(10)
        watcher.gateway = two
        one.process.signal(signal.SIGTERM)
        await publisher.publish(30)
        await watcher.until(40)
        # All forty may have come before the gateway closed its first connections.
        async with asyncio.timeout(60):
            while not watcher.codes:
                await asyncio.sleep(0.02)
        await publisher.publish(10)
        await watcher.until(50)
        assert watcher.versions == list(range(1, 51))
        assert watcher.codes == [3001]
        assert watcher.snapshots_needed == 0


async def test_a_cluster_of_three_masters_feeds_every_course(
    start_gateway: Any, connect_client: Any, authority: Any, valkey_cluster: str, publisher_of: Any
) -> None:
    courses = [f"c{number}" for number in range(12)]
    assert {partition_of(f"course:{course}", 8) for course in courses} >= set(range(6))
    gateway = await start_gateway(valkey_cluster)
    async with publisher_of(valkey_cluster) as publisher:
        client = await connect_client(gateway, token=authority.token(dict.fromkeys(courses, "observer")))
        for course in courses:
            assert (await client.request("subscribe", channel=f"course:{course}"))["recovered"]
        for course in courses:
            await publisher.publish(2, course=course)
        got = await client.publications(24)
        assert sorted(one["channel"] for one in got) == sorted(f"course:{course}" for course in courses for _ in "ab")
        assert (await client.request("presence", channel="course:c3"))["watching"] == 1


@pytest.mark.stores
async def test_a_cluster_that_hangs_is_waited_for_and_the_gateway_can_be_stopped_meanwhile(
    start_gateway: Any, connect_client: Any, authority: Any, valkey_cluster: str, cluster_server: Any, publisher_of: Any
) -> None:
    gateway = await start_gateway(valkey_cluster)
    client = await connect_client(gateway, token=authority.token({"c1": "observer"}))
    assert (await client.request("subscribe", channel="course:c1"))["recovered"]

    async def unready() -> None:
        async with asyncio.timeout(60), httpx.AsyncClient(timeout=60) as probe:
            while (await probe.get(f"{gateway.http}/readyz")).status_code != 503:
                await asyncio.sleep(0.05)

    with cluster_server.paused():
        await unready()
    await gateway.process.wait_ready()
    async with publisher_of(valkey_cluster) as publisher:
        again = await connect_client(gateway, token=authority.token({"c1": "observer"}))
        assert (await again.request("subscribe", channel="course:c1"))["recovered"]
        await publisher.publish(2, course="c1")
        assert len(await again.publications(2)) == 2
    with cluster_server.paused():
        await unready()
        # Kubernetes kills it after 30 s.
        assert await gateway.process.stop(timeout=30) == 0
