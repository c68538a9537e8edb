"""Failed sign-ins and wrong join codes, counted in Redis in fixed windows, so that all processes of the API share one count."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cell_monitor_core import keys
from cell_monitor_core.redis_client import REDIS_ERRORS, reason_of
from cell_monitor_core.storage.ports import RedisUnavailable

__all__ = ["Counted", "SignInAttempts"]

_RESERVE = """
for number, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') >= tonumber(ARGV[2 * number - 1]) then
    if redis.call('PTTL', key) < 0 then
      redis.call('PEXPIRE', key, ARGV[2 * number])
    end
    return {number, redis.call('PTTL', key)}
  end
end
for number, key in ipairs(KEYS) do
  if redis.call('INCR', key) == 1 then
    redis.call('PEXPIRE', key, ARGV[2 * number])
  end
end
return {0, 0}
"""
_GIVE_BACK = """
for _, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') > 1 then
    redis.call('DECR', key)
  else
    redis.call('DEL', key)
  end
end
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """One count that an attempt belongs to.

    Attributes:
        kind: see ``core.keys.sign_in_attempts``.
        digest: a keyed hash of what is counted.
        limit: of failures in a window.
        window_s: seconds of the window, from its first failure.
    """

    kind: str
    digest: str
    limit: int
    window_s: int


class SignInAttempts:
    """Counters ``cm:{signin}:<kind>:<digest>``, each living for one window after its first attempt."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    async def reserve(self, counts: Sequence[Counted]) -> tuple[int, int] | None:
        """Count an attempt as failed where no count is at its limit, else nowhere.

        Returns:
            None, or the position of the count that is at its limit, and the whole seconds until its window ends.

        Raises:
            RedisUnavailable: Redis is unavailable or full.
        """
        arguments = [argument for one in counts for argument in (one.limit, one.window_s * 1000)]
        names = [keys.sign_in_attempts(one.kind, one.digest) for one in counts]
        try:
            number, left_ms = await self._redis.eval(_RESERVE, len(names), *names, *arguments)
        except REDIS_ERRORS as error:
            raise RedisUnavailable(f"Redis: {reason_of(error)}") from error
        return None if number == 0 else (int(number) - 1, max(1, -(-int(left_ms) // 1000)))

    async def give_back(self, counts: Sequence[Counted]) -> None:
        """Count an attempt no longer, after a success; a failure of Redis does not fail the sign-in."""
        names = [keys.sign_in_attempts(one.kind, one.digest) for one in counts]
        with suppress(*REDIS_ERRORS):
            await self._redis.eval(_GIVE_BACK, len(names), *names)

    async def forget(self, count: Counted) -> None:
        """Forget all attempts of a count, after a success; a failure of Redis does not fail the sign-in."""
        with suppress(*REDIS_ERRORS):
            await self._redis.delete(keys.sign_in_attempts(count.kind, count.digest))
