"""Hazard: frames are lost at the server, in either way of sending them or while it stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
from websockets.exceptions import InvalidStatus

from cell_monitor.embedded.process import free_port
from cell_monitor_gateway import writers
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.process import GatewayProcess
from cell_monitor_gateway.server import GatewayServer, server_config


class InProcess:
    """A gateway in the test's own loop, with the interface of the one in a process."""

    def __init__(self, process: GatewayProcess, port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"ws://127.0.0.1:{port}/ws"


@contextlib.asynccontextmanager
async def serving(settings: GatewaySettings, ws: Any) -> AsyncIterator[InProcess]:
    process = GatewayProcess.from_settings(settings)
    config = server_config(process.app, settings)
    config.ws = ws
    server = GatewayServer(config, process.drain)
    # Signals stay pytest's.
    task = asyncio.create_task(uvicorn.Server._serve(server))
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    try:
        yield InProcess(process, settings.gateway_port)
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 60)


@pytest.fixture
def settings(valkey: str, authority: Any) -> GatewaySettings:
    return GatewaySettings(
        redis_url=valkey,
        jwks_url=authority.url,
        gateway_port=free_port(),
        gateway_drain_s=0.5,
        gateway_max_backlog_bytes=65_536,
        gateway_coalesce_ms=0,
    )


def server_kinds() -> list[Any]:
    return [
        pytest.param(writers.websocket_protocol(), writers.TransportWriter, id="transport"),
        pytest.param("websockets-sansio", writers.QueueWriter, id="plain-asgi"),
    ]


@pytest.mark.parametrize(("ws", "kind"), server_kinds())
async def test_every_frame_and_the_disconnect_arrive_whichever_way_they_are_sent(
    settings: GatewaySettings, connect_client: Any, publisher: Any, ws: Any, kind: type
) -> None:
    async with serving(settings, ws) as gateway:
        client = await connect_client(gateway)
        (session,) = gateway.process.sessions
        assert type(session._writer) is kind
        reply = await client.request("subscribe", **await publisher.position())
        assert reply["recovered"]
        await publisher.publish(20, size=70_000)
        await publisher.publish(300, together=True)
        got = await client.publications(320)
        assert [one["offset"] for one in got] == list(range(1, 321))
        ending = asyncio.create_task(client.closed())
        gateway.process.drain.start()
        code, disconnect = await ending
        assert (code, disconnect["code"], disconnect["reason"]) == (3001, 3001, "shutdown")
    assert len(gateway.process.sessions) == 0


async def test_a_gateway_that_is_stopping_sends_new_connections_elsewhere_and_is_not_ready(
    settings: GatewaySettings, connect_client: Any
) -> None:
    async with (
        serving(settings, writers.websocket_protocol()) as gateway,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}", trust_env=False) as http,
    ):
        await connect_client(gateway)
        # On a busy machine the event loop of a process that has just started may lag too much for a moment.
        async with asyncio.timeout(60):
            while (await http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)
        # What SIGTERM starts; its listener is then closed, and connections that are open are still served.
        gateway.process.drain.start()
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/livez")).status_code == 200
        with pytest.raises(InvalidStatus) as caught:
            await connect_client(gateway)
        assert caught.value.response.status_code == 503
        assert json.loads(caught.value.response.body)["detail"][0]["type"] == "draining"
        assert int(caught.value.response.headers["retry-after"]) > 0


@pytest.mark.parametrize(("ws", "kind"), server_kinds())
async def test_a_reader_that_never_reads_again_is_dropped_and_its_memory_freed(
    settings: GatewaySettings,
    connect_client: Any,
    publisher: Any,
    ws: Any,
    kind: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cell_monitor_gateway import session as module

    monkeypatch.setattr(module, "ABORT_SECONDS", 0.5)
    async with serving(settings, ws) as gateway:
        client = await connect_client(gateway, max_queue=1)
        await client.request("subscribe", channel="course:c1")
        client.socket.transport.pause_reading()
        (session,) = gateway.process.sessions
        async with asyncio.timeout(60):
            while not session.closing:
                await publisher.publish(5, size=100_000)
            assert type(session._writer) is kind
            # Bounded: one window's frames over the limit, not all that was published.
            assert session._writer.backlog() < 10 * 1024 * 1024
            while gateway.process.sessions:
                await asyncio.sleep(0.05)
        client.socket.transport.abort()


async def test_a_client_that_disconnects_without_a_close_leaves_nothing_behind(
    settings: GatewaySettings, connect_client: Any, publisher: Any
) -> None:
    async with serving(settings, writers.websocket_protocol()) as gateway:
        for _ in range(20):
            client = await connect_client(gateway)
            await client.request("subscribe", channel="course:c1")
            client.socket.transport.abort()
        async with asyncio.timeout(60):
            while gateway.process.sessions:
                await publisher.publish()
                await asyncio.sleep(0.01)
        assert len(gateway.process.hub) == 0


def test_a_uvicorn_of_another_structure_still_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    from uvicorn.protocols.websockets import websockets_sansio_impl as module

    monkeypatch.setattr(module, "WebSocketsSansIOProtocol", object)
    assert writers.websocket_protocol() == "websockets-sansio"
    monkeypatch.delattr(module, "WebSocketsSansIOProtocol")
    assert writers.websocket_protocol() == "auto"
