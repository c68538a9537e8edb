"""Probes and metrics: ``/livez`` (the process answers), ``/readyz`` (it can do its work), ``/metrics``.

A service is live while it answers. An unavailable store makes it not ready: a restart would not help.
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

__all__ = ["HEALTH_PATHS", "Health", "create_health_app", "health_router"]

_log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[object]]

HEALTH_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""They need no authentication."""

_NO_STORE: Final = {"cache-control": "no-store"}
_METHODS: Final = ["GET", "HEAD"]


class Health:
    """The readiness of a process.

    Args:
        checks: functions by name; one that raises has failed.
        advisory: the same; what they find is reported only, for a process that works on without it.
        timeout: seconds after which a check has failed.
        keep: seconds for which results are cached, so that frequent probes do not load the stores.
    """

    def __init__(
        self,
        checks: Mapping[str, Check] | None = None,
        *,
        advisory: Mapping[str, Check] | None = None,
        timeout: float = 2.0,
        keep: float = 1.0,
    ) -> None:
        self.checks = dict(checks or {})
        self.advisory = dict(advisory or {})
        self._timeout = timeout
        self._keep = keep
        self._draining = False
        self._result: dict[str, str] = {}
        self._at: float | None = None
        self._lock = asyncio.Lock()

    @property
    def draining(self) -> bool:
        """Whether the process is shutting down."""
        return self._draining

    def drain(self) -> None:
        """Report not ready from now on, so that the process gets no new requests."""
        self._draining = True

    async def readiness(self) -> tuple[bool, dict[str, str]]:
        """Return whether the service is ready, and for each check ``ok``, ``timeout`` or the class of the error."""
        async with self._lock:
            now = time.monotonic()
            if self._at is None or now - self._at >= self._keep:
                every = self.checks | self.advisory
                results = await asyncio.gather(*(self._run(name, check) for name, check in every.items()))
                self._result, self._at = dict(zip(every, results, strict=True)), time.monotonic()
        well = all(result == "ok" for name, result in self._result.items() if name not in self.advisory)
        return well and not self._draining, dict(self._result)

    async def _run(self, name: str, check: Check) -> str:
        try:
            async with asyncio.timeout(self._timeout):
                await check()
        except TimeoutError:
            return "timeout"
        except Exception as error:  # noqa: BLE001 - any error makes the service not ready
            # The message may contain a store's address or user name, so it is logged and not returned.
            _log.warning("readiness_check_failed", check=name, error=str(error))
            return type(error).__name__
        return "ok"


def health_router(health: Health) -> APIRouter:
    """Return the three routes. They are not in the API's documentation."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/livez", methods=_METHODS)
    async def livez() -> Response:
        return Response("ok", headers=_NO_STORE, media_type="text/plain")

    @router.api_route("/readyz", methods=_METHODS)
    async def readyz() -> Response:
        ready, checks = await health.readiness()
        status = "ok" if ready else "draining" if health.draining else "unavailable"
        lines = [status, *(f"{name}: {result}" for name, result in checks.items())]
        return Response("\n".join(lines), 200 if ready else 503, headers=_NO_STORE, media_type="text/plain")

    @router.api_route("/metrics", methods=_METHODS)
    async def metrics() -> Response:
        content, content_type = render_metrics()
        return Response(content, headers={**_NO_STORE, "content-type": content_type})

    return router


def create_health_app(health: Health) -> FastAPI:
    """Return an application that serves probes and metrics only."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    install_error_handlers(app)
    app.include_router(health_router(health))
    return app
