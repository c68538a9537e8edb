"""The error responses of all services: ``{"detail": [{"type": code, "msg": text, "loc"?: [...]}]}``.

``type`` is a stable code for programs. ``msg`` describes for people what is wrong and what to do. A response never repeats
parts of the request, nor the message of an unexpected exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

__all__ = ["ClientRequestError", "Detail", "error_body", "error_response", "install_error_handlers"]

_log = structlog.get_logger(__name__)

_CODES: Final = {
    400: "invalid_request",
    401: "not_authenticated",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    411: "length_required",
    413: "body_too_large",
    415: "unsupported_media_type",
    426: "upgrade_required",
    429: "rate_limited",
    503: "unavailable",
}
_MAX_FAULTS: Final = 500
"""As many as a roster may have members: each bad one is named."""
_INTERNAL: Final = "the service failed; the error has been logged, try again later"


class Detail(msgspec.Struct, omit_defaults=True, frozen=True):
    """One error of a response."""

    type: str
    msg: str
    loc: Sequence[str | int] | None = None


class ClientRequestError(Exception):
    """A request that is refused. Subclasses set ``error``, the stable code, and ``status_code``.

    Args:
        msg: what is wrong and what to do, for people.
        loc: path of the error in the request, such as ``("body", "events")``.
        retry_after: seconds after which the client should try again (``Retry-After``).
        headers: further headers of the response, such as ``{"connection": "close"}``.
        further: other errors of the same request, which the response names as well.
    """

    error: ClassVar[str] = "invalid_request"
    status_code: ClassVar[int] = 400

    def __init__(
        self,
        msg: str,
        *,
        loc: Sequence[str | int] | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        further: Sequence[Detail] = (),
    ) -> None:
        super().__init__(msg)
        self.further = tuple(further)
        self.msg = msg
        self.loc = loc
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["retry-after"] = str(retry_after)


def error_body(*details: Detail) -> bytes:
    """Return the JSON body of a response with these errors."""
    return msgspec.json.encode({"detail": details})


def error_response(error: ClientRequestError | None) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body for ASGI. ``None`` stands for an internal error."""
    if error is None:
        status, extra, body = 500, {}, error_body(Detail("internal_error", _INTERNAL))
    else:
        status, extra = error.status_code, error.headers
        body = error_body(Detail(error.error, error.msg, error.loc), *error.further)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in extra.items()]
    return status, headers, body


def _response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, headers=dict(headers or {}), media_type="application/json")


async def _client_request_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ClientRequestError)
    status, headers, body = error_response(error)
    response = Response(body, status)
    response.raw_headers = headers
    return response


async def _http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "internal_error" if error.status_code >= 500 else "invalid_request")
    body = error_body(Detail(code, str(error.detail)))
    return _response(error.status_code, body, error.headers)


async def _validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # FastAPI would repeat the inputs, which may contain passwords.
    faults = error.errors()
    details = [
        Detail(str(fault["type"]), str(fault["msg"]), [part for part in fault["loc"] if isinstance(part, str | int)])
        for fault in faults[:_MAX_FAULTS]
    ]
    if len(faults) > _MAX_FAULTS:
        details.append(Detail("more_errors", f"{len(faults) - _MAX_FAULTS} more errors are not listed"))
    return _response(422, error_body(*details))


async def _unexpected_error(request: Request, error: Exception) -> Response:
    route: Any = request.scope.get("route")
    _log.error("request_failed", method=request.method, route=getattr(route, "path", None), exc_info=error)
    return _response(500, error_body(Detail("internal_error", _INTERNAL)))


def install_error_handlers(app: FastAPI) -> None:
    """Make an application answer all errors in this form."""
    app.add_exception_handler(ClientRequestError, _client_request_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _unexpected_error)
