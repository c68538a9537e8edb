"""The ASGI end of ``GET /ws``: who may open a WebSocket here, and the loop that reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from cell_monitor_gateway import metrics
from cell_monitor_gateway.connection import Connection
from cell_monitor_gateway.protocol import SUBPROTOCOL, Refusal
from cell_monitor_gateway.writers import Message, Send, frame_writer

if TYPE_CHECKING:
    from cell_monitor_gateway.context import GatewayContext

__all__ = ["WebSocketEndpoint"]


class WebSocketEndpoint:
    """Handshake and reading loop of every connection."""

    def __init__(self, context: GatewayContext) -> None:
        self._context = context
        self._accepting = 0

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Serve one WebSocket until it closes."""
        context = self._context
        await receive()
        headers = dict(scope["headers"])
        if context.drain.started:
            await _refuse(scope, send, Refusal.DRAINING)
            return
        if not _origin_allowed(headers, context.settings.origins):
            await _refuse(scope, send, Refusal.ORIGIN_FORBIDDEN)
            return
        if SUBPROTOCOL not in scope.get("subprotocols", ()):
            await _refuse(scope, send, Refusal.UNSUPPORTED_SUBPROTOCOL)
            return
        # Those whose handshake is under way count, or a crowd that comes at once would all get in.
        if len(context.connections) + self._accepting >= context.settings.gateway_max_connections:
            await _refuse(scope, send, Refusal.CONNECTION_LIMIT)
            return
        self._accepting += 1
        try:
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
            connection = Connection(context, frame_writer(scope, send))
            context.connections.add(connection)
        finally:
            self._accepting -= 1
        metrics.CONNECTIONS.inc()
        metrics.OPENED.inc()
        try:
            while True:
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    return
                await connection.receive(message.get("text"))
        except asyncio.CancelledError:
            if not connection.aborted:
                raise
        finally:
            connection.closing = True
            connection.forget()
            connection.writer.release()
            context.connections.discard(connection)
            metrics.CONNECTIONS.dec()


def _origin_allowed(headers: dict[bytes, bytes], allowed: frozenset[str]) -> bool:
    """Browsers send the page's origin; programs send none, and cannot ride on a browser's cookies."""
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
