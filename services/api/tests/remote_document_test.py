"""Hazards: every sign-in asks the provider again, or a provider that is unavailable for a moment ends all sign-ins."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from cell_monitor_api.storage.bounded_http import BoundedHttp, NoAnswer
from cell_monitor_api.storage.remote_document import RemoteDocument


class Silence(Exception):  # noqa: N818
    """No answer."""


class Server:
    """Counts what is read; ``now`` is the clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reads = 0
        self.silent = False
        self.document = RemoteDocument(self.read, Silence, lambda: self.now)

    async def read(self) -> int:
        self.reads += 1
        await asyncio.sleep(0)
        if self.silent:
            raise Silence(str(self.reads))
        return self.reads


async def test_a_document_is_read_once_an_hour_however_many_ask() -> None:
    server = Server()
    assert await asyncio.gather(*(server.document.get() for _ in range(20))) == [1] * 20
    server.now += 3599
    assert await server.document.get() == 1
    server.now += 1
    assert await server.document.get() == 2


async def test_a_missing_key_is_asked_for_once_in_two_seconds() -> None:
    server = Server()
    assert await server.document.get(again=True) == 1
    assert await server.document.get(again=True) == 1
    server.now += 2
    assert await asyncio.gather(*(server.document.get(again=True) for _ in range(20))) == [2] * 20


async def test_a_silent_server_is_asked_once_in_two_seconds_and_its_document_is_used_for_a_day() -> None:
    server = Server()
    await server.document.get()
    server.silent = True
    server.now += 3600
    assert [await server.document.get() for _ in range(3)] == [1, 1, 1]
    assert server.reads == 2
    server.now += 86_400 - 3601
    assert await server.document.get() == 1
    server.now += 2
    with pytest.raises(Silence):
        await server.document.get()


async def test_a_server_that_was_silent_from_the_start_is_asked_again() -> None:
    server = Server()
    server.silent = True
    for _ in range(3):
        with pytest.raises(Silence, match="1"):
            await server.document.get()
    server.silent = False
    server.now += 2
    assert await server.document.get() == 2


async def test_a_request_that_was_cancelled_leaves_the_next_one_free() -> None:
    server = Server()
    task = asyncio.create_task(server.document.get())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await server.document.get() == 2


async def test_an_answer_without_end_is_stopped() -> None:
    ended = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        ended.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    http = BoundedHttp(total_s=0.3)
    try:
        with pytest.raises(NoAnswer, match=r"more than 0\.3 s"):
            await http.send("GET", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", most=10**9)
    finally:
        await http.aclose()
        await asyncio.wait_for(ended.wait(), 30)
        server.close()
        await server.wait_closed()
