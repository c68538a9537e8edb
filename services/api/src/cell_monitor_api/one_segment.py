"""Head and body of an answer in one write.

uvicorn writes the head of an answer and its body one after the other, and uvloop hands each to the kernel at once: two
system calls, two segments, and a sender who wakes up twice. ASGI has no word for "wait, more comes", so the transport
that the protocol is given keeps what is written until the loop's next turn.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["CorkedTransport", "OneSegmentProtocol"]


class CorkedTransport:
    """An asyncio transport that joins what is written in one turn of the loop; all else is the transport's own."""

    __slots__ = ("_call_soon", "_kept", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._kept: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        """Hand on what is not about writing."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Keep data until the loop's next turn."""
        if not self._kept:
            self._call_soon(self._flush)
        self._kept.append(data)

    def close(self) -> None:
        """Write what is kept, then close once that has gone out."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        kept = self._kept
        if kept:
            self._kept = []
            if not self._transport.is_closing():
                self._transport.write(b"".join(kept))


class OneSegmentProtocol(HttpToolsProtocol):
    """uvicorn's protocol on a corked transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection; asyncio calls this."""
        super().connection_made(cast("asyncio.Transport", CorkedTransport(transport, self.loop)))
