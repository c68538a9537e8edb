"""Failures of the stores, turned into answers that say what to do: try again; refusals of changes, into answers of their codes."""

from __future__ import annotations

from typing import Final

import asyncpg
import structlog
from fastapi import FastAPI, Request
from redis.exceptions import RedisClusterException, RedisError
from starlette.responses import Response

from cell_monitor_api.exceptions import (
    BrokerUnavailable,
    CourseExists,
    DatabaseUnavailable,
    InvalidParameter,
    LogUnavailableError,
    ManagedElsewhere,
    MemberProtected,
    NotFound,
    PermissionDenied,
)
from cell_monitor_core.administration import refusals
from cell_monitor_core.redis_client import reason_of
from cell_monitor_core.storage.ports import LogUnavailable, PostgresUnavailable, RedisUnavailable
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_core.web.errors import ClientRequestError, Detail, error_response

__all__ = ["install_failure_handlers", "refusal_answer"]

_log = structlog.get_logger(__name__)

_RETRY_S: Final = 5

_REFUSALS: Final[dict[type[refusals.Refusal], type[ClientRequestError]]] = {
    refusals.CourseIdTaken: CourseExists,
    refusals.ManagedBySource: ManagedElsewhere,
    refusals.NotPermitted: PermissionDenied,
    refusals.ProtectedMember: MemberProtected,
    refusals.Unknown: NotFound,
    refusals.UnknownCourse: NotFound,
    refusals.Unusable: InvalidParameter,
}
"""The answer to each refusal of ``core.administration``."""


def _answer(error: ClientRequestError | None) -> Response:
    status, headers, body = error_response(error)
    response = Response(body, status)
    response.raw_headers = headers
    return response


async def _postgres_unavailable(request: Request, error: Exception) -> Response:
    _log.warning("postgresql_unavailable", path=_template(request), reason=str(error))
    return _answer(DatabaseUnavailable("the database does not answer; try again", retry_after=_RETRY_S))


async def _redis_unavailable(request: Request, error: Exception) -> Response:
    # The message of redis-py's own errors may hold an address.
    reason = str(error) if isinstance(error, RedisUnavailable) else reason_of(error)
    _log.warning("redis_unavailable", path=_template(request), reason=reason)
    return _answer(BrokerUnavailable("Redis does not answer; try again", retry_after=_RETRY_S))


async def _log_unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, LogUnavailable)
    _log.warning("event_log_unavailable", path=_template(request), reason=error.reason)
    return _answer(LogUnavailableError("the event queue takes nothing now; try again", retry_after=error.retry_after))


async def _store_error(request: Request, error: Exception) -> Response:
    """Answer what asyncpg or the network raised: 503 if the server is the cause, 500 if we are."""
    try:
        with store_errors():
            raise error
    except PostgresUnavailable as unavailable:
        return await _postgres_unavailable(request, unavailable)
    except Exception:  # noqa: BLE001 - logged, and answered as what it is
        _log.exception("request_failed", path=_template(request), method=request.method)
        return _answer(None)


def refusal_answer(refusal: refusals.Refusal) -> Response:
    """Return the answer to a change that is refused."""
    further = [Detail(_REFUSALS[type(each)].error, each.msg, _loc(each)) for each in refusal.further]
    return _answer(_REFUSALS[type(refusal)](refusal.msg, loc=_loc(refusal), further=further))


def _loc(refusal: refusals.Refusal) -> list[str | int] | None:
    return ["body", *refusal.field] if refusal.field else None


async def _change_refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, refusals.Refusal)
    return refusal_answer(error)


def _template(request: Request) -> str | None:
    """Return the route's template: the path itself may hold ids."""
    return getattr(request.scope.get("route"), "path", None)


def install_failure_handlers(app: FastAPI) -> None:
    """Make an application answer the stores' failures with 503, and refusals of changes by their codes."""
    app.add_exception_handler(refusals.Refusal, _change_refused)
    app.add_exception_handler(PostgresUnavailable, _postgres_unavailable)
    for kind in (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        app.add_exception_handler(kind, _store_error)
    app.add_exception_handler(LogUnavailable, _log_unavailable)
    app.add_exception_handler(RedisUnavailable, _redis_unavailable)
    app.add_exception_handler(RedisError, _redis_unavailable)
    app.add_exception_handler(RedisClusterException, _redis_unavailable)
