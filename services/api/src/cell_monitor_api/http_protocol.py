"""uvicorn's protocol with two things that it does for every request done once: see ``CorkedTransport``, ``KeepAliveLoop``.

Both stand between uvicorn and uvloop and change neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["ApiProtocol", "CorkedTransport", "KeepAliveLoop"]

_HEAD: Final = b"HTTP/1.1 "
_INTERIM: Final = b"HTTP/1.1 1"
"""Such as ``100 Continue``: no body follows, and the sender waits for it."""


class CorkedTransport:
    """An asyncio transport that keeps an answer's head for its body; all else is the transport's own.

    uvicorn writes the two one after the other, and uvloop hands each to the kernel at once: two system calls, two
    segments, and a sender who wakes up twice. ASGI asks servers not to send a head before its body's first part comes
    (ASGI HTTP specification, "Response Start").
    """

    __slots__ = ("_head", "_transport", "_write", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._write = transport.write
        self._head = b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        """Hand on what is not about writing."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write data, or keep it if it is the head of an answer."""
        if self._head:
            data = self._head + data
            self._head = b""
        elif data.startswith(_HEAD) and not data.startswith(_INTERIM):
            self._head = data
            return
        self._write(data)

    def uncork(self) -> None:
        """Write a head that no body follows."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Write what is kept, then close once that has gone out."""
        self.uncork()
        self._transport.close()


class KeepAliveLoop:
    """The event loop of one connection, whose one timer is the connection's keep-alive.

    uvicorn starts that timer after each answer and cancels it at the next request, and each costs uvloop a libuv handle.
    Here a cancelled timer runs on, and a new one only moves its end: one handle a connection and keep-alive time.
    """

    __slots__ = ("_callback", "_deadline", "_loop", "_timer", "create_task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.create_task = loop.create_task
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._callback: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:
        """Hand on what is not about timers."""
        return getattr(self._loop, name)

    def call_later(self, delay: float, callback: Callable[[], object]) -> KeepAliveLoop:
        """Call back after a delay in seconds, instead of what was to be called before; the handle is this object."""
        self._callback = callback
        self._deadline = self._loop.time() + delay
        if self._timer is None:
            self._timer = self._loop.call_later(delay, self._fire)
        return self

    def cancel(self) -> None:
        """Call nothing back."""
        self._callback = None

    def end(self) -> None:
        """Forget the connection."""
        self._callback = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        callback = self._callback
        if callback is None:
            return
        remaining = self._deadline - self._loop.time()
        # The loop's clock has steps of a millisecond.
        if remaining > 0.001:
            self._timer = self._loop.call_later(remaining, self._fire)
        else:
            self._callback = None
            callback()


class ApiProtocol(HttpToolsProtocol):
    """uvicorn's protocol on a corked transport, with one keep-alive timer."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._keep_alive = KeepAliveLoop(self.loop)
        self.loop = cast("asyncio.AbstractEventLoop", self._keep_alive)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection; asyncio calls this."""
        self._corked = CorkedTransport(transport)
        super().connection_made(cast("asyncio.Transport", self._corked))

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection; asyncio calls this."""
        super().connection_lost(exc)
        self._keep_alive.end()

    def on_response_complete(self) -> None:
        """End an answer; uvicorn calls this. The answer to HEAD has a head only."""
        self._corked.uncork()
        super().on_response_complete()
