"""Reading an ingest request: who sends, what kind of body, how large, how packed. Shared by both roads of ingest."""

from __future__ import annotations

import asyncio
import zlib
from functools import lru_cache
from typing import Final

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request

from cell_monitor_api.exceptions import (
    BodyTooLarge,
    BodyTooSlow,
    InsufficientScope,
    InvalidBody,
    LengthRequired,
    NotAuthenticated,
    TokenExpiredError,
    TooManyEvents,
    UnsupportedMediaType,
)
from cell_monitor_core.auth.roles import Permission
from cell_monitor_core.auth.tokens import Claims, TokenExpired, TokenInvalid, TokenVerifier
from cell_monitor_core.events.codec import RequestError, decode_request
from cell_monitor_core.events.limits import MAX_BODY_BYTES
from cell_monitor_core.events.reasons import RequestReason

__all__ = [
    "BODY_TIMEOUT_S",
    "DRAINED_BYTES",
    "bearer_token",
    "check_encoding",
    "check_length",
    "check_media_type",
    "last_header",
    "read_body",
    "split",
    "too_large",
    "too_slow",
    "unpack",
    "verify",
]

BODY_TIMEOUT_S: Final = 30
DRAINED_BYTES: Final = 8 * MAX_BODY_BYTES
"""Of a body that is too large so much is read and thrown away, since a sender that is cut off reads no answer."""

_REQUEST_ERRORS: Final = {
    RequestReason.INVALID_BODY: InvalidBody,
    RequestReason.TOO_MANY_EVENTS: TooManyEvents,
    RequestReason.BODY_TOO_LARGE: BodyTooLarge,
}


def last_header(headers: Headers, name: str) -> str | None:
    """Return a header's value; where it comes twice, the last."""
    values = headers.getlist(name)
    return values[-1] if values else None


def bearer_token(authorization: str | None) -> str:
    """Return the token of an ``Authorization`` header.

    Raises:
        NotAuthenticated: there is none.
    """
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip(" \t")
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated("send an access token: Authorization: Bearer <token>")
    return token


def verify(verifier: TokenVerifier, token: str, permission: Permission | None) -> Claims:
    """Return the claims of a token that is valid here and whose grant allows something (None: anything).

    Raises:
        NotAuthenticated, TokenExpiredError, InsufficientScope: it is not.
    """
    try:
        claims = verifier.verify(token)
    except TokenExpired:
        raise TokenExpiredError("the access token has expired: fetch a new one") from None
    except TokenInvalid:
        raise NotAuthenticated("the access token is not valid here") from None
    if permission is not None and not claims.allows(permission):
        raise InsufficientScope(f"the access token does not allow this ({permission})")
    return claims


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
    """Tell whether the body is packed with gzip.

    Raises:
        UnsupportedMediaType: it is packed in another way.
    """
    if encoding is None:
        return False
    name = encoding.strip(b" \t").lower()
    if name == b"gzip":
        return True
    if name in {b"", b"identity"}:
        return False
    raise UnsupportedMediaType("of content encodings only gzip is taken")


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
        raise too_large(close=length > DRAINED_BYTES)


def too_large(*, close: bool = False) -> BodyTooLarge:
    """Return the refusal of a body over the limit; ``close`` ends the connection, too."""
    return BodyTooLarge(
        f"the body is larger than {MAX_BODY_BYTES} bytes: split the batch",
        headers={"connection": "close"} if close else None,
    )


def too_slow() -> BodyTooSlow:
    """Return the refusal of a body that does not come to its end in time."""
    return BodyTooSlow(f"the body did not come within {BODY_TIMEOUT_S} seconds", headers={"connection": "close"})


def unpack(packed: bytes) -> bytes:
    """Unpack gzip, at most as far as the limit of a body.

    Raises:
        BodyTooLarge: it unpacks to more.
        InvalidBody: it is not one whole gzip member.
    """
    stream = zlib.decompressobj(wbits=31)
    try:
        body = stream.decompress(packed, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise InvalidBody("the body is not gzip, as Content-Encoding says") from None
    if len(body) > MAX_BODY_BYTES:
        raise too_large()
    if not stream.eof or stream.unused_data:
        raise InvalidBody("the gzip body is cut off, or something follows it")
    return body


def split(body: bytes) -> list[msgspec.Raw]:
    """Return the events of a request's body, each still to be read.

    Raises:
        InvalidBody, TooManyEvents, BodyTooLarge: it is no request.
    """
    try:
        return decode_request(body)
    except RequestError as error:
        raise _REQUEST_ERRORS[error.reason](error.msg) from None


async def read_body(request: Request) -> bytes:
    """Read a whole body within the limits, in the plain way.

    Raises:
        UnsupportedMediaType, LengthRequired, BodyTooLarge, BodyTooSlow, InvalidBody: as the name says.
    """

    def raw(name: str) -> bytes | None:
        value = last_header(request.headers, name)
        return None if value is None else value.encode("latin-1")

    check_media_type(raw("content-type"))
    packed = check_encoding(raw("content-encoding"))
    check_length(raw("content-length"), raw("transfer-encoding"))
    body = bytearray()
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > DRAINED_BYTES:
                    raise too_large(close=True)
                if size <= MAX_BODY_BYTES:
                    body += chunk
    except TimeoutError:
        raise too_slow() from None
    if size > MAX_BODY_BYTES:
        raise too_large()
    return unpack(bytes(body)) if packed else bytes(body)
