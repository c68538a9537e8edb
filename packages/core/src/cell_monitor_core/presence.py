"""Presence: the connections that are subscribed to a channel. Each expires, so that those of a crashed gateway do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cell_monitor_core import keys
from cell_monitor_core.channels import partition_of
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, Script, run_script
from cell_monitor_core.storage.ports import RedisUnavailable

__all__ = ["PRESENCE_SECONDS", "Presence"]

PRESENCE_SECONDS: Final = 60
"""Seconds for which a connection counts as present after its last refresh; refresh it after half of them."""

_REFRESH: Final = Script("""\
-- KEYS: presence. ARGV: seconds to live, connections. Uses Redis' clock, because the gateways' clocks may differ.
local expires = tonumber(redis.call('TIME')[1]) + tonumber(ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], expires, ARGV[i]) end
return redis.call('EXPIRE', KEYS[1], ARGV[1])
""")

_LEAVE: Final = Script("""\
-- KEYS: presence. ARGV: connections
return redis.call('ZREM', KEYS[1], unpack(ARGV))
""")

_COUNT: Final = Script("""\
-- KEYS: presence. Returns the number of connections that have not expired.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. redis.call('TIME')[1])
return redis.call('ZCARD', KEYS[1])
""")

_CHUNK: Final = 1000


class Presence:
    """Presence of connections in channels. Methods raise ``StoreUnavailable`` when Redis is unavailable."""

    def __init__(self, client: RedisClient, *, partitions: int = 8, ttl: int = PRESENCE_SECONDS) -> None:
        self._client = client
        self._partitions = partitions
        self._ttl = ttl

    async def refresh(self, channel: str, connections: Sequence[str]) -> None:
        """Count connections as present for the next ``ttl`` seconds."""
        for start in range(0, len(connections), _CHUNK):
            await self._run(_REFRESH, channel, [self._ttl, *connections[start : start + _CHUNK]])

    async def leave(self, channel: str, connections: Sequence[str]) -> None:
        """Stop counting connections."""
        for start in range(0, len(connections), _CHUNK):
            await self._run(_LEAVE, channel, list(connections[start : start + _CHUNK]))

    async def count(self, channel: str) -> int:
        """Return the number of connections, of all gateways, that are subscribed to a channel."""
        return await self._run(_COUNT, channel, [])

    async def _run(self, script: Script, channel: str, arguments: list[str | int]) -> int:
        key = keys.presence_zset(partition_of(channel, self._partitions), channel)
        try:
            return int(await run_script(self._client, script, [key], list(arguments)))
        except REDIS_ERRORS as error:
            raise RedisUnavailable(f"presence is not available: {type(error).__name__}") from error
