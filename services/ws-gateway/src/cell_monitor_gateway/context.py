"""What a gateway process holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, Self

import structlog

from cell_monitor_core.auth.jwks import RemoteKeys
from cell_monitor_core.auth.scopes import Audience
from cell_monitor_core.auth.tokens import Claims, TokenVerifier, UnknownKey
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.presence import Presence
from cell_monitor_core.redis_client import RedisClient, aclose, connect
from cell_monitor_core.runtime import LoopWatchdog
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.telemetry.metrics import EVENT_LOOP_LAG_SECONDS
from cell_monitor_core.web.health import Health
from cell_monitor_gateway.config import GatewaySettings
from cell_monitor_gateway.connection import Connection
from cell_monitor_gateway.drain import Drain
from cell_monitor_gateway.feed import Feed
from cell_monitor_gateway.presence import PresenceKeeper
from cell_monitor_gateway.rooms import Rooms

__all__ = ["GatewayContext"]

_log = structlog.get_logger(__name__)

_KEYS_INTERVAL_SECONDS: Final = 2.0
_TICK_SECONDS: Final = 0.5


class KeysNotFetched(Exception):  # noqa: N818 - says what is the matter
    """No token can be verified yet."""


class FeedNotSubscribed(Exception):  # noqa: N818
    """Live publications do not come in yet."""


class GatewayContext:
    """The process' singletons; ``running`` keeps them at work.

    Attributes:
        failed: name of a task that ended although it should not, None while all is well.
        on_failure: called when that happens. Without the deadlines tokens would never expire, and nothing but a new
            process brings them back.
    """

    def __init__(self, settings: GatewaySettings, redis: RedisClient, keys: RemoteKeys) -> None:
        self.settings = settings
        self.redis = redis
        self.connections: set[Connection] = set()
        self.failed: str | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self._keys = keys
        self._verifier = TokenVerifier(keys, Audience.GATEWAY)
        broker = RedisBroker(redis, partitions=settings.partitions)
        self.rooms = Rooms(
            broker,
            partitions=settings.partitions,
            window=settings.gateway_coalesce_ms / 1000,
            max_backlog=settings.gateway_max_backlog_bytes,
            recovery_limit=settings.gateway_recovery_publications,
        )
        self.presence = PresenceKeeper(Presence(redis, partitions=settings.partitions), self.rooms)
        self.feed = Feed(broker, self.rooms, check_interval=settings.gateway_position_check_s)
        self.health = Health({"redis": self._check_redis, "jwks": self._check_keys, "feed": self._check_feed}, keep=0.5)
        self.drain = Drain(self.connections, seconds=settings.gateway_drain_s, on_start=self.health.drain)

    @classmethod
    def from_settings(cls, settings: GatewaySettings) -> Self:
        """Build the context of a process."""
        assert settings.jwks_url is not None
        return cls(
            settings,
            connect(settings.redis_url.get_secret_value(), name=f"gateway-{settings.instance}"),
            # An unknown key is asked for at most this often; whoever brings one waits as long.
            RemoteKeys(settings.jwks_url, min_interval=_KEYS_INTERVAL_SECONDS),
        )

    async def verify(self, token: str) -> Claims:
        """Return the claims of a token for this service.

        A token of a key that is not known here may be newer than the keys: they are fetched again first.

        Raises:
            TokenInvalid, TokenExpired: see ``TokenVerifier.verify``.
            StoreUnavailable: no keys could be fetched so far.
        """
        deadline = asyncio.get_running_loop().time() + _KEYS_INTERVAL_SECONDS + 0.5
        while True:
            try:
                return self._verifier.verify(token)
            except UnknownKey:
                fetched = await self._keys.refresh()
                if fetched or asyncio.get_running_loop().time() >= deadline:
                    if not self._keys.ready:
                        raise StoreUnavailable("the keys of tokens could not be fetched") from None
                    return self._verifier.verify(token)
                await asyncio.sleep(0.2)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Keep feed, checks, presence and deadlines going until the block ends."""
        async with self._keys, LoopWatchdog(EVENT_LOOP_LAG_SECONDS.observe):
            tasks = [
                asyncio.create_task(work, name=name)
                for name, work in (
                    ("feed", self.feed.listen()),
                    ("position-check", self.feed.check()),
                    ("presence", self.presence.run()),
                    ("deadlines", self._watch_deadlines()),
                )
            ]
            for task in tasks:
                task.add_done_callback(self._end)
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._say_goodbye(self.presence.flush())
                await aclose(self.redis)

    async def _say_goodbye(self, flush: Coroutine[Any, Any, None]) -> None:
        """Let presence end at once rather than by expiry, if Redis takes it."""
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            await asyncio.wait_for(flush, 2)

    async def _watch_deadlines(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = loop.time()
            for connection in list(self.connections):
                connection.tick(now)

    async def _check_redis(self) -> None:
        await self.redis.ping()

    async def _check_keys(self) -> None:
        if not self._keys.ready:
            raise KeysNotFetched("the API's JWKS has not been fetched yet")

    async def _check_feed(self) -> None:
        if not self.feed.subscribed:
            raise FeedNotSubscribed("not yet subscribed to every partition")

    def _end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        _log.critical("task_failed", task=task.get_name(), exc_info=task.exception())
        self.failed = task.get_name()
        self.on_failure()
