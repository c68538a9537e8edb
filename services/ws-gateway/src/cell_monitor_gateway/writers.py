"""How frames are sent: prepared bytes straight to the socket's transport, or as ASGI messages where it is not offered.

uvicorn's ASGI ``send`` encodes each frame again for each socket. Publications are the same bytes for every subscriber,
so a small subclass of uvicorn's WebSocket protocol passes the transport itself in the scope's extensions. Where uvicorn
has another structure the gateway falls back to ``send``, slower and correct.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol, TypeAlias

import structlog

from cell_monitor_gateway.protocol import CloseCode, close_frame, disconnect

__all__ = ["EXTENSION", "FrameWriter", "QueueWriter", "TransportWriter", "frame_writer", "websocket_protocol"]

_log = structlog.get_logger(__name__)

EXTENSION: Final = "cell_monitor.transport"
Message: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class FrameWriter(Protocol):
    """Where a connection's frames go. Writing never waits: the caller checks the backlog."""

    def backlog(self) -> int:
        """Return the bytes that wait for the peer."""
        ...

    def write(self, frame: bytes) -> None:
        """Send a frame, header included; nothing happens once the connection is closing."""
        ...

    def close(self, code: CloseCode, reconnect_after_ms: int | None) -> None:
        """Announce the close, then close."""
        ...

    def abort(self) -> None:
        """Drop the connection without waiting for the peer."""
        ...

    def release(self) -> None:
        """Free what the writer holds; the connection has ended."""
        ...


class TransportWriter:
    """Writes to the socket's transport."""

    __slots__ = ("_closed", "_transport")

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._closed = False

    def backlog(self) -> int:
        """Return the bytes that wait for the peer."""
        return self._transport.get_write_buffer_size()

    def write(self, frame: bytes) -> None:
        """Send a frame, header included."""
        # uvloop raises on a transport that is closed.
        if not self._closed and not self._transport.is_closing():
            self._transport.write(frame)

    def close(self, code: CloseCode, reconnect_after_ms: int | None) -> None:
        """Announce the close, then close."""
        # Not through uvicorn, which would wait for the backlog of a slow reader before it sends a close frame. It still
        # answers the peer's close frame and ends the connection.
        self.write(disconnect(code, reconnect_after_ms) + close_frame(code))
        self._closed = True

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def release(self) -> None:
        """Write no more; the connection has ended."""
        self._closed = True


class QueueWriter:
    """Sends through ASGI from a queue and a task of its own."""

    __slots__ = ("_closing", "_owner", "_queue", "_send", "_size", "_task", "_wake")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._closing: CloseCode | None = None
        self._wake = asyncio.Event()
        # The task that reads: only it can end the connection when the peer takes nothing more.
        self._owner = asyncio.current_task()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="websocket-writer")

    def backlog(self) -> int:
        """Return the bytes that wait for the peer."""
        return self._size

    def write(self, frame: bytes) -> None:
        """Send a frame, header included."""
        if self._closing is None:
            self._queue.append(frame)
            self._size += len(frame)
            self._wake.set()

    def close(self, code: CloseCode, reconnect_after_ms: int | None) -> None:
        """Announce the close, then close."""
        if self._closing is None:
            self.write(disconnect(code, reconnect_after_ms))
            self._closing = code
            self._wake.set()

    def abort(self) -> None:
        """Drop the connection."""
        self._task.cancel()
        if self._owner is not None:
            self._owner.cancel()

    def release(self) -> None:
        """Write no more; the connection has ended."""
        self._task.cancel()

    async def _run(self) -> None:
        # A send after the peer has disconnected raises whatever the server chose; the reading task ends the connection.
        with contextlib.suppress(Exception):
            while True:
                while self._queue:
                    frame = self._queue.popleft()
                    await self._send({"type": "websocket.send", "text": _payload(frame).decode()})
                    self._size -= len(frame)
                if self._closing is not None:
                    await self._send(
                        {"type": "websocket.close", "code": int(self._closing), "reason": self._closing.reason}
                    )
                    return
                self._wake.clear()
                await self._wake.wait()


def _payload(frame: bytes) -> bytes:
    """Return a frame without its header."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def frame_writer(scope: Message, send: Send) -> FrameWriter:
    """Return the fastest writer that the server offers for a connection."""
    transport = scope.get("extensions", {}).get(EXTENSION)
    if transport is not None:
        return TransportWriter(transport)
    return QueueWriter(send)


def websocket_protocol() -> Any:
    """Return uvicorn's ``ws`` setting: its sans-I/O protocol that passes on the transport, or its name alone."""
    try:
        from uvicorn.protocols.websockets.websockets_sansio_impl import (  # noqa: PLC0415 - may not exist
            WebSocketsSansIOProtocol,
        )
    except ImportError:
        _log.warning("websocket_transport_unavailable", reason="uvicorn has no sans-I/O protocol of that name")
        return "auto"
    if not callable(getattr(WebSocketsSansIOProtocol, "handle_connect", None)):
        _log.warning("websocket_transport_unavailable", reason="uvicorn's protocol has another structure")
        return "websockets-sansio"

    class TransportProtocol(WebSocketsSansIOProtocol):
        """Passes its transport to the application."""

        def handle_connect(self, event: Any) -> None:
            super().handle_connect(event)
            scope = getattr(self, "scope", None)
            transport = getattr(self, "transport", None)
            if scope is not None and hasattr(transport, "get_write_buffer_size"):
                scope["extensions"][EXTENSION] = transport

    return TransportProtocol
