"""Limits on the size of request bodies and on the time between two parts of one."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cell_monitor_core.web.errors import Detail, error_body

__all__ = ["BodyLimit"]

_REFUSALS: Final = {400: "invalid_request", 408: "request_timeout", 413: "body_too_large"}


class _Refused(HTTPException):
    """Raised from ``receive``. FastAPI passes an HTTPException on to the error handlers."""


class BodyLimit:
    """ASGI middleware that answers 413 to a body over ``max_bytes`` and 408 if its next part takes over ``timeout`` s.

    A body whose Content-Length is over the limit is refused before it is read, a chunked body as soon as it exceeds it.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout: float = 30.0) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), None)
        if declared is not None and (not declared.isdigit() or int(declared[:20]) > self._max_bytes):
            status = 413 if declared.isdigit() else 400
            await _answer(send, status, self._too_large if status == 413 else "Content-Length is not a number")
            return

        received = 0
        complete = False
        started = False

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                # The next message is the disconnect; it may come at any time until the response is complete.
                return await receive()
            try:
                async with asyncio.timeout(self._timeout):
                    message = await receive()
            except TimeoutError:
                raise _Refused(408, f"no part of the body was received for {self._timeout:g} seconds") from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if received > self._max_bytes:
                    raise _Refused(413, self._too_large)
            return message

        async def recording(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, limited, recording)
        except _Refused as refusal:
            if started:
                raise
            await _answer(send, refusal.status_code, refusal.detail)

    @property
    def _too_large(self) -> str:
        return f"the body has more than {self._max_bytes} bytes"


async def _answer(send: Send, status: int, msg: str) -> None:
    body = error_body(Detail(_REFUSALS[status], msg))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        # The rest of the body will not be read.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
