"""The ASGI application: WebSockets to the endpoint; probes, metrics and the drain request to FastAPI."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec
from fastapi import FastAPI, HTTPException, Request, Response

from cell_monitor_core.web.errors import install_error_handlers
from cell_monitor_core.web.health import Health, health_router
from cell_monitor_gateway.drain import Drain
from cell_monitor_gateway.endpoint import WebSocketEndpoint
from cell_monitor_gateway.registry import SessionRegistry
from cell_monitor_gateway.writers import Message, Send

__all__ = ["WEBSOCKET_PATH", "GatewayApp"]

WEBSOCKET_PATH: Final = "/ws"


class GatewayApp:
    """ASGI application. WebSockets skip FastAPI's layers, whose frames every open socket would keep in memory.

    Args:
        running: the work of the process, entered for as long as the application serves.
    """

    def __init__(
        self,
        endpoint: WebSocketEndpoint,
        *,
        sessions: SessionRegistry,
        drain: Drain,
        health: Health,
        running: Callable[[], contextlib.AbstractAsyncContextManager[object]],
    ) -> None:
        self._endpoint = endpoint
        self._api = _create_api(sessions, drain, health, running)

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Serve one connection, request or lifespan."""
        if scope["type"] == "websocket" and scope["path"] == WEBSOCKET_PATH:
            await self._endpoint(scope, receive, send)
        else:
            await self._api(scope, receive, send)


def _create_api(
    sessions: SessionRegistry,
    drain: Drain,
    health: Health,
    running: Callable[[], contextlib.AbstractAsyncContextManager[object]],
) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running():
            yield

    api = FastAPI(title="Cell Monitor gateway", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    install_error_handlers(api)
    api.include_router(health_router(health))

    @api.post("/internal/drain")
    async def start_drain(request: Request) -> Response:
        """Begin to close all connections: for a preStop hook, so from this machine only, and not from a web page."""
        if not _is_local(request) or "origin" in request.headers:
            raise HTTPException(404)
        drain.start()
        return Response(msgspec.json.encode({"draining": len(sessions)}), 202, media_type="application/json")

    return api


def _is_local(request: Request) -> bool:
    if request.client is None:
        # Not known, so not proven.
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
