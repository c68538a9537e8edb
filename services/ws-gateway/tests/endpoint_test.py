"""Hazard: a crowd whose handshakes overlap gets past the limit, because the server may pause while it accepts."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from cell_monitor_core.redis_client import aclose
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.process import GatewayProcess

SCOPE = {"headers": [], "subprotocols": ["cell-monitor.v1"], "extensions": {"websocket.http.response": {}}}


class Peer:
    """One client of an ASGI server that pauses in the middle of the handshake."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.sent: list[Any] = []
        self._connected = False

    async def receive(self) -> dict[str, Any]:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        self.crowd.arrived()
        await self.crowd.over.wait()
        return {"type": "websocket.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if message["type"] == "websocket.accept":
            await self.crowd.accepted.wait()
        elif message["type"] == "websocket.http.response.body":
            self.crowd.arrived()


class Crowd:
    """Peers that come at once."""

    def __init__(self, size: int) -> None:
        self.peers = [Peer(self) for _ in range(size)]
        self.accepted = asyncio.Event()
        self.over = asyncio.Event()
        self.settled = asyncio.Event()
        self._waiting = size

    def arrived(self) -> None:
        self._waiting -= 1
        if self._waiting == 0:
            self.settled.set()


async def test_overlapping_handshakes_do_not_overfill_a_gateway() -> None:
    settings = GatewaySettings(
        redis_url="redis://127.0.0.1:9", jwks_url="http://127.0.0.1:9/jwks.json", gateway_max_connections=3
    )
    gateway = GatewayProcess.from_settings(settings)
    crowd = Crowd(10)
    async with asyncio.TaskGroup() as group:
        for peer in crowd.peers:
            group.create_task(gateway.endpoint({**SCOPE}, peer.receive, peer.send))
        # All have asked before any is through.
        while not all(peer.sent for peer in crowd.peers):
            await asyncio.sleep(0)
        crowd.accepted.set()
        async with asyncio.timeout(60):
            await crowd.settled.wait()
        assert len(gateway.sessions) == 3
        crowd.over.set()
    assert Counter(peer.sent[0]["type"] for peer in crowd.peers) == {
        "websocket.accept": 3,
        "websocket.http.response.start": 7,
    }
    for peer in crowd.peers:
        if peer.sent[0]["type"] == "websocket.http.response.start":
            assert peer.sent[0]["status"] == 503
            assert json.loads(peer.sent[1]["body"])["detail"][0]["type"] == "connection_limit"
    # They have left: new connections are accepted again.
    assert not gateway.sessions
    await aclose(gateway.redis)
