"""Probes and metrics: ``/livez`` (the process answers), ``/readyz`` (it can do its work), ``/metrics``.

A service is live while it answers at all: a store that is away makes it unready, and killing it would help nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from fastapi import APIRouter, FastAPI, Response

from cell_monitor_core.telemetry.metrics import render_metrics
from cell_monitor_core.web.errors import install_error_handlers

__all__ = ["Health", "create_health_app", "health_router"]

_log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[object]]

_NO_STORE: Final = {"cache-control": "no-store"}


class Health:
    """What readiness depends on. Checks raise when they fail; their results are kept for a moment.

    Args:
        checks: by name; each is given ``timeout`` seconds.
        keep: seconds that a result is kept, so that probing costs the stores nothing.
    """

    def __init__(self, checks: Mapping[str, Check] | None = None, *, timeout: float = 2.0, keep: float = 1.0) -> None:
        self.checks = dict(checks or {})
        self._timeout = timeout
        self._keep = keep
        self._draining = False
        self._result: dict[str, str] = {}
        self._at: float | None = None
        self._lock = asyncio.Lock()

    @property
    def draining(self) -> bool:
        """Whether the process is on its way out."""
        return self._draining

    def drain(self) -> None:
        """Answer not ready from now on, so that no new work is sent here."""
        self._draining = True

    async def readiness(self) -> tuple[bool, dict[str, str]]:
        """Return whether the service can work, and ``ok`` or what is wrong for each check."""
        async with self._lock:
            now = time.monotonic()
            if self._at is None or now - self._at >= self._keep:
                names = list(self.checks)
                results = await asyncio.gather(*(self._run(name) for name in names))
                self._result, self._at = dict(zip(names, results, strict=True)), time.monotonic()
        return not self._draining and all(result == "ok" for result in self._result.values()), dict(self._result)

    async def _run(self, name: str) -> str:
        try:
            async with asyncio.timeout(self._timeout):
                await self.checks[name]()
        except TimeoutError:
            return "timeout"
        except Exception as error:  # noqa: BLE001 - whatever it is, the service cannot work
            # The message may hold an address or a user name of a store: it is for the log, not for the probe.
            _log.warning("readiness_check_failed", check=name, error=str(error))
            return type(error).__name__
        return "ok"


def health_router(health: Health) -> APIRouter:
    """Return the three routes; they are not part of the documented API."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> Response:
        return Response("ok", headers=_NO_STORE, media_type="text/plain")

    @router.get("/readyz")
    async def readyz() -> Response:
        ready, checks = await health.readiness()
        status = "ok" if ready else "draining" if health.draining else "unavailable"
        lines = [status, *(f"{name}: {result}" for name, result in checks.items())]
        return Response("\n".join(lines), 200 if ready else 503, headers=_NO_STORE, media_type="text/plain")

    @router.get("/metrics")
    async def metrics() -> Response:
        content, content_type = render_metrics()
        return Response(content, headers={**_NO_STORE, "content-type": content_type})

    return router


def create_health_app(health: Health) -> FastAPI:
    """Return an application with nothing but probes and metrics, for services that serve nothing else."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    install_error_handlers(app)
    app.include_router(health_router(health))
    return app
