"""Counts every request other than ingest and probes, by status code of its answer."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cell_monitor_core.telemetry.metrics import HTTP_REQUEST_SECONDS, HTTP_REQUESTS
from cell_monitor_core.web.health import HEALTH_PATHS

__all__ = ["RequestMetrics"]


class RequestMetrics:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve and count one request."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            HTTP_REQUESTS.labels(status).inc()
            HTTP_REQUEST_SECONDS.observe(time.perf_counter() - started)
