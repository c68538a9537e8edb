"""The gateway's process: composes its parts and keeps them running."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final, Self

import structlog

from cell_monitor_core.auth.revocations import RevocationList
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.presence import Presence
from cell_monitor_core.redis_client import RedisClient, aclose, connect
from cell_monitor_core.runtime import LoopWatchdog
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.streams.fitness import RedisFitness
from cell_monitor_core.streams.revocations import INTERVAL_SECONDS, RedisRevocations, RevocationFeed
from cell_monitor_core.telemetry.background_tasks import background_task
from cell_monitor_core.telemetry.metrics import EVENT_LOOP_LAG_SECONDS
from cell_monitor_core.web.health import Health
from cell_monitor_gateway.app import GatewayApp
from cell_monitor_gateway.authenticator import Authenticator
from cell_monitor_gateway.channel import ChannelLimits
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.drain import Drain
from cell_monitor_gateway.endpoint import WebSocketEndpoint
from cell_monitor_gateway.feed import Feed
from cell_monitor_gateway.hub import Hub
from cell_monitor_gateway.presence import PresenceReporter
from cell_monitor_gateway.registry import SessionRegistry
from cell_monitor_gateway.session import Session, SessionLimits
from cell_monitor_gateway.writers import FrameWriter

__all__ = ["GatewayProcess"]

_log = structlog.get_logger(__name__)

PRESENCE_FLUSH_SECONDS: Final = 2.0
"""How long the end of the process waits for presence to be reported."""


class GatewayProcess:
    """The process' parts, composed; ``app`` is what a server runs, and keeps them running meanwhile.

    Attributes:
        failed: name of a task that ended although it should not, None otherwise.
        on_failure: called when that happens. Without the deadlines tokens would never expire, and only a new process
            restores them.
    """

    def __init__(
        self, settings: GatewaySettings, redis: RedisClient, authenticator: Authenticator, revocations: RevocationList
    ) -> None:
        self.redis = redis
        self.failed: str | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.authenticator = authenticator
        self.revocations = background_task(
            "revocations", RevocationFeed(RedisRevocations(redis), revocations).read, interval_s=INTERVAL_SECONDS
        )
        broker = RedisBroker(redis, partitions=settings.partitions)
        self.hub = Hub(
            broker,
            ChannelLimits(
                partitions=settings.partitions,
                window_s=settings.gateway_coalesce_ms / 1000,
                max_backlog_bytes=settings.gateway_max_backlog_bytes,
                recovery_publications=settings.gateway_recovery_publications,
            ),
        )
        self.presence = PresenceReporter(Presence(redis, partitions=settings.partitions), self.hub)
        self.hub.add_listener(self.presence)
        self.feed = Feed(
            broker, self.hub, partitions=settings.partitions, check_interval_s=settings.gateway_position_check_s
        )
        checks = {
            "redis": RedisFitness(redis).check,
            "jwks": authenticator.check_keys,
            "feed": self.feed.check_subscribed,
        }
        self.health = Health(checks, keep=0.5)
        self.sessions = SessionRegistry()
        self.drain = Drain(self.sessions, seconds=settings.gateway_drain_s, on_start=self.health.drain)
        self._session_limits = SessionLimits.from_settings(settings)
        self.endpoint = WebSocketEndpoint(
            self._open_session,
            self.sessions,
            draining=lambda: self.drain.started,
            allowed_origins=settings.origins,
            max_connections=settings.gateway_max_connections,
        )
        self.app = GatewayApp(self.endpoint, health=self.health, running=self.running)

    @classmethod
    def from_settings(cls, settings: GatewaySettings) -> Self:
        """Compose a process that talks to the Redis and to the API of the settings."""
        assert settings.jwks_url is not None
        redis = connect(settings.redis_url.get_secret_value(), name=f"gateway-{settings.instance}")
        revocations = RevocationList()
        return cls(
            settings, redis, Authenticator(settings.jwks_url, revocations, issuer=settings.token_issuer), revocations
        )

    def _open_session(self, writer: FrameWriter) -> Session:
        return Session(
            writer,
            authenticator=self.authenticator,
            hub=self.hub,
            presence=self.presence,
            limits=self._session_limits,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Keep feed, checks, presence and deadlines running until the block ends."""
        async with self.authenticator, LoopWatchdog(EVENT_LOOP_LAG_SECONDS.observe):
            tasks = [
                asyncio.create_task(work, name=name)
                for name, work in (
                    ("feed", self.feed.listen()),
                    ("position-check", self.feed.check_positions()),
                    ("presence", self.presence.run()),
                    ("revocations", self.revocations.run()),
                    ("deadlines", self.sessions.watch_deadlines()),
                )
            ]
            for task in tasks:
                task.add_done_callback(self._on_task_done)
            try:
                yield self
            finally:
                self.revocations.stop()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._flush_presence()
                await aclose(self.redis)

    async def _flush_presence(self) -> None:
        """Let presence end at once rather than by expiry, if Redis is available."""
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            await asyncio.wait_for(self.presence.flush(), PRESENCE_FLUSH_SECONDS)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        _log.critical("task_failed", task=task.get_name(), exc_info=task.exception())
        self.failed = task.get_name()
        self.on_failure()
