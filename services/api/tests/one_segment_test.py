"""An answer leaves in one write, whole and in order, also when the connection is closed right after it."""

from __future__ import annotations

import asyncio

from cell_monitor_api.one_segment import CorkedTransport


class Transport(asyncio.Transport):
    """Remembers what was done to it, in order."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.done: list[bytes | str] = []
        self.gone = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append("closed")

    def is_closing(self) -> bool:
        return self.gone


async def test_head_and_body_are_one_write() -> None:
    inner = Transport()
    corked = CorkedTransport(inner, asyncio.get_running_loop())
    corked.write(b"head ")
    corked.write(b"body")
    assert inner.done == []
    await asyncio.sleep(0)
    assert inner.done == [b"head body"]
    corked.write(b"next")
    await asyncio.sleep(0)
    assert inner.done == [b"head body", b"next"]


async def test_what_was_written_goes_out_before_the_close() -> None:
    inner = Transport()
    corked = CorkedTransport(inner, asyncio.get_running_loop())
    corked.write(b"last words")
    corked.close()
    await asyncio.sleep(0)
    assert inner.done == [b"last words", "closed"]


async def test_nothing_is_written_to_a_connection_that_has_gone() -> None:
    inner = Transport()
    corked = CorkedTransport(inner, asyncio.get_running_loop())
    corked.write(b"too late")
    inner.gone = True
    await asyncio.sleep(0)
    assert inner.done == []


async def test_the_rest_is_the_transports_own() -> None:
    corked = CorkedTransport(Transport(), asyncio.get_running_loop())
    assert corked.get_extra_info("peername") == ("127.0.0.1", 1)
