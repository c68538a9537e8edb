"""The application: routes, error answers, the fast path of ingest before them, the dashboard behind."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from cell_monitor_api.config import ApiSettings
from cell_monitor_api.context import ProcessContext
from cell_monitor_api.dashboard import DashboardFiles
from cell_monitor_api.failures import install_failure_handlers
from cell_monitor_api.handlers import (
    api_keys,
    audit,
    auth,
    client_config,
    course_settings,
    courses,
    events,
    extension,
    failed_events,
    hub_sign_in,
    joining,
    oidc_sign_in,
    own_password,
    students,
    test_mode,
)
from cell_monitor_api.handlers import help as help_requests
from cell_monitor_api.handlers.ingest import IngestFastPath
from cell_monitor_api.openapi import document
from cell_monitor_api.readiness import SchemaWatch, add_checks
from cell_monitor_api.request_metrics import RequestMetrics
from cell_monitor_api.version import VERSION
from cell_monitor_core.events.limits import MAX_BODY_BYTES
from cell_monitor_core.runtime import LoopWatchdog, require_fast_path, tune_gc
from cell_monitor_core.settings import SettingsError
from cell_monitor_core.storage.postgres.probe import PostgresProbe
from cell_monitor_core.telemetry.logs import configure_logging
from cell_monitor_core.telemetry.metrics import (
    BACKGROUND_TASK_ERRORS,
    CATALOGUE,
    EVENT_LOOP_LAG_SECONDS,
    MultiprocessFlush,
    set_build_info,
)
from cell_monitor_core.telemetry.start_errors import report_settings
from cell_monitor_core.telemetry.tracing import configure_tracing, shutdown_tracing
from cell_monitor_core.web.body import BodyLimit
from cell_monitor_core.web.errors import install_error_handlers
from cell_monitor_core.web.health import Health, health_router
from cell_monitor_core.web.listeners import Listeners, OnlyPaths, inside_of, outside_of

__all__ = ["create_api", "create_app"]

_log = structlog.get_logger(__name__)

PREFIX: Final = "/api/v1"
_INGEST_PATHS: Final = (f"{PREFIX}/events", f"{PREFIX}/test/events/")
_CREDENTIAL_PATHS: Final = frozenset({f"{PREFIX}/auth/token", f"{PREFIX}/auth/join"})
_ROUTERS: Final = (
    events.router,
    test_mode.router,
    auth.router,
    hub_sign_in.router,
    oidc_sign_in.router,
    own_password.router,
    courses.router,
    students.router,
    help_requests.router,
    api_keys.router,
    course_settings.router,
    joining.router,
    audit.router,
    failed_events.router,
    client_config.router,
)


def create_api(settings: ApiSettings | None) -> FastAPI:
    """Return the FastAPI application; without settings it can only be described, not run."""
    health = Health()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if settings is None:
            raise RuntimeError("an application without settings can only be described")
        async with serving(app, settings, health):
            yield

    app = FastAPI(
        title="Cell Monitor API",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.add_middleware(QueryBodyLimit)
    app.add_middleware(RequestMetrics)
    install_error_handlers(app)
    install_failure_handlers(app)
    for router in _ROUTERS:
        app.include_router(router, prefix=PREFIX)
    app.include_router(extension.router)
    app.include_router(health_router(health))
    app.openapi = functools.cache(functools.partial(document, app))  # type: ignore[method-assign]
    if settings is not None and settings.dashboard_dir is not None:
        # Not a mount: that would also take the API's paths whose method is wrong.
        app.router.default = DashboardFiles(
            settings.dashboard_dir, gateway_url=settings.gateway_url, not_found=app.router.not_found
        )
    return app


def create_app(settings: ApiSettings | None = None) -> ASGIApp:
    """Return what the server runs: the fast path of ingest before the FastAPI application, for each listener.

    Args:
        settings: those of the environment if None, as where a server calls this by its name.

    Raises:
        SystemExit: the environment does not configure the service; a line for each mistake was written.
    """
    require_fast_path()
    if settings is None:
        try:
            settings = ApiSettings.load()
        except SettingsError as error:
            sys.exit(report_settings(error, "api"))
    configure_logging(settings, "api")
    # uvicorn writes a line for each request as soon as that logger leads anywhere, and that costs more than the request.
    logging.getLogger("uvicorn.access").propagate = False
    app = create_api(settings)
    # What a proxy says of the client matters to sign-in and to redirects; ingest knows its senders by their tokens.
    # The middleware's own default would believe this machine, on which a student's server may run.
    return _listeners(app, ProxyHeadersMiddleware(app, settings.proxies), settings)  # type: ignore[arg-type]


def _listeners(app: FastAPI, behind_proxies: ASGIApp, settings: ApiSettings) -> ASGIApp:
    """Return the application of all ports: what each serves is in docs/operations/network.md."""
    pages: ASGIApp = IngestFastPath(app, behind=behind_proxies)
    if not settings.takes_events_on_pages:
        pages = OnlyPaths(behind_proxies, lambda path: not _takes_events(path))
    by_port: dict[int, ASGIApp] = {}
    if settings.api_ingest_port is not None:
        # A student's server could name any address in a forwarded header.
        ingest = IngestFastPath(app, behind=app)
        by_port[settings.api_ingest_port] = OnlyPaths(
            ingest, lambda path: _takes_events(path) or path in _CREDENTIAL_PATHS
        )
    if settings.api_inside_port is not None:
        by_port[settings.api_inside_port] = inside_of(app)
        pages = outside_of(pages)
    return Listeners(pages, by_port) if by_port else pages


def _takes_events(path: str) -> bool:
    return path == _INGEST_PATHS[0] or path.startswith(_INGEST_PATHS[1])


class QueryBodyLimit(BodyLimit):
    """Bounds the bodies of all routes except ingest's, which have their own bounds and error messages."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, max_bytes=MAX_BODY_BYTES)
        self._unbounded = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"].startswith(_INGEST_PATHS):
            await self._unbounded(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


@asynccontextmanager
async def serving(app: FastAPI, settings: ApiSettings, health: Health) -> AsyncIterator[None]:
    """Hold the process's context for as long as the application serves.

    Raises:
        SchemaMismatch: PostgreSQL has another schema than this program; it must not run.
    """
    configure_tracing(settings, "api")
    set_build_info("api", VERSION)
    async with AsyncExitStack() as stack:
        stack.callback(shutdown_tracing)
        context = await ProcessContext.from_settings(settings)
        stack.push_async_callback(context.aclose)
        schema = SchemaWatch(context.pool)
        stack.push_async_callback(schema.aclose)
        await schema.start()
        probe = PostgresProbe(context.pool)
        stack.push_async_callback(probe.aclose)
        add_checks(health, redis=context.fitness, postgresql=probe, schema=schema)
        app.state.context = context
        await stack.enter_async_context(
            MultiprocessFlush(CATALOGUE, on_error=BACKGROUND_TASK_ERRORS.labels("metrics-flush").inc)
        )
        await stack.enter_async_context(LoopWatchdog(EVENT_LOOP_LAG_SECONDS.observe))
        tune_gc()
        _log.info("api_started", version=VERSION)
        yield
        health.drain()
        _log.info("api_stopping")
