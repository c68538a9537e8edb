"""uvicorn's protocol with bounds on request heads, and with two things done once that it does for every request.

uvicorn limits neither the bytes of a head nor the time that it takes, nor the time until a connection's first request:
see ``ApiProtocol``. ``CorkedTransport`` and ``KeepAliveLoop`` are between uvicorn and uvloop and change neither;
together they save 7 % of a request's CPU (docs/adr/0008).
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Any, Final, cast

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from cell_monitor_api.exceptions import HeadTooLarge, HeadTooSlow, InvalidRequest
from cell_monitor_core.telemetry.metrics import HTTP_REQUESTS
from cell_monitor_core.web.errors import ClientRequestError, error_response

__all__ = ["HEAD_TIMEOUT_S", "MAX_HEAD_BYTES", "ApiProtocol", "CorkedTransport", "KeepAliveLoop"]

_log = structlog.get_logger(__name__)

MAX_HEAD_BYTES: Final = 32 * 1024
"""Request line and headers of one request; for trailers as many bytes as the body are allowed in addition."""
HEAD_TIMEOUT_S: Final = 10.0
"""Seconds from the opening of a connection, or from the first part of a later head, to the end of the head."""

_LEFT: Final = getattr(select, "POLLRDHUP", 0)
"""The peer has closed its side of a connection; 0 on systems that do not say it ahead of what was sent before."""
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
    """uvicorn's protocol with bounded heads, on a corked transport, with one keep-alive timer.

    A head over a bound is answered with 431 or 408 and ends its connection. Bytes are counted as they arrive: those that
    are no body may exceed the body by ``MAX_HEAD_BYTES``. What a client sends together with the end of its previous
    request is not counted; it is one read of the event loop's at most (256 KB).

    A POST whose client has closed the connection already is not carried out: the client has aborted it and sends its events
    again, with the time that they waited. Read after a pause of this process or of the network, the earlier copy would say
    that they had just happened.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._keep_alive = KeepAliveLoop(self.loop)
        self._timers = self.loop
        self.loop = cast("asyncio.AbstractEventLoop", self._keep_alive)
        self._surplus = 0
        self._in_body = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._refusal: ClientRequestError | None = None
        self._descriptor = -1

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection; asyncio calls this."""
        self._corked = CorkedTransport(transport)
        inner = transport.get_extra_info("socket")
        self._descriptor = -1 if inner is None else inner.fileno()
        super().connection_made(cast("asyncio.Transport", self._corked))
        self._head_timer = self._timers.call_later(HEAD_TIMEOUT_S, self._head_overdue)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection; asyncio calls this."""
        super().connection_lost(exc)
        self._keep_alive.end()
        self._end_head_timer()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request; asyncio calls this."""
        self._surplus += len(data)
        super().data_received(data)
        if self._surplus > 0 and self.parser is not None:
            if self._surplus > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge(f"the head of a request may have {MAX_HEAD_BYTES} bytes"))
            elif not self._in_body and self._head_timer is None:
                self._head_timer = self._timers.call_later(HEAD_TIMEOUT_S, self._head_overdue)

    def on_headers_complete(self) -> None:
        """End a head; the parser calls this."""
        self._in_body = True
        self._end_head_timer()
        # Whether the bytes are the head's or those of a body behind it is looked at only if they are too many.
        if self._surplus > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES:
            self._refusal = HeadTooLarge(f"the head of a request may have {MAX_HEAD_BYTES} bytes")
            raise self._refusal
        if self.parser.get_method() == b"POST" and self._client_has_left():
            self.transport.close()
            self._refusal = InvalidRequest("the client has closed the connection")
            raise self._refusal
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body; the parser calls this."""
        self._surplus -= 2 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; the parser calls this."""
        self._surplus = 0
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End an answer; uvicorn calls this. The answer to HEAD has a head only."""
        self._corked.uncork()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser cannot read; uvicorn calls this."""
        self._refuse(self._refusal or InvalidRequest(msg))

    def _client_has_left(self) -> bool:
        """Return whether the client has closed the connection behind what was read."""
        if self._descriptor < 0 or not _LEFT:
            return False
        poll = select.poll()
        poll.register(self._descriptor, _LEFT)
        return bool(poll.poll(0))

    def _head_bytes(self) -> int:
        """Return the size of the head that the parser has just read."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _head_overdue(self) -> None:
        self._head_timer = None
        if self._surplus == 0:
            # Opened ahead of a request, as browsers do: an answer without a request would only confuse.
            self.transport.close()
            return
        self._refuse(HeadTooSlow(f"the head of the request was not complete within {HEAD_TIMEOUT_S:.0f} seconds"))

    def _end_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: ClientRequestError) -> None:
        """Answer without the application, unless an earlier request still waits for its answer, and close."""
        if self.transport.is_closing():
            return
        status, headers, body = error_response(error)
        HTTP_REQUESTS.labels(status).inc()
        _log.info("request_head_refused", status=status, reason=error.error)
        if self.cycle is None or self.cycle.response_complete:
            lines = [b"%b: %b\r\n" % header for header in [*headers, (b"connection", b"close")]]
            self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.close()
