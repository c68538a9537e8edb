"""A gateway as a real process with a real Valkey, and clients of its protocol with the ``websockets`` package."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cell_monitor.embedded.process import free_port
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.redis_client import aclose
from cell_monitor_core.redis_client import connect as connect_redis
from cell_monitor_core.storage.ports import Draft
from cell_monitor_testing.processes import ServiceProcess

SUBPROTOCOL = "cell-monitor.v1"


@dataclass
class Authority:
    """Signs tokens and publishes its keys."""

    signing_keys: SigningKeys
    url: str = ""

    def token(
        self,
        courses: dict[str, str] | None = None,
        *,
        lifetime: int = 600,
        person: str | None = None,
        audience: str = "gateway",
        scopes: tuple[str, ...] = (),
        admin: bool = False,
        generation: int = 0,
        credential: str = "",
    ) -> str:
        issuer = TokenIssuer(self.signing_keys, lifetime=lifetime)
        return issuer.issue(
            grant=Grant.API_KEY if scopes or audience == "ingest" else Grant.SESSION,
            person_id=person or str(uuid.uuid4()),
            audience=[audience],
            courses={"c1": "instructor"} if courses is None else courses,
            scopes=scopes,
            admin=admin,
            generation=generation,
            credential=credential,
        )[0]


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    made = Authority(SigningKeys.generate())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(made.signing_keys.public_jwks()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/jwks.json"
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Gateway:
    """A running gateway."""

    process: ServiceProcess
    port: int

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"


GatewayFactory = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def start_gateway(authority: Authority, tmp_path: Path) -> AsyncIterator[GatewayFactory]:
    started: list[Gateway] = []

    async def start(redis_url: str, *, wait: bool = True, **settings: Any) -> Gateway:
        port = free_port()
        env = {
            "CELL_MONITOR_REDIS_URL": redis_url,
            "CELL_MONITOR_GATEWAY_PORT": str(port),
            "CELL_MONITOR_JWKS_URL": authority.url,
            "CELL_MONITOR_GATEWAY_DRAIN_S": "1",
        } | {f"CELL_MONITOR_{name.upper()}": str(value) for name, value in settings.items()}
        process = ServiceProcess(
            "cell_monitor_gateway",
            env=env,
            # Where it has one for probes, the other port does not answer them.
            port=settings.get("gateway_inside_port", port),
            log_path=tmp_path / f"{len(started)}.log",
        )
        gateway = Gateway(process, port)
        started.append(gateway)
        if wait:
            await process.start()
        else:
            process.launch()
        return gateway

    yield start
    for gateway in started:
        await gateway.process.stop()
        assert "Traceback" not in gateway.process.log, gateway.process.log


@pytest.fixture
async def gateway(start_gateway: GatewayFactory, valkey: str) -> Gateway:
    return await start_gateway(valkey)


@dataclass
class Client:
    """One connection; frames that no caller waits for are kept."""

    socket: ClientConnection
    frames: list[dict[str, Any]] = field(default_factory=list)
    next_id: int = 0

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def next_frame(self, timeout: float = 60.0) -> dict[str, Any]:
        if self.frames:
            return self.frames.pop(0)
        return await self._read(timeout)

    async def _read(self, timeout: float) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), timeout))
        if frame["type"] == "ping":
            await self.send(type="pong")
        return frame

    async def request(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return its reply."""
        self.next_id += 1
        request_id = self.next_id
        await self.send(type=kind, id=request_id, **fields)
        async with asyncio.timeout(60):
            while True:
                frame = await self._read(60)
                if frame.get("id") == request_id:
                    return frame
                self.frames.append(frame)

    async def publications(self, count: int) -> list[dict[str, Any]]:
        """Return the next publications, at least so many."""
        got: list[dict[str, Any]] = []
        while len(got) < count:
            frame = await self.next_frame()
            if frame["type"] == "publications":
                got += frame["publications"]
            else:
                assert frame["type"] == "ping", frame
        return got

    async def closed(self, timeout: float = 60.0) -> tuple[int, dict[str, Any] | None]:
        """Read to the end; return the close code and the disconnect frame before it."""
        disconnect = None
        async with asyncio.timeout(timeout):
            while True:
                try:
                    frame = await self._read(timeout)
                except ConnectionClosed as end:
                    # 1006 is what a connection that just broke is called.
                    return end.rcvd.code if end.rcvd is not None else 1006, disconnect
                if frame["type"] == "disconnect":
                    disconnect = frame


Connector = Callable[..., Awaitable[Client]]


@pytest.fixture
async def connect_client(authority: Authority) -> AsyncIterator[Connector]:
    """Open a connection and, unless ``token`` is None, send ``connect``."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_client(gateway: Gateway, *, token: str | None = "", **options: Any) -> Client:
            options.setdefault("subprotocols", [SUBPROTOCOL])
            socket = await stack.enter_async_context(connect(gateway.url, **options))
            client = Client(socket)
            if token is not None:
                reply = await client.request("connect", token=token or authority.token())
                assert reply["type"] == "connected", reply
            return client

        yield open_client


@dataclass
class Publisher:
    """Publishes numbered states on a course's channel."""

    broker: RedisBroker
    versions: int = 0

    async def publish(self, count: int = 1, *, course: str = "c1", size: int = 10, together: bool = False) -> None:
        drafts = []
        for _ in range(count):
            self.versions += 1
            state = {"student_id": f"s{self.versions % 7}", "version": self.versions, "text": "x" * size}
            drafts.append(Draft("student", state["student_id"], self.versions, msgspec.json.encode(state)))
        if together:
            assert await self.broker.publish(f"course:{course}", drafts) == count
            return
        for draft in drafts:
            assert await self.broker.publish(f"course:{course}", [draft]) == 1

    async def position(self, course: str = "c1") -> dict[str, Any]:
        snapshot = await self.broker.position(f"course:{course}")
        return {"channel": f"course:{course}", "epoch": snapshot.epoch, "offset": snapshot.offset}


@contextlib.asynccontextmanager
async def publishing(url: str) -> AsyncIterator[Publisher]:
    client = connect_redis(url, name="test")
    try:
        yield Publisher(RedisBroker(client))
    finally:
        await aclose(client)


@pytest.fixture
async def publisher(valkey: str) -> AsyncIterator[Publisher]:
    async with publishing(valkey) as made:
        yield made


@pytest.fixture
def publisher_of() -> Callable[[str], contextlib.AbstractAsyncContextManager[Publisher]]:
    return publishing
