"""One WebSocket connection: its requests, its person, its deadlines."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final

import structlog

from cell_monitor_core.auth.roles import Permission
from cell_monitor_core.auth.tokens import Claims, TokenExpired, TokenInvalid
from cell_monitor_core.channels import parse_channel
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_gateway import metrics, protocol
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
from cell_monitor_gateway.rooms import Room
from cell_monitor_gateway.writers import FrameWriter

if TYPE_CHECKING:
    from cell_monitor_gateway.context import GatewayContext

__all__ = ["Connection", "may_watch"]

_log = structlog.get_logger(__name__)

_ABORT_SECONDS: Final = 10.0
"""How long a peer may leave a close unanswered."""
_RECONNECT_MS: Final = 1000


def may_watch(claims: Claims, channel: str) -> bool:
    """Tell whether a caller may follow a channel: staff of the course, a service that reads, or whoever runs tests.

    Of an API key's token the scopes decide as well; see docs/adr/0009.

    Raises:
        ValueError: not the name of a channel.
    """
    kind, ident = parse_channel(channel)
    match kind:
        case "course":
            return claims.may(ident, Permission.READ_COURSE)
        case "test":
            return claims.administers or claims.allows(Permission.USE_TEST_MODE)
        case _:
            return False


class Connection:
    """One client. Everything but the requests that read history happens without waiting."""

    __slots__ = (
        "_allowance",
        "_allowance_at",
        "_closed_at",
        "_context",
        "_heard_at",
        "_next_ping_at",
        "_opened_at",
        "_pinged_at",
        "aborted",
        "claims",
        "closing",
        "id",
        "subscriptions",
        "writer",
    )

    def __init__(self, context: GatewayContext, writer: FrameWriter) -> None:
        self._context = context
        self.writer = writer
        self.id = secrets.token_hex(8)
        self.claims: Claims | None = None
        self.subscriptions: dict[str, Room] = {}
        self.closing = False
        self.aborted = False
        now = asyncio.get_running_loop().time()
        self._opened_at = self._heard_at = now
        self._next_ping_at = float("inf")
        self._pinged_at: float | None = None
        self._closed_at = float("inf")
        self._allowance = float(context.settings.gateway_request_burst)
        self._allowance_at = now

    # Requests

    async def receive(self, text: str | None) -> None:
        """Handle one frame of the client; None stands for a binary one."""
        if self.closing:
            return
        self._heard_at = asyncio.get_running_loop().time()
        self._pinged_at = None
        if not self._within_rate(self._heard_at):
            self.close(CloseCode.TOO_MANY_REQUESTS)
            return
        try:
            if text is None:
                raise ProtocolError("frames are text")
            request = protocol.decode_request(text)
            if isinstance(request, Connect) != (self.claims is None):
                raise ProtocolError("connect is the first frame and comes once")
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
                self.writer.write(protocol.unsubscribed(request.id, request.channel))
            case Refresh():
                await self._refresh(request)
            case PresenceRequest():
                await self._presence(request)

    def _within_rate(self, now: float) -> bool:
        settings = self._context.settings
        earned = (now - self._allowance_at) * settings.gateway_requests_per_s
        self._allowance = min(self._allowance + earned, float(settings.gateway_request_burst)) - 1
        self._allowance_at = now
        return self._allowance >= 0

    async def _connect(self, request: Connect) -> None:
        try:
            claims = await self._context.verify(request.token)
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
        interval = self._context.settings.gateway_ping_interval_s
        self._next_ping_at = asyncio.get_running_loop().time() + interval
        self.writer.write(
            protocol.connected(request.id, ping_interval=interval, expires_at=protocol.rfc3339(claims.exp))
        )

    async def _refresh(self, request: Refresh) -> None:
        assert self.claims is not None
        try:
            claims = await self._context.verify(request.token)
        except (TokenExpired, TokenInvalid, StoreUnavailable):
            self.writer.write(protocol.error(request.id, ErrorType.INVALID_TOKEN, "this token cannot be used"))
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
        self.writer.write(protocol.refreshed(request.id, expires_at=protocol.rfc3339(claims.exp)))

    def _permitted(self, request: Subscribe | PresenceRequest) -> bool:
        """Tell whether a request's channel is open to the person; otherwise answer with an error."""
        assert self.claims is not None
        try:
            if may_watch(self.claims, request.channel):
                return True
        except ValueError:
            self.writer.write(
                protocol.error(request.id, ErrorType.INVALID_CHANNEL, "a channel is course:<id> or test:<id>")
            )
            return False
        self.writer.write(
            protocol.error(request.id, ErrorType.PERMISSION_DENIED, "only staff of a course may watch its channel")
        )
        return False

    async def _subscribe(self, request: Subscribe) -> None:
        if not self._permitted(request):
            return
        if (request.epoch is None) != (request.offset is None):
            self.writer.write(
                protocol.error(request.id, ErrorType.INVALID_POSITION, "epoch and offset come together or not at all")
            )
            return
        # A second subscription to a channel begins anew: the client knows best what it has.
        self._leave(request.channel)
        if len(self.subscriptions) >= self._context.settings.gateway_max_subscriptions:
            self.writer.write(
                protocol.error(request.id, ErrorType.TOO_MANY_SUBSCRIPTIONS, "unsubscribe from another channel first")
            )
            return
        room = self._context.rooms.room(request.channel)
        try:
            recovery, encoded = await room.join(self, request.epoch, request.offset or 0)
        except StoreUnavailable:
            # Not an error reply: the client's way back is the same as after any loss.
            self.close(CloseCode.INSUFFICIENT_STATE)
            return
        if self.closing:
            room.leave(self)
            return
        # From here to the next await nothing else can be written: the answer precedes the first live frame.
        if recovery.recovered:
            self.subscriptions[request.channel] = room
            self._context.presence.joined(request.channel, self.id)
            metrics.SUBSCRIPTIONS.inc()
        self.writer.write(
            protocol.subscribed(
                request.id,
                request.channel,
                epoch=recovery.epoch,
                offset=recovery.offset,
                recovered=recovery.recovered,
                recovery=encoded,
            )
        )

    async def _presence(self, request: PresenceRequest) -> None:
        if not self._permitted(request):
            return
        try:
            watching = await self._context.presence.count(request.channel)
        except StoreUnavailable:
            self.writer.write(protocol.error(request.id, ErrorType.UNAVAILABLE, "presence cannot be read now"))
            return
        self.writer.write(protocol.presence(request.id, request.channel, watching=watching))

    def _leave(self, channel: str) -> None:
        room = self.subscriptions.pop(channel, None)
        if room is not None:
            room.leave(self)
            self._context.presence.left(channel, self.id)
            metrics.SUBSCRIPTIONS.dec()

    # Deadlines and the end

    def tick(self, now: float) -> None:
        """Look at the connection's deadlines; called about once a second. ``now`` is the loop's clock."""
        settings = self._context.settings
        if self.closing:
            if not self.aborted and now - self._closed_at > _ABORT_SECONDS:
                self.aborted = True
                self.writer.abort()
        elif self.claims is None:
            if now - self._opened_at > settings.gateway_connect_timeout_s:
                self.close(CloseCode.STALE)
        elif time.time() >= self.claims.exp:
            self.close(CloseCode.EXPIRED)
        elif self._pinged_at is not None and now - self._pinged_at > settings.gateway_pong_timeout_s:
            self.close(CloseCode.NO_PONG)
        elif self.writer.backlog() > settings.gateway_max_backlog_bytes:
            self.close(CloseCode.SLOW)
        elif now >= self._next_ping_at:
            self._next_ping_at = now + settings.gateway_ping_interval_s
            if self._pinged_at is None:
                self._pinged_at = now
            self.writer.write(protocol.PING_FRAME)

    def close(self, code: CloseCode, *, reconnect_after_ms: int = _RECONNECT_MS) -> None:
        """Say why, close, and leave all rooms at once."""
        if self.closing:
            return
        self.closing = True
        self._closed_at = asyncio.get_running_loop().time()
        self.forget()
        metrics.CLOSES[code].inc()
        self.writer.close(code, reconnect_after_ms)

    def forget(self) -> None:
        """Leave all rooms."""
        for channel in list(self.subscriptions):
            self._leave(channel)
