"""Ingest requests: how they are read, and the fast path of ``POST /api/v1/events``, a plain ASGI callable before FastAPI.

FastAPI's routing, dependencies and response models cost several times what taking an event costs (docs/adr/0008). The
same route exists in FastAPI (``handlers.events``), the reference path: it is what OpenAPI shows, and tests send the same
requests to both and compare the answers byte for byte. What becomes of an event is decided in ``services.ingest`` for both.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from functools import lru_cache
from typing import Any, Final

import msgspec
import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from cell_monitor_api.access_tokens import bearer_token, last_header, verify
from cell_monitor_api.context import ProcessContext
from cell_monitor_api.exceptions import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidBody,
    LengthRequired,
    TooManyEvents,
    UnsupportedMediaType,
)
from cell_monitor_api.services.ingest import Sender
from cell_monitor_core.auth.roles import Permission
from cell_monitor_core.auth.tokens import Claims, TokenVerifier
from cell_monitor_core.events.codec import IngestRequest, RequestError, decode_request
from cell_monitor_core.events.limits import MAX_BODY_BYTES
from cell_monitor_core.events.reasons import RequestReason
from cell_monitor_core.web.errors import ClientRequestError, error_response

__all__ = ["BODY_TIMEOUT_S", "PATH", "IngestFastPath", "read_events"]

_log = structlog.get_logger(__name__)

PATH: Final = "/api/v1/events"
BODY_TIMEOUT_S: Final = 30

_DRAINED_BYTES: Final = 8 * MAX_BODY_BYTES
"""So much of a body that is too large is read and discarded: a sender that is cut off reads no answer."""
_MAX_SENDERS: Final = 20_000
_REQUEST_ERRORS: Final = {
    RequestReason.INVALID_BODY: InvalidBody,
    RequestReason.TOO_MANY_EVENTS: TooManyEvents,
    RequestReason.BODY_TOO_LARGE: BodyTooLarge,
}
_JSON: Final = (b"content-type", b"application/json")
_LENGTHS: Final = [str(length).encode() for length in range(4096)]

_encoder = msgspec.json.Encoder()


@lru_cache(maxsize=64)
def check_media_type(content_type: bytes | None) -> None:
    """Accept JSON in UTF-8 only.

    Raises:
        UnsupportedMediaType: anything else.
    """
    media_type, *parameters = (content_type or b"").decode("latin-1").split(";")
    charset = "utf-8"
    for parameter in parameters:
        name, _, value = parameter.strip(" \t").partition("=")
        if name.lower() == "charset":
            charset = value.strip('"').lower()
    if media_type.strip(" \t").lower() != "application/json" or charset not in {"utf-8", "utf8"}:
        raise UnsupportedMediaType("send JSON in UTF-8 with Content-Type: application/json")


def check_encoding(encoding: bytes | None) -> bool:
    """Return whether the body is compressed with gzip.

    Raises:
        UnsupportedMediaType: it is encoded in another way.
    """
    if encoding is None:
        return False
    name = encoding.strip(b" \t").lower()
    if name == b"gzip":
        return True
    if name in {b"", b"identity"}:
        return False
    raise UnsupportedMediaType("the only content encoding that is accepted is gzip")


@lru_cache(maxsize=4096)
def check_length(content_length: bytes | None, transfer_encoding: bytes | None) -> None:
    """Refuse a body without a known end, or one that says that it is too large.

    Raises:
        LengthRequired, InvalidBody, BodyTooLarge: it is.
    """
    if content_length is None:
        if transfer_encoding is None:
            raise LengthRequired("send Content-Length or a chunked body")
        return
    if not content_length.isdigit() or len(content_length) > 18:
        raise InvalidBody("Content-Length is not a number of bytes")
    length = int(content_length)
    if length > MAX_BODY_BYTES:
        raise too_large(close=length > _DRAINED_BYTES)


def too_large(*, close: bool = False) -> BodyTooLarge:
    """Return the refusal of a body over the limit; ``close`` ends the connection as well."""
    return BodyTooLarge(
        f"the body is larger than {MAX_BODY_BYTES} bytes: split the batch",
        headers={"connection": "close"} if close else None,
    )


def too_slow() -> BodyTooSlow:
    """Return the refusal of a body that is not complete in time."""
    return BodyTooSlow(f"the body was not complete within {BODY_TIMEOUT_S} seconds", headers={"connection": "close"})


def decompress(compressed: bytes) -> bytes:
    """Decompress gzip, at most as far as the limit of a body.

    Raises:
        BodyTooLarge: it decompresses to more.
        InvalidBody: it is not one whole gzip member.
    """
    stream = zlib.decompressobj(wbits=31)
    try:
        body = stream.decompress(compressed, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise InvalidBody("the body is not gzip, as Content-Encoding says") from None
    if len(body) > MAX_BODY_BYTES:
        raise too_large()
    if not stream.eof or stream.unused_data:
        raise InvalidBody("the gzip body is cut off, or something follows it")
    return body


def split(body: bytes) -> IngestRequest:
    """Return the events of a request's body, each still to be read, and what the body says of their waits.

    Raises:
        InvalidBody, TooManyEvents, BodyTooLarge: it is no request.
    """
    try:
        return decode_request(body)
    except RequestError as error:
        raise _REQUEST_ERRORS[error.reason](error.msg) from None


async def read_events(request: Request) -> IngestRequest:
    """Read the body of a request within the limits: what the fast path does, through Starlette's request.

    Raises:
        UnsupportedMediaType, LengthRequired, BodyTooLarge, BodyTooSlow, InvalidBody, TooManyEvents: as the name says.
    """

    def raw(name: str) -> bytes | None:
        value = last_header(request.headers, name)
        return None if value is None else value.encode("latin-1")

    check_media_type(raw("content-type"))
    compressed = check_encoding(raw("content-encoding"))
    check_length(raw("content-length"), raw("transfer-encoding"))
    body = bytearray()
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > _DRAINED_BYTES:
                    raise too_large(close=True)
                if size <= MAX_BODY_BYTES:
                    body += chunk
    except TimeoutError:
        raise too_slow() from None
    if size > MAX_BODY_BYTES:
        raise too_large()
    return split(decompress(bytes(body)) if compressed else bytes(body))


class _Disconnected(Exception):  # noqa: N818 - not an error
    """The client has disconnected and reads no answer."""


class _Known:
    """A token that was verified before: its claims, the verifier's epoch, and the sender that it proves."""

    __slots__ = ("claims", "epoch", "sender")

    def __init__(self, claims: Claims, epoch: int) -> None:
        self.claims = claims
        self.epoch = epoch
        self.sender = Sender(claims)


