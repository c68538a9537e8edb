"""One WebSocket connection: its requests, its person, its deadlines."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import structlog

from cell_monitor_core.auth.tokens import Claims, TokenExpired, TokenInvalid
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_gateway import metrics, protocol
from cell_monitor_gateway.access import may_watch
from cell_monitor_gateway.authenticator import Authenticator
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.hub import Hub
from cell_monitor_gateway.presence import PresenceReporter
from cell_monitor_gateway.protocol import (
    CloseCode,
    Connect,
    ErrorType,
    Pong,
    PresenceRequest,
    ProtocolError,
    Refresh,
    Request,
    Subscribe,
    Unsubscribe,
)
from cell_monitor_gateway.writers import FrameWriter

__all__ = ["Session", "SessionLimits"]

_log = structlog.get_logger(__name__)

ABORT_SECONDS: Final = 10.0
"""How long a peer may leave a close unanswered."""
_RECONNECT_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Bounds of every session; see the settings of the same names."""

    max_subscriptions: int
    max_backlog_bytes: int
    requests_per_s: float
    request_burst: int
    ping_interval_s: float
    pong_timeout_s: float
    connect_timeout_s: float

    @classmethod
    def from_settings(cls, settings: GatewaySettings) -> Self:
        """Take the limits from the settings."""
        return cls(
            max_subscriptions=settings.gateway_max_subscriptions,
            max_backlog_bytes=settings.gateway_max_backlog_bytes,
            requests_per_s=settings.gateway_requests_per_s,
            request_burst=settings.gateway_request_burst,
            ping_interval_s=settings.gateway_ping_interval_s,
            pong_timeout_s=settings.gateway_pong_timeout_s,
            connect_timeout_s=settings.gateway_connect_timeout_s,
        )


