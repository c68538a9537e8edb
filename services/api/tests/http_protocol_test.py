"""An answer leaves in one write, whole and in order, and a connection lives exactly as long as keep-alive says."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpx
import pytest
import uvicorn

from cell_monitor_api.http_protocol import ApiProtocol, CorkedTransport, KeepAliveLoop

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


@pytest.fixture
async def address() -> Any:
    config = uvicorn.Config(_app, port=0, http=ApiProtocol, lifespan="off", log_level="critical", timeout_keep_alive=1)
    server = uvicorn.Server(config)
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, server, "should_exit", True)
        task = asyncio.create_task(server._serve())
        while not server.started:
            await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()
    await task


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
    answers = await asyncio.wait_for(reader.read(), 10)  # until the server closes it
    assert [line for line in answers.split(b"\r\n") if line.startswith(b"/")] == [
        b"/%d%s" % (number, b"HTTP/1.1 200 OK" if number < 19 else b"") for number in range(20)
    ]
    writer.close()