class IngestFastPath:
    """Answers ``POST /api/v1/events``; hands every other request to the application behind it.

    Args:
        app: the FastAPI application. Its lifespan puts the process's context into ``app.state.context``.
        behind: what other requests are handed to, if not the application itself.
    """

    def __init__(self, app: Any, *, behind: ASGIApp | None = None) -> None:
        self.app: ASGIApp = app
        self._behind: ASGIApp = behind or app
        self._state = app.state
        self._process: ProcessContext | None = None
        self._known: dict[bytes, _Known] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            if scope["type"] == "lifespan":
                self._process = None
            await self._behind(scope, receive, send)
            return
        process = self._process
        if process is None:
            process = self._process = self._state.context
        started = time.perf_counter()
        headers: list[tuple[bytes, bytes]]
        try:
            asked = dict(scope["headers"])
            sender = self._sender(process.ingest_verifier, asked.get(b"authorization"))
            check_media_type(asked.get(b"content-type"))
            compressed = check_encoding(asked.get(b"content-encoding"))
            check_length(asked.get(b"content-length"), asked.get(b"transfer-encoding"))
            message = await receive()
            content = await _whole(message, receive) if message.get("more_body") else _checked(message)
            # From here on it is our time; before, it was the sender's network's.
            started = time.perf_counter()
            events = split(decompress(content) if compressed else content)
            parent = asked.get(b"traceparent")
            answer, retry_after = await process.ingest.take(
                sender, events, traceparent=None if parent is None else parent.decode("latin-1")
            )
            body = _encoder.encode(answer)
            length = len(body)
            headers = [_JSON, (b"content-length", _LENGTHS[length] if length < 4096 else str(length).encode())]
            if retry_after is not None:
                headers.append((b"retry-after", str(retry_after).encode()))
            status = 200
        except ClientRequestError as error:
            status, headers, body = error_response(error)
        except _Disconnected:
            return
        except Exception:  # noqa: BLE001 - logged, and answered as what it is
            # The application behind answers unexpected errors itself; here nothing is behind us.
            _log.exception("ingest_failed")
            status, headers, body = error_response(None)
        process.ingest.metrics.request(status, time.perf_counter() - started)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _sender(self, verifier: TokenVerifier, authorization: bytes | None) -> Sender:
        """Return who sends, as the token proves; a token is verified once."""
        known = self._known.get(authorization or b"")
        if known is None or not verifier.holds(known.claims, known.epoch):
            token = bearer_token(None if authorization is None else authorization.decode("latin-1"))
            known = _Known(verify(verifier, token, Permission.SEND_EVENTS), verifier.epoch)
            if len(self._known) >= _MAX_SENDERS:
                self._known.clear()
            # Under its usual spelling only: others could be any number and any length.
            self._known[b"Bearer " + token.encode("latin-1")] = known
        return known.sender


def _checked(message: Any) -> bytes:
    """Return a body that one message holds."""
    if message["type"] == "http.disconnect":
        raise _Disconnected
    body: bytes = message.get("body", b"")
    if len(body) > MAX_BODY_BYTES:
        raise too_large(close=len(body) > _DRAINED_BYTES)
    return body


async def _whole(message: Any, receive: Receive) -> bytes:
    """Return a body of which the first message holds a part; the rest has a deadline."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _rest(message.get("body", b""), receive)
    except TimeoutError:
        raise too_slow() from None


async def _rest(body: bytes, receive: Receive) -> bytes:
    """Read what follows the first part of a body."""
    parts = [body]
    size = len(body)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size > _DRAINED_BYTES:
            raise too_large(close=True)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        more = message.get("more_body", False)
    if size > MAX_BODY_BYTES:
        raise too_large()
    return b"".join(parts)