class Session:
    """One connection, a ``Subscriber``. Only requests that read a store or fetch keys wait for anything.

    Attributes:
        id: random name, in logs and in presence.
        backlog: returns the bytes that wait for the peer; the writer's own method, as it is called for every frame.
        write: sends a frame, header included; the writer's own method.
        claims: what the newest token says; None before ``connect``.
        subscriptions: channels that the session follows.
        closing: whether a close was announced, or the connection has ended.
        aborted: whether the connection was dropped because the peer did not answer the close.
    """

    __slots__ = (
        "_allowance",
        "_allowance_at",
        "_authenticator",
        "_closed_at",
        "_hub",
        "_last_received_at",
        "_limits",
        "_next_ping_at",
        "_opened_at",
        "_pinged_at",
        "_presence",
        "_writer",
        "aborted",
        "backlog",
        "claims",
        "closing",
        "id",
        "subscriptions",
        "write",
    )

    def __init__(
        self,
        writer: FrameWriter,
        *,
        authenticator: Authenticator,
        hub: Hub,
        presence: PresenceReporter,
        limits: SessionLimits,
    ) -> None:
        self._writer = writer
        self._authenticator = authenticator
        self._hub = hub
        self._presence = presence
        self._limits = limits
        self.backlog: Callable[[], int] = writer.backlog
        self.write: Callable[[bytes], None] = writer.write
        self.id = secrets.token_hex(8)
        self.claims: Claims | None = None
        self.subscriptions: set[str] = set()
        self.closing = False
        self.aborted = False
        now = asyncio.get_running_loop().time()
        self._opened_at = now
        self._next_ping_at = float("inf")
        self._pinged_at: float | None = None
        self._closed_at = float("inf")
        self._allowance = float(limits.request_burst)
        self._allowance_at = now

    # Requests

    async def receive(self, text: str | None) -> None:
        """Handle one frame of the client; None stands for a binary one."""
        if self.closing:
            return
        self._pinged_at = None
        if not self._within_rate(asyncio.get_running_loop().time()):
            self.close(CloseCode.TOO_MANY_REQUESTS)
            return
        try:
            if text is None:
                raise ProtocolError("frames are text")
            request = protocol.decode_request(text)
            if isinstance(request, Connect) != (self.claims is None):
                raise ProtocolError("connect is the first frame and is sent once")
        except ProtocolError as error:
            _log.info("protocol_error", connection=self.id, error=str(error))
            self.close(CloseCode.BAD_REQUEST)
            return
        await self._handle(request)

    async def _handle(self, request: Request) -> None:
        match request:
            case Pong():
                pass
            case Connect():
                await self._connect(request)
            case Subscribe():
                await self._subscribe(request)
            case Unsubscribe():
                self._leave(request.channel)
                self.write(protocol.unsubscribed(request.id, request.channel))
            case Refresh():
                await self._refresh(request)
            case PresenceRequest():
                await self._count_presence(request)

    def _within_rate(self, now: float) -> bool:
        """Take one request from the token bucket; return whether there was one."""
        limits = self._limits
        earned = (now - self._allowance_at) * limits.requests_per_s
        self._allowance = min(self._allowance + earned, float(limits.request_burst)) - 1
        self._allowance_at = now
        return self._allowance >= 0

    async def _connect(self, request: Connect) -> None:
        try:
            claims = await self._authenticator.verify(request.token)
        except TokenExpired:
            self.close(CloseCode.EXPIRED)
            return
        except TokenInvalid as error:
            _log.info("token_invalid", connection=self.id, error=str(error))
            self.close(CloseCode.INVALID_TOKEN)
            return
        except StoreUnavailable:
            self.close(CloseCode.INSUFFICIENT_STATE)
            return
        if self.closing:
            return
        self.claims = claims
        interval = self._limits.ping_interval_s
        self._next_ping_at = asyncio.get_running_loop().time() + interval
        self.write(protocol.connected(request.id, ping_interval=interval, expires_at=protocol.rfc3339(claims.exp)))

    async def _refresh(self, request: Refresh) -> None:
        assert self.claims is not None
        try:
            claims = await self._authenticator.verify(request.token)
        except (TokenExpired, TokenInvalid, StoreUnavailable):
            self.write(protocol.error(request.id, ErrorType.INVALID_TOKEN, "this token cannot be used"))
            return
        if self.closing:
            return
        if claims.sub != self.claims.sub:
            self.close(CloseCode.INVALID_TOKEN)
            return
        self.claims = claims
        if not all(may_watch(claims, channel) for channel in self.subscriptions):
            self.close(CloseCode.PERMISSION_DENIED)
            return
        self.write(protocol.refreshed(request.id, expires_at=protocol.rfc3339(claims.exp)))

    def _permitted(self, request: Subscribe | PresenceRequest) -> bool:
        """Return whether the person may watch a request's channel; if not, answer with an error."""
        assert self.claims is not None
        try:
            if may_watch(self.claims, request.channel):
                return True
        except ValueError:
            self.write(protocol.error(request.id, ErrorType.INVALID_CHANNEL, "a channel is course:<id> or test:<id>"))
            return False
        self.write(
            protocol.error(request.id, ErrorType.PERMISSION_DENIED, "only staff of a course may watch its channel")
        )
        return False

    async def _subscribe(self, request: Subscribe) -> None:
        if not self._permitted(request):
            return
        if (request.epoch is None) != (request.offset is None):
            self.write(
                protocol.error(request.id, ErrorType.INVALID_POSITION, "epoch and offset come together or not at all")
            )
            return
        # A second subscription to a channel starts over: the client knows best what it has.
        self._leave(request.channel)
        if len(self.subscriptions) >= self._limits.max_subscriptions:
            self.write(
                protocol.error(request.id, ErrorType.TOO_MANY_SUBSCRIPTIONS, "unsubscribe from another channel first")
            )
            return
        try:
            subscription = await self._hub.subscribe(self, request.channel, request.epoch, request.offset or 0)
        except StoreUnavailable:
            # Not an error reply: the client recovers as after any loss.
            self.close(CloseCode.INSUFFICIENT_STATE)
            return
        # From here to the next await nothing else can be written: the answer precedes the first live frame.
        if subscription.recovered:
            self.subscriptions.add(request.channel)
        if self.closing:
            self._leave(request.channel)
            return
        self.write(
            protocol.subscribed(
                request.id,
                request.channel,
                epoch=subscription.epoch,
                offset=subscription.offset,
                recovered=subscription.recovered,
                recovery=subscription.publications,
            )
        )

    async def _count_presence(self, request: PresenceRequest) -> None:
        if not self._permitted(request):
            return
        try:
            watching = await self._presence.count(request.channel)
        except StoreUnavailable:
            self.write(protocol.error(request.id, ErrorType.UNAVAILABLE, "presence cannot be read now"))
            return
        self.write(protocol.presence(request.id, request.channel, watching=watching))

    def _leave(self, channel: str) -> None:
        if channel in self.subscriptions:
            self.subscriptions.remove(channel)
            self._hub.unsubscribe(self, channel)

    # Deadlines and the end

    def check_deadlines(self, now: float) -> None:
        """Ping, close or abort where a deadline has passed; called about twice a second. ``now`` is the loop's clock."""
        limits = self._limits
        if self.closing:
            if not self.aborted and now - self._closed_at > ABORT_SECONDS:
                self.aborted = True
                self._writer.abort()
        elif self.claims is None:
            if now - self._opened_at > limits.connect_timeout_s:
                self.close(CloseCode.STALE)
        elif time.time() >= self.claims.exp or self._authenticator.is_revoked(self.claims):
            # The client asks for a new token: it gets none if nobody is signed in any more, and one without the lost rights.
            self.close(CloseCode.EXPIRED)
        elif self._pinged_at is not None and now - self._pinged_at > limits.pong_timeout_s:
            self.close(CloseCode.NO_PONG)
        elif self.backlog() > limits.max_backlog_bytes:
            self.close(CloseCode.SLOW)
        elif now >= self._next_ping_at:
            self._next_ping_at = now + limits.ping_interval_s
            if self._pinged_at is None:
                self._pinged_at = now
            self.write(protocol.PING_FRAME)

    def close(self, code: CloseCode, *, reconnect_after_ms: int = _RECONNECT_MS) -> None:
        """Announce the close, close, and leave all channels at once."""
        if self.closing:
            return
        self.closing = True
        self._closed_at = asyncio.get_running_loop().time()
        self._leave_all()
        metrics.CLOSES[code].inc()
        self._writer.close(code, reconnect_after_ms)

    def end(self) -> None:
        """Leave all channels and write no more: the connection has ended."""
        self.closing = True
        self._leave_all()
        self._writer.release()

    def _leave_all(self) -> None:
        for channel in list(self.subscriptions):
            self._leave(channel)
