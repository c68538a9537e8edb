"""Heads are bounded in bytes and time, an answer is one write, and a connection lives exactly as long as keep-alive says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn

from cell_monitor_api.http_protocol import MAX_HEAD_BYTES, ApiProtocol, CorkedTransport, KeepAliveLoop

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Transport(asyncio.Transport):
    """Remembers what was done to it, in order."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.done: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.done


def test_head_and_body_are_one_write() -> None:
    inner = Transport()
    corked = CorkedTransport(inner)
    corked.write(HEAD)
    assert inner.done == []
    corked.write(b"body")
    assert inner.done == [HEAD + b"body"]
    corked.write(b"more of a long answer")
    assert inner.done == [HEAD + b"body", b"more of a long answer"]


def test_what_has_no_body_waits_for_none() -> None:
    inner = Transport()
    corked = CorkedTransport(inner)
    corked.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert inner.done == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    corked.write(HEAD)
    corked.uncork()
    corked.uncork()
    assert inner.done[1:] == [HEAD]


def test_what_was_written_goes_out_before_the_close() -> None:
    inner = Transport()
    corked = CorkedTransport(inner)
    corked.write(HEAD)
    corked.close()
    assert inner.done == [HEAD, "closed"]
    assert corked.is_closing()


def test_the_rest_is_the_transports_own() -> None:
    assert CorkedTransport(Transport()).get_extra_info("peername") == ("127.0.0.1", 1)


