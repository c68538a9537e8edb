"""The WebSocket protocol ``cell-monitor.v1``: frames, close codes, and their bytes on the wire. See docs/dev/contracts.md.

A frame that many connections get is encoded once, WebSocket header included: a server's text frame is the same bytes
for all of them (RFC 6455, section 5: servers do not mask).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Protocol, Self, TypeAlias

import msgspec

from cell_monitor_core.publications import Publication, Watermark
from cell_monitor_core.timestamps import to_text

__all__ = [
    "MAX_REQUEST_BYTES",
    "PING_FRAME",
    "SUBPROTOCOL",
    "CloseCode",
    "Connect",
    "ErrorType",
    "Pong",
    "PresenceRequest",
    "ProtocolError",
    "Refresh",
    "Refusal",
    "Request",
    "Subscribe",
    "Subscriber",
    "Unsubscribe",
    "close_frame",
    "connected",
    "decode_request",
    "disconnect",
    "error",
    "presence",
    "publications",
    "refreshed",
    "rfc3339",
    "subscribed",
    "text_frame",
    "unsubscribed",
    "watermark",
]

SUBPROTOCOL: Final = "cell-monitor.v1"
MAX_REQUEST_BYTES: Final = 16 * 1024
MAX_PUBLICATIONS_FRAME_BYTES: Final = 256 * 1024
"""Publications beyond this go into another frame; many clients refuse frames over 1 MiB."""

_Id: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_ChannelName: TypeAlias = Annotated[str, msgspec.Meta(max_length=80)]
_Token: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]


class CloseCode(enum.IntEnum):
    """Why the gateway ends a connection. 3000 to 3499: reconnect. 3500 to 3999: do not, something must change first."""

    description: str

    def __new__(cls, code: int, description: str) -> Self:
        """Bind a code to its description."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.description = description
        return member

    SHUTDOWN = (3001, "This gateway is shutting down. Reconnect after reconnect_after_ms; nothing is lost.")
    EXPIRED = (3005, "The token has expired. Fetch a new one and reconnect.")
    SLOW = (3008, "The connection took its frames too slowly and too many waited. Reconnect: recovery fills the gap.")
    INSUFFICIENT_STATE = (
        3010,
        "Publications were lost or their store is unavailable. Reconnect: recovery fills the gap.",
    )
    NO_PONG = (3012, "No frame arrived in time after a ping. Reconnect.")
    TOO_MANY_REQUESTS = (3013, "More requests a second than a client needs. Reconnect and send fewer.")
    INVALID_TOKEN = (3500, "The token is not valid for this gateway. Sign in again.")
    BAD_REQUEST = (3501, "A frame broke the protocol. The client has a fault or speaks another version.")
    STALE = (3502, "No connect frame arrived in time after the handshake.")
    PERMISSION_DENIED = (3507, "The person may no longer watch a channel that this connection had subscribed to.")

    @property
    def reconnect(self) -> bool:
        """Whether the client should reconnect by itself."""
        return self < 3500

    @property
    def reason(self) -> str:
        """The code's name as in the close frame, such as ``no_pong``."""
        return self.name.lower()


class Refusal(enum.Enum):
    """Why the gateway answers a handshake with an HTTP error. 503: retry; else something must change first."""

    status: int
    description: str

    def __new__(cls, kind: str, status: int, description: str) -> Self:
        """Bind an error's type to its status and description."""
        member = object.__new__(cls)
        member._value_ = kind
        member.status = status
        member.description = description
        return member

    UNSUPPORTED_SUBPROTOCOL = ("unsupported_subprotocol", 400, f"Ask for the subprotocol {SUBPROTOCOL}.")
    ORIGIN_FORBIDDEN = ("origin_forbidden", 403, "Pages of this origin may not connect.")
    DRAINING = ("draining", 503, "This gateway is shutting down; reconnect in a moment.")
    CONNECTION_LIMIT = (
        "connection_limit",
        503,
        "This gateway has all the connections that it may have; reconnect in a moment.",
    )


class ErrorType(enum.StrEnum):
    """Types of ``error`` replies; the connection stays open."""

    PERMISSION_DENIED = "permission_denied"
    INVALID_CHANNEL = "invalid_channel"
    INVALID_POSITION = "invalid_position"
    INVALID_TOKEN = "invalid_token"  # noqa: S105 - a name
    TOO_MANY_SUBSCRIPTIONS = "too_many_subscriptions"
    UNAVAILABLE = "unavailable"


class Subscriber(Protocol):
    """A connection as channels and the drain see it."""

    @property
    def id(self) -> str:
        """Name of the connection, unique among all gateways."""
        ...

    def backlog(self) -> int:
        """Return the bytes that wait for the peer."""
        ...

    def write(self, frame: bytes) -> None:
        """Send a frame, header included, without waiting."""
        ...

    def close(self, code: CloseCode, *, reconnect_after_ms: int = ...) -> None:
        """Close, and leave all channels at once; a second call changes nothing."""
        ...


class ProtocolError(ValueError):
    """A frame that is not of the protocol; the message says what is wrong."""


class Connect(msgspec.Struct, tag_field="type", tag="connect", frozen=True):
    """The first frame: proves who connects."""

    id: _Id
    token: _Token


class Subscribe(msgspec.Struct, tag_field="type", tag="subscribe", frozen=True):
    """Follow a channel from after a position, or from now on."""

    id: _Id
    channel: _ChannelName
    epoch: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    offset: _Id | None = None


