"""Presence: the connections that are subscribed to a channel. Each expires, so that those of a crashed gateway do.

A second sorted set of each partition names its course channels that have any: beats are made for those (docs/adr/0019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cell_monitor_core import keys
from cell_monitor_core.channels import parse_channel, partition_of
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, Script, reason_of, run_script
from cell_monitor_core.storage.ports import RedisUnavailable

__all__ = ["PRESENCE_SECONDS", "Presence"]

PRESENCE_SECONDS: Final = 60
"""Seconds for which a connection counts as present after its last refresh; refresh it after half of them."""

_REFRESH: Final = Script("""\
-- KEYS: presence, followed channels. ARGV: seconds to live, channel or '' if it gets no beats, connections
-- Uses Redis' clock, because the gateways' clocks may differ.
local expires = tonumber(redis.call('TIME')[1]) + tonumber(ARGV[1])
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], expires, ARGV[i]) end
if ARGV[2] ~= '' then
  redis.call('ZADD', KEYS[2], 'GT', expires, ARGV[2])
  redis.call('EXPIRE', KEYS[2], ARGV[1])
end
return redis.call('EXPIRE', KEYS[1], ARGV[1])
""")

_LEAVE: Final = Script("""\
-- KEYS: presence, followed channels. ARGV: channel, connections
local left = redis.call('ZREM', KEYS[1], unpack(ARGV, 2))
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
return left
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
        beats = channel if parse_channel(channel)[0] == "course" else ""
        for start in range(0, len(connections), _CHUNK):
            await self._run(_REFRESH, channel, [self._ttl, beats, *connections[start : start + _CHUNK]])

    async def leave(self, channel: str, connections: Sequence[str]) -> None:
        """Stop counting connections."""
        for start in range(0, len(connections), _CHUNK):
            await self._run(_LEAVE, channel, [channel, *connections[start : start + _CHUNK]])

    async def count(self, channel: str) -> int:
        """Return the number of connections, of all gateways, that are subscribed to a channel."""
        return await self._run(_COUNT, channel, [])

    async def _run(self, script: Script, channel: str, arguments: list[str | int]) -> int:
        partition = partition_of(channel, self._partitions)
        names = [keys.presence_zset(partition, channel), keys.followed_channels(partition)]
        try:
            return int(await run_script(self._client, script, names, list(arguments)))
        except REDIS_ERRORS as error:
            raise RedisUnavailable(f"presence is not available: {reason_of(error)}") from error