class Clock:
    """An event loop's timers, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Any, Any]] = []
        self.made = 0

    def time(self) -> float:
        return self.now

    def create_task(self, coroutine: Any) -> Any:
        raise NotImplementedError

    def call_later(self, delay: float, callback: Any) -> Any:
        self.made += 1
        entry = (self.now + delay, callback, None)
        self.timers.append(entry)
        clock = self

        class Handle:
            def cancel(self) -> None:
                if entry in clock.timers:
                    clock.timers.remove(entry)

        return Handle()

    def move_to(self, moment: float) -> None:
        while due := [timer for timer in self.timers if timer[0] <= moment]:
            timer = min(due, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = timer[0]
            timer[1]()
        self.now = moment


def test_a_busy_connection_is_not_closed_and_an_idle_one_is_on_time() -> None:
    clock = Clock()
    loop = KeepAliveLoop(clock)  # type: ignore[arg-type]
    closed: list[float] = []
    for moment in range(0, 200, 10):
        clock.move_to(moment)
        loop.cancel()
        loop.call_later(75, lambda: closed.append(clock.now))
    assert closed == []
    clock.move_to(190 + 74.9)
    assert closed == []
    clock.move_to(1000)
    assert closed == [190 + 75]
    # A timer for each keep-alive time, not for each request.
    assert clock.made <= 5


def test_a_cancelled_or_lost_connection_is_never_closed_again() -> None:
    clock = Clock()
    loop = KeepAliveLoop(clock)  # type: ignore[arg-type]
    closed: list[float] = []
    loop.call_later(75, lambda: closed.append(clock.now)).cancel()
    clock.move_to(100)
    loop.call_later(75, lambda: closed.append(clock.now))
    loop.end()
    clock.move_to(1000)
    assert closed == []
    assert clock.timers == []


async def _app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    body = scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[tuple[str, int]]:
    config = uvicorn.Config(app, port=0, http=ApiProtocol, lifespan="off", log_level="critical", timeout_keep_alive=5)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        server.force_exit = True
        await task


@pytest.fixture
async def address() -> Any:
    async with serving(_app) as address:
        yield address


async def test_a_real_server_answers_every_kind_of_request_on_one_connection(address: tuple[str, int]) -> None:
    base = f"http://{address[0]}:{address[1]}"
    async with httpx.AsyncClient(base_url=base, limits=httpx.Limits(max_connections=1)) as client:
        for number in range(3):
            assert (await client.get(f"/{number}")).text == f"/{number}"
            head = await client.head(f"/{number}")
            assert (head.status_code, head.text) == (200, "")
            answer = await client.post("/posted", content=b"x" * 200_000, headers={"expect": "100-continue"})
            assert answer.text == "/posted"


async def test_requests_sent_at_once_are_answered_in_order_and_silence_ends_the_connection(
    address: tuple[str, int],
) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % number for number in range(20)))
    answers = await asyncio.wait_for(reader.read(), 60)  # until the server closes it
    assert [line for line in answers.split(b"\r\n") if line.startswith(b"/")] == [
        b"/%d%s" % (number, b"HTTP/1.1 200 OK" if number < 19 else b"") for number in range(20)
    ]
    writer.close()


GET = b"GET /ok HTTP/1.1\r\nhost: x\r\n"


async def answer_to(address: tuple[str, int], *parts: bytes) -> tuple[int, str]:
    """Send parts, each once the last one has left; return status and body, or error code, of the only answer."""
    reader, writer = await asyncio.open_connection(*address)
    for part in parts:
        writer.write(part)
        await writer.drain()
        # Else the kernel would join them.
        await asyncio.sleep(0.01)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = (await asyncio.wait_for(reader.readexactly(length), 60)).decode()
    status = int(head.split()[1])
    if status != 200:
        # Refused connections end.
        assert await asyncio.wait_for(reader.read(), 60) == b""
        [detail] = json.loads(body)["detail"]
        body = detail["type"]
    writer.close()
    return status, body


def _header(size: int) -> bytes:
    return b"x-filler: " + b"a" * (size - 12) + b"\r\n"


async def test_a_head_within_the_bound_is_served(address: tuple[str, int]) -> None:
    size = MAX_HEAD_BYTES - len(GET) - 2
    assert await answer_to(address, GET + _header(size) + b"\r\n") == (200, "/ok")
    assert await answer_to(address, GET, *[_header(size // 4)] * 4, b"\r\n") == (200, "/ok")


TOO_MUCH = _header(MAX_HEAD_BYTES)


@pytest.mark.parametrize(
    "parts",
    [
        [GET + TOO_MUCH + b"\r\n"],
        [GET + b"x: y\r\n" * (MAX_HEAD_BYTES // 5)],
        [GET, *[_header(3000)] * 11],
        [GET + b"x-endless: ", *[b"a" * 5000] * 7],
        [b"GET /", *[b"a" * 5000] * 7],
        # The bytes behind the head do not hide what is before them.
        [b"POST /ok HTTP/1.1\r\nhost: x\r\n" + TOO_MUCH + b"content-length: 1000\r\n\r\n" + b"b" * 1000],
    ],
    ids=["one write", "many headers", "in parts", "one endless header", "endless target", "body behind it"],
)
async def test_a_head_over_the_bound_is_refused(address: tuple[str, int], parts: list[bytes]) -> None:
    assert await answer_to(address, *parts) == (431, "head_too_large")


async def test_a_later_head_on_a_connection_is_bounded_too(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(3):
        writer.write(GET + b"\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"/ok"), 60)).startswith(b"HTTP/1.1 200")
    writer.write(GET + TOO_MUCH)
    assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 431")
    writer.close()


async def test_a_body_is_no_part_of_the_head(address: tuple[str, int]) -> None:
    size = 10 * MAX_HEAD_BYTES
    head = b"POST /ok HTTP/1.1\r\nhost: x\r\n"
    whole = head + b"content-length: %d\r\n\r\n" % size + b"b" * size
    assert await answer_to(address, whole) == (200, "/ok")
    assert await answer_to(address, *[whole[start : start + 50_000] for start in range(0, len(whole), 50_000)]) == (
        200,
        "/ok",
    )
    chunks = b"".join(b"%x\r\n%b\r\n" % (100, b"b" * 100) for _ in range(size // 100))
    assert await answer_to(address, head + b"transfer-encoding: chunked\r\n\r\n" + chunks, b"0\r\n\r\n") == (200, "/ok")


@pytest.mark.parametrize("served_before", [0, 1], ids=["first request", "later request"])
async def test_what_a_client_aborted_before_it_was_read_is_not_carried_out(served_before: int) -> None:
    """As by a process or a network that was stopped: the client sends it once more, and says how long it waited."""
    carried_out: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        carried_out.append(f"{scope['method']} {scope['path']}")
        await _app(scope, receive, send)

    post = b"POST /%s HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"
    async with serving(app) as address:
        client = socket.create_connection(address)
        for _ in range(served_before):
            client.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(client, post % b"before")
            assert await asyncio.get_running_loop().sock_recv(client, 1000)
            client.setblocking(True)
        # The server runs in this thread: it reads nothing between these two.
        client.sendall(post % b"aborted")
        client.close()
        assert await answer_to(address, post % b"again") == (200, "/again")
    assert carried_out == ["POST /before"] * served_before + ["POST /again"]


async def test_endless_trailers_end_the_connection(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"POST /ok HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n")
    ended = asyncio.create_task(reader.read())
    sent = 0
    with contextlib.suppress(ConnectionError):
        while not ended.done() and sent < 100 * MAX_HEAD_BYTES:
            writer.write(_header(5000))
            await writer.drain()
            sent += 5000
            await asyncio.sleep(0.001)
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(ended, 60)
    assert sent < 100 * MAX_HEAD_BYTES
    writer.close()


@pytest.mark.parametrize("served_before", [0, 1])
async def test_a_head_that_comes_drop_by_drop_ends(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, served_before: int
) -> None:
    monkeypatch.setattr("cell_monitor_api.http_protocol.HEAD_TIMEOUT_S", 1.0)
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(served_before):
        writer.write(GET + b"\r\n")
        await asyncio.wait_for(reader.readuntil(b"/ok"), 60)
    # Not to the end of the stream: what is sent after the server has closed resets the connection (RFC 9112, 9.6).
    answer = asyncio.create_task(reader.readuntil(b"]}"))
    writer.write(GET)
    async with asyncio.timeout(60):
        while not answer.done():
            writer.write(b"x: y\r\n")
            await asyncio.sleep(0.02)
    head, _, body = (await answer).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert json.loads(body)["detail"][0]["type"] == "request_timeout"
    writer.close()


async def test_a_connection_without_a_request_is_closed_without_an_answer(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cell_monitor_api.http_protocol.HEAD_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection(*address)
    assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()


async def test_neither_a_slow_body_nor_a_pause_between_requests_is_a_slow_head(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cell_monitor_api.http_protocol.HEAD_TIMEOUT_S", 0.5)
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(2):
        writer.write(b"POST /ok HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n")
        await asyncio.sleep(0.6)
        writer.write(b"b")
        await asyncio.sleep(0.6)
        writer.write(b"b")
        assert (await asyncio.wait_for(reader.readuntil(b"/ok"), 60)).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.6)
    writer.close()


async def test_what_is_not_http_is_refused_in_the_form_of_all_errors(address: tuple[str, int]) -> None:
    assert await answer_to(address, b"\x16\x03\x01 no request\r\n\r\n") == (400, "invalid_request")


async def test_a_refusal_never_mixes_with_an_answer_that_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second head that is refused while the first request is being served must not be read as its answer."""
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await _app(scope, receive, send)

    async with serving(slow) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(GET + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(GET + TOO_MUCH)
        assert await asyncio.wait_for(reader.read(), 60) == b""
        release.set()
        writer.close()