class Unsubscribe(msgspec.Struct, tag_field="type", tag="unsubscribe", frozen=True):
    """Stop following a channel."""

    id: _Id
    channel: _ChannelName


class Refresh(msgspec.Struct, tag_field="type", tag="refresh", frozen=True):
    """A newer token of the same person."""

    id: _Id
    token: _Token


class PresenceRequest(msgspec.Struct, tag_field="type", tag="presence", frozen=True):
    """How many connections watch a channel."""

    id: _Id
    channel: _ChannelName


class Pong(msgspec.Struct, tag_field="type", tag="pong", frozen=True):
    """The answer to a ping."""


Request: TypeAlias = Connect | Subscribe | Unsubscribe | Refresh | PresenceRequest | Pong

_decoder: Final = msgspec.json.Decoder(Request)
_encoder: Final = msgspec.json.Encoder()


def decode_request(text: str) -> Request:
    """Decode a client's frame; fields that this version does not know are left out.

    Raises:
        ProtocolError: not JSON, of no known type, too long, or with a wrong field.
    """
    # UTF-8 needs at least a byte for each character; the server's own limit counts the bytes.
    if len(text) > MAX_REQUEST_BYTES:
        raise ProtocolError(f"a frame has at most {MAX_REQUEST_BYTES} bytes")
    try:
        request: Request = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as fault:
        raise ProtocolError(str(fault)[:200]) from fault
    return request


def text_frame(payload: bytes) -> bytes:
    """Return one unmasked text frame with its header (RFC 6455, section 5.2)."""
    return _frame_header(0x81, len(payload)) + payload


def close_frame(code: CloseCode) -> bytes:
    """Return a close frame with its code and reason."""
    payload = int(code).to_bytes(2, "big") + code.reason.encode()
    return _frame_header(0x88, len(payload)) + payload


def _frame_header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def rfc3339(seconds: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC."""
    return to_text(datetime.fromtimestamp(seconds, UTC))


PING_FRAME: Final = text_frame(b'{"type":"ping"}')


def connected(request_id: int, *, ping_interval: float, expires_at: str) -> bytes:
    """Return the frame that answers ``connect``."""
    reply = {
        "type": "connected",
        "id": request_id,
        "ping_interval_s": ping_interval,
        "expires_at": expires_at,
        # A gateway of an earlier release sends none: its pages cannot wait for them.
        "watermarks": True,
    }
    return text_frame(_encoder.encode(reply))


def refreshed(request_id: int, *, expires_at: str) -> bytes:
    """Return the frame that answers ``refresh``."""
    return text_frame(_encoder.encode({"type": "refreshed", "id": request_id, "expires_at": expires_at}))


def subscribed(
    request_id: int, channel: str, *, epoch: str, offset: int, recovered: bool, recovery: Sequence[bytes]
) -> bytes:
    """Return the frame that answers ``subscribe``; ``recovery`` holds encoded publications."""
    head = _encoder.encode(
        {
            "type": "subscribed",
            "id": request_id,
            "channel": channel,
            "epoch": epoch,
            "offset": offset,
            "recovered": recovered,
        }
    )
    return text_frame(head[:-1] + b',"publications":[' + b",".join(recovery) + b"]}")


def unsubscribed(request_id: int, channel: str) -> bytes:
    """Return the frame that answers ``unsubscribe``."""
    return text_frame(_encoder.encode({"type": "unsubscribed", "id": request_id, "channel": channel}))


def presence(request_id: int, channel: str, *, watching: int) -> bytes:
    """Return the frame that answers ``presence``."""
    reply = {"type": "presence", "id": request_id, "channel": channel, "watching": watching}
    return text_frame(_encoder.encode(reply))


def error(request_id: int, kind: ErrorType, message: str) -> bytes:
    """Return the frame that refuses a request."""
    reply = {"type": "error", "id": request_id, "error": {"type": kind, "msg": message}}
    return text_frame(_encoder.encode(reply))


def disconnect(code: CloseCode, reconnect_after_ms: int | None) -> bytes:
    """Return the frame that announces a close; ``reconnect_after_ms`` is null where the client should not reconnect."""
    reply = {
        "type": "disconnect",
        "code": int(code),
        "reason": code.reason,
        "reconnect_after_ms": reconnect_after_ms if code.reconnect else None,
    }
    return text_frame(_encoder.encode(reply))


def encode_publication(publication: Publication) -> bytes:
    """Return a publication's JSON."""
    return _encoder.encode(publication)


def publications(channel: str, encoded: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (number of publications, frame) until all encoded publications are in a frame."""
    head = b'{"type":"publications","channel":' + _encoder.encode(channel) + b',"publications":['
    start = size = 0
    for index, one in enumerate(encoded):
        if size and size + len(one) > MAX_PUBLICATIONS_FRAME_BYTES:
            yield index - start, text_frame(head + b",".join(encoded[start:index]) + b"]}")
            start, size = index, 0
        size += len(one) + 1
    if start < len(encoded):
        yield len(encoded) - start, text_frame(head + b",".join(encoded[start:]) + b"]}")


def watermark(mark: Watermark) -> bytes:
    """Return the frame that says how current a channel is for those who have its publications up to ``offset``."""
    frame = {
        "type": "watermark",
        "channel": mark.channel,
        "epoch": mark.epoch,
        "offset": mark.offset,
        "at": mark.at,
        "published_at": mark.published_at,
    }
    return text_frame(_encoder.encode(frame))
