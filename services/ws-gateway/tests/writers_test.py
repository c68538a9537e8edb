"""Both ways that frames leave: the opened transport, and plain ASGI where a server does not open it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from cell_monitor.embedded.process import free_port
from cell_monitor_gateway import writers
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.main import GatewayApp, create_app
from cell_monitor_gateway.server import GatewayServer, server_config


class InProcess:
    """A gateway in the test's own loop, with a look and feel of the one in a process."""

    def __init__(self, app: GatewayApp, server: GatewayServer, port: int) -> None:
        self.app = app
        self.server = server
        self.port = port
        self.url = f"ws://127.0.0.1:{port}/ws"


@contextlib.asynccontextmanager
async def serving(settings: GatewaySettings, ws: Any) -> AsyncIterator[InProcess]:
    app = create_app(settings)
    config = server_config(app, settings)
    config.ws = ws
    server = GatewayServer(config, app.context.drain)
    # Signals stay pytest's.
    task = asyncio.create_task(uvicorn.Server._serve(server))
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    try:
        yield InProcess(app, server, settings.gateway_port)
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 20)


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
        pytest.param(writers.websocket_protocol(), writers.TransportWriter, id="opened-transport"),
        pytest.param("websockets-sansio", writers.QueueWriter, id="plain-asgi"),
    ]


@pytest.mark.parametrize(("ws", "kind"), server_kinds())
async def test_every_frame_and_the_farewell_arrive_whichever_way_they_leave(
    settings: GatewaySettings, connect_client: Any, publisher: Any, ws: Any, kind: type
) -> None:
    async with serving(settings, ws) as gateway:
        client = await connect_client(gateway)
        (connection,) = gateway.app.context.connections
        assert type(connection.writer) is kind
        reply = await client.request("subscribe", **await publisher.position())
        assert reply["recovered"]
        await publisher.publish(20, size=70_000)
        await publisher.publish(300, together=True)
        got = await client.publications(320)
        assert [one["offset"] for one in got] == list(range(1, 321))
        ending = asyncio.create_task(client.closed())
        gateway.app.context.drain.start()
        code, farewell = await ending
        assert (code, farewell["code"], farewell["reason"]) == (3001, 3001, "shutdown")
    assert gateway.app.context.connections == set()


@pytest.mark.parametrize(("ws", "kind"), server_kinds())
async def test_a_reader_that_never_reads_again_is_dropped_and_its_memory_freed(
    settings: GatewaySettings,
    connect_client: Any,
    publisher: Any,
    ws: Any,
    kind: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cell_monitor_gateway import connection as module

    monkeypatch.setattr(module, "_ABORT_SECONDS", 0.5)
    async with serving(settings, ws) as gateway:
        client = await connect_client(gateway, max_queue=1)
        await client.request("subscribe", channel="course:c1")
        client.socket.transport.pause_reading()
        (connection,) = gateway.app.context.connections
        async with asyncio.timeout(60):
            while not connection.closing:
                await publisher.publish(5, size=100_000)
            assert type(connection.writer) is kind
            # Bounded: one window's frames over the limit, not all that was published.
            assert connection.writer.backlog() < 10 * 1024 * 1024
            while gateway.app.context.connections:
                await asyncio.sleep(0.05)
        client.socket.transport.abort()


async def test_a_client_that_vanishes_leaves_nothing_behind(
    settings: GatewaySettings, connect_client: Any, publisher: Any
) -> None:
    async with serving(settings, writers.websocket_protocol()) as gateway:
        for _ in range(20):
            client = await connect_client(gateway)
            await client.request("subscribe", channel="course:c1")
            client.socket.transport.abort()
        async with asyncio.timeout(20):
            while gateway.app.context.connections:
                await publisher.publish()
                await asyncio.sleep(0.01)
        assert len(gateway.app.context.rooms) == 0


def test_a_uvicorn_of_another_shape_still_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    from uvicorn.protocols.websockets import websockets_sansio_impl as module

    monkeypatch.setattr(module, "WebSocketsSansIOProtocol", object)
    assert writers.websocket_protocol() == "websockets-sansio"
    monkeypatch.delattr(module, "WebSocketsSansIOProtocol")
    assert writers.websocket_protocol() == "auto"
