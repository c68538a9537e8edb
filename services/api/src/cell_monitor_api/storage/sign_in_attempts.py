"""Sign-in attempts, counted in Redis in fixed windows, so that all processes of the API share one count."""

from __future__ import annotations

from typing import Any

from redis.exceptions import RedisError

from cell_monitor_core import keys
from cell_monitor_core.storage.ports import RedisUnavailable

__all__ = ["SignInAttempts"]

_ADD = """
local count = redis.call('INCR', KEYS[1])
if count == 1 or redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {count, redis.call('PTTL', KEYS[1])}
"""


class SignInAttempts:
    """Counters ``cm:{signin}:<kind>:<digest>``, each living for one window after its first attempt."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    async def add(self, kind: str, digest: str, *, window_s: int) -> tuple[int, int]:
        """Count one attempt.

        Returns:
            Attempts in the window, this one included, and the whole seconds until the window ends.

        Raises:
            RedisUnavailable: Redis is unavailable or full.
        """
        try:
            count, left_ms = await self._redis.eval(_ADD, 1, keys.sign_in_attempts(kind, digest), window_s * 1000)
        except (RedisError, OSError) as error:
            raise RedisUnavailable(f"Redis: {type(error).__name__}") from error
        return int(count), max(1, -(-int(left_ms) // 1000))

    async def forget(self, kind: str, digest: str) -> None:
        """Forget the attempts after a success; a failure of Redis does not fail the sign-in."""
        try:
            await self._redis.delete(keys.sign_in_attempts(kind, digest))
        except (RedisError, OSError):
            return
