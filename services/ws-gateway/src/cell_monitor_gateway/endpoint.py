"""The ASGI end of ``GET /ws``: who may open a WebSocket here, and the loop that reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from cell_monitor_gateway import metrics
from cell_monitor_gateway.protocol import SUBPROTOCOL, Refusal
from cell_monitor_gateway.registry import SessionRegistry
from cell_monitor_gateway.session import Session
from cell_monitor_gateway.writers import FrameWriter, Message, Send, frame_writer

__all__ = ["WebSocketEndpoint"]


class WebSocketEndpoint:
    """Handshake and reading loop of every connection.

    Args:
        open_session: makes the session of a connection that was accepted.
        sessions: where it is registered for as long as the connection is open.
        draining: whether new connections are refused.
        allowed_origins: see ``GatewaySettings.origins``.
        max_connections: connections of this process; with them the handshake answers 503.
    """

    def __init__(
        self,
        open_session: Callable[[FrameWriter], Session],
        sessions: SessionRegistry,
        *,
        draining: Callable[[], bool],
        allowed_origins: frozenset[str],
        max_connections: int,
    ) -> None:
        self._open_session = open_session
        self._sessions = sessions
        self._draining = draining
        self._allowed_origins = allowed_origins
        self._max_connections = max_connections
        self._accepting = 0

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Serve one WebSocket until it closes."""
        await receive()
        if (refusal := self._refusal(scope)) is not None:
            await _refuse(scope, send, refusal)
            return
        self._accepting += 1
        try:
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
            session = self._open_session(frame_writer(scope, send))
            self._sessions.add(session)
        finally:
            self._accepting -= 1
        try:
            while True:
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    return
                await session.receive(message.get("text"))
        except asyncio.CancelledError:
            if not session.aborted:
                raise
        finally:
            session.end()
            self._sessions.discard(session)

    def _refusal(self, scope: Message) -> Refusal | None:
        """Return why a handshake is refused, or None."""
        if self._draining():
            return Refusal.DRAINING
        if not _origin_allowed(dict(scope["headers"]), self._allowed_origins):
            return Refusal.ORIGIN_FORBIDDEN
        if SUBPROTOCOL not in scope.get("subprotocols", ()):
            return Refusal.UNSUPPORTED_SUBPROTOCOL
        # Handshakes in progress count; otherwise many at the same time would all be accepted.
        if len(self._sessions) + self._accepting >= self._max_connections:
            return Refusal.CONNECTION_LIMIT
        return None


def _origin_allowed(headers: dict[bytes, bytes], allowed: frozenset[str]) -> bool:
    """Browsers send the page's origin; programs send none, and no browser lends them its cookies."""
    origin = headers.get(b"origin")
    if origin is None:
        return True
    spelled = origin.decode("latin-1").lower()
    if allowed:
        return spelled in allowed
    host = headers.get(b"host", b"").decode("latin-1").lower()
    return bool(host) and urlsplit(spelled).netloc == host


async def _refuse(scope: Message, send: Send, refusal: Refusal) -> None:
    """Answer the handshake with an HTTP error, in the form of all our errors."""
    metrics.REFUSED.labels(refusal.value).inc()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    body = msgspec.json.encode({"detail": [{"type": refusal.value, "msg": refusal.description}]})
    headers: list[Any] = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
