"""The ASGI application: WebSockets to the endpoint; probes and metrics to FastAPI."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from fastapi import FastAPI

from cell_monitor_core.web.errors import install_error_handlers
from cell_monitor_core.web.health import Health, health_router
from cell_monitor_gateway.endpoint import WebSocketEndpoint
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
        health: Health,
        running: Callable[[], contextlib.AbstractAsyncContextManager[object]],
    ) -> None:
        self._endpoint = endpoint
        self._api = _create_api(health, running)

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Serve one connection, request or lifespan."""
        if scope["type"] == "websocket" and scope["path"] == WEBSOCKET_PATH:
            await self._endpoint(scope, receive, send)
        else:
            await self._api(scope, receive, send)


def _create_api(health: Health, running: Callable[[], contextlib.AbstractAsyncContextManager[object]]) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running():
            yield

    api = FastAPI(title="Cell Monitor gateway", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    install_error_handlers(api)
    api.include_router(health_router(health))
    return api
