"""The ASGI application: WebSockets to the endpoint, probes and the rest to FastAPI."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
from fastapi import FastAPI, HTTPException, Request, Response

from cell_monitor_core.web.errors import install_error_handlers
from cell_monitor_core.web.health import health_router
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.context import GatewayContext
from cell_monitor_gateway.endpoint import WebSocketEndpoint
from cell_monitor_gateway.writers import Message, Send

__all__ = ["GatewayApp", "create_app"]

WEBSOCKET_PATH = "/ws"


class GatewayApp:
    """ASGI application. WebSockets skip FastAPI's layers, whose frames every open socket would keep in memory."""

    def __init__(self, context: GatewayContext) -> None:
        self.context = context
        self._endpoint = WebSocketEndpoint(context)
        self._api = _create_api(context)

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Serve one connection, request or lifespan."""
        if scope["type"] == "websocket" and scope["path"] == WEBSOCKET_PATH:
            await self._endpoint(scope, receive, send)
        else:
            await self._api(scope, receive, send)


def create_app(settings: GatewaySettings | None = None) -> GatewayApp:
    """Build the application from the environment or the given settings."""
    return GatewayApp(GatewayContext.from_settings(settings or GatewaySettings.load()))


def _create_api(context: GatewayContext) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with context.running():
            yield

    api = FastAPI(title="Cell Monitor gateway", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    install_error_handlers(api)
    api.include_router(health_router(context.health))

    @api.post("/internal/drain")
    async def drain(request: Request) -> Response:
        """Begin to send everybody away: for a preStop hook, so from this machine only, and not from a web page."""
        if not _is_local(request) or "origin" in request.headers:
            raise HTTPException(404)
        context.drain.start()
        return Response(msgspec.json.encode({"draining": len(context.connections)}), 202, media_type="application/json")

    return api


def _is_local(request: Request) -> bool:
    if request.client is None:
        # A Unix socket.
        return True
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
