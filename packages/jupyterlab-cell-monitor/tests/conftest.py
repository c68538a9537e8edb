"""A small HTTP server that plays the monitor's API, and Jupyter servers as processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from cell_monitor_testing.jupyter_process import JupyterProcess, start_jupyter
from jupyterlab_cell_monitor.forwarder import Forwarder
from jupyterlab_cell_monitor.spool import open_spool
from jupyterlab_cell_monitor.tokens import Credential, ExchangedTokens
from jupyterlab_cell_monitor.upstream import Upstream
from jupyterlab_cell_monitor.waits import HoldClock

API_KEY = "test-key"
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


def new_event(**fields: Any) -> dict[str, Any]:
    """A heartbeat with an id of its own; what is not given does not matter."""
    stamp = time.time_ns() // 1_000_000
    value = (stamp << 80) | (7 << 76) | (secrets.randbits(12) << 64) | (2 << 62) | secrets.randbits(62)
    return {
        "event_id": str(uuid.UUID(int=value)),
        "type": "heartbeat",
        "schema_version": 1,
        "occurred_at": "2026-04-01T09:00:00.123Z",
        "session_id": str(uuid.uuid4()),
        "seq": 1,
        "data": {"queued": 0, "dropped": 0, "visible": True},
        **fields,
    }


@dataclass
class Seen:
    """One request to the ingest as it came in."""

    at: float
    path: str
    headers: dict[str, str]
    events: list[dict[str, Any]]
    sent_at: str | None = None
    waited_ms: list[int] | None = None
    bytes: int = 0


Reply = tuple[int, dict[str, str], bytes]


@dataclass
class StandInApi:
    """Answers as the ingest does, unless `misbehave` says otherwise."""

    requests: list[Seen] = field(default_factory=list)
    stored: dict[str, dict[str, Any]] = field(default_factory=dict)
    exchanges: int = 0
    keys: set[str] = field(default_factory=lambda: {API_KEY})
    good_tokens: set[str] = field(default_factory=set)
    expires_in: float = 600
    notices: list[dict[str, Any]] = field(default_factory=list)
    misbehave: Callable[[Seen], Reply | str | None] = lambda _: None
    status_of: Callable[[dict[str, Any]], str] = lambda _: "accepted"
    reason_of: Callable[[dict[str, Any]], str] = lambda _: "course_required"
    exchange_status: int = 200
    exchange_reply: Reply | None = None
    knows_waits: bool = True
    """Whether it is of a release that takes ``sent_at`` and ``waited_ms``."""
    refused: int = 0
    """Requests with a body that its release does not take."""

    def __post_init__(self) -> None:
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.release = threading.Event()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def order(self) -> list[str]:
        """Ids in the order in which they were first stored."""
        return list(self.stored)

    def start(self) -> None:
        if self._server is None:
            self._server = _Server(("127.0.0.1", self._port), _handler(self))
            self._port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.close_all()
            self._server = None

    def revoke_tokens(self) -> None:
        self.good_tokens.clear()

    def exchange(self, authorization: str) -> Reply:
        self.exchanges += 1
        if self.exchange_reply is not None:
            return self.exchange_reply
        if self.exchange_status != 200:
            return self.exchange_status, {}, b"{}"
        if authorization.removeprefix("ApiKey ") not in self.keys:
            return 401, {}, _error("not_authenticated")
        token = f"token-{self.exchanges}"
        self.good_tokens.add(token)
        body = {"access_token": token, "token_type": "bearer", "expires_in": self.expires_in}
        return 200, {}, json.dumps(body).encode()

    def ingest(self, seen: Seen) -> Reply | str:
        self.requests.append(seen)
        odd = self.misbehave(seen)
        if odd is not None:
            return odd
        if seen.headers.get("authorization", "").removeprefix("Bearer ") not in self.good_tokens:
            return 401, {}, _error("token_expired")
        results = []
        for event in seen.events:
            status = self.status_of(event)
            if status == "accepted" and event["event_id"] in self.stored:
                status = "duplicate"
            elif status == "accepted":
                self.stored[event["event_id"]] = event
            result = {"event_id": event["event_id"], "status": status}
            results.append({**result, "reason": self.reason_of(event)} if status == "rejected" else result)
        return 200, {}, json.dumps({"results": results, "notices": self.notices}).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def close_all(self) -> None:
        self.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def handle_error(self, *_: Any) -> None:
        """Ignore closed connections, which are part of the tests."""


def _error(error: str) -> bytes:
    return json.dumps({"detail": [{"type": error, "msg": error}]}).encode()


def _handler(api: StandInApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/api/v1/auth/token":
                self.reply(api.exchange(self.headers.get("Authorization", "")))
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            value = json.loads(body)
            known = {"events", "sent_at", "waited_ms"} if api.knows_waits else {"events"}
            if not {"events"} <= value.keys() <= known:
                api.refused += 1
                self.reply((400, {}, _error("invalid_body")))
                return
            times = {name: value.get(name) for name in ("sent_at", "waited_ms")}
            seen = Seen(time.monotonic(), self.path, headers, value["events"], **times, bytes=len(body))
            self.reply(api.ingest(seen))

        def reply(self, reply: Reply | str) -> None:
            if reply == "hang":
                api.release.wait(20)
                self.close_connection = True
                return
            if reply == "drop":
                self.close_connection = True
                self.connection.close()
                return
            assert not isinstance(reply, str)
            status, headers, body = reply
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    return new_event


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser; each test makes its own context in it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CELL_MONITOR_REQUIRE_BROWSER") == "1":
            pytest.fail("CELL_MONITOR_REQUIRE_BROWSER=1, but there is no Chromium or Chrome on this machine")
        pytest.skip("left out: no Chromium or Chrome on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def api() -> Iterator[StandInApi]:
    stand_in = StandInApi()
    yield stand_in
    stand_in.release.set()
    stand_in.stop()


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    """Wait until a condition is true; fail with the last value of `tell` when it never does."""

    async def wait(condition: Callable[[], Any], tell: Callable[[], Any] = lambda: "", within: float = 20) -> None:
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, f"the condition never became true: {tell()}"
            await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def open_forwarder(api: Any, tmp_path: Path) -> Callable[..., Any]:
    """Opens a forwarder to the stand-in API, as the server half does."""

    @contextlib.asynccontextmanager
    async def opened(
        *,
        read_key: Callable[[], str] = lambda: API_KEY,
        spool: bool = True,
        max_bytes: int = 1_000_000,
        timeout_s: float = 5,
        clock: HoldClock | None = None,
        url: str = "",
    ) -> AsyncIterator[Forwarder]:
        url = url or api.url
        async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
            tokens = ExchangedTokens(
                client, f"{url}/api/v1/auth/token", lambda: [Credential("ApiKey", read_key(), "the API key")]
            )
            forwarder = Forwarder(
                Upstream(client, url, tokens, timeout_s),
                (lambda: open_spool(tmp_path / "spool", max_bytes)) if spool else None,
                logging.getLogger("cell-monitor-test"),
                # Pauses without their random part: the order of things is tested, not the time they take.
                random_=lambda: 0.01,
                clock=clock,
            )
            await forwarder.start()
            try:
                yield forwarder
            finally:
                await forwarder.close()

    return opened


@pytest.fixture(scope="session")
def stand_in_api() -> type[StandInApi]:
    """The class of the stand-in, for fixtures with another scope than `api`."""
    return StandInApi


@pytest.fixture
def jupyter(tmp_path: Path) -> Iterator[Callable[..., JupyterProcess]]:
    """Starts Jupyter servers (`application` lab or notebook) with the extension; they end with the test."""
    started: list[JupyterProcess] = []

    def start(
        application: str = "lab", *, environment: dict[str, str] | None = None, options: list[str] | None = None
    ) -> JupyterProcess:
        home = tmp_path / f"home-{len(started)}"
        home.mkdir()
        server = start_jupyter(home, application=application, environment=environment, options=options or [])
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()
