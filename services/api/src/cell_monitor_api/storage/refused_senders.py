"""Who was refused lately, by course: one bounded sorted set in Redis for each course, shared by all processes of the API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import RedisError

from cell_monitor_core import channels, keys
from cell_monitor_core.storage.ports import RedisUnavailable

__all__ = ["MAX_SENDERS", "WINDOW_S", "Refused", "RefusedSenders"]

WINDOW_S: Final = 150
"""A page that is open sends at least once a minute, so whose events are refused is refused again within this time."""

MAX_SENDERS: Final = 500
"""Entries kept for a course: those that were refused last."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The senders of one course whose events were refused for one reason.

    Attributes:
        senders: how many.
        last_at: when it happened last, in seconds since the epoch.
    """

    reason: str
    senders: int
    last_at: float


class RefusedSenders:
    """Sets ``cm:<partition>:course:<id>:refused``: ``<reason>:<digest of the sender>``, scored by the time."""

    def __init__(self, redis: Any, *, partitions: int) -> None:
        self._redis = redis
        self._partitions = partitions

    def _key(self, course_id: str) -> str:
        channel = channels.course_channel(course_id)
        return keys.refused_senders(channels.partition_of(channel, self._partitions), channel)

    async def add(self, course_id: str, senders: Iterable[tuple[str, str]], now: float) -> None:
        """Note pairs of a reason and a sender's digest.

        Raises:
            RedisUnavailable: Redis is unavailable or full.
        """
        key = self._key(course_id)
        scores = {f"{reason}:{digest}": now for reason, digest in senders}
        try:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.zadd(key, scores)
            pipeline.zremrangebyscore(key, "-inf", now - WINDOW_S)
            pipeline.zremrangebyrank(key, 0, -MAX_SENDERS - 1)
            pipeline.expire(key, WINDOW_S)
            await pipeline.execute()
        except (RedisError, OSError) as error:
            raise RedisUnavailable(f"Redis: {type(error).__name__}") from error

    async def read(self, course_id: str, now: float) -> list[Refused]:
        """Return who was refused within the window, by reason; the reason with most senders first.

        Raises:
            RedisUnavailable: Redis is unavailable.
        """
        try:
            found = await self._redis.zrangebyscore(self._key(course_id), now - WINDOW_S, "+inf", withscores=True)
        except (RedisError, OSError) as error:
            raise RedisUnavailable(f"Redis: {type(error).__name__}") from error
        times: dict[str, list[float]] = {}
        for member, score in found:
            times.setdefault(bytes(member).decode().partition(":")[0], []).append(float(score))
        refused = [Refused(reason, len(scores), max(scores)) for reason, scores in times.items()]
        return sorted(refused, key=lambda each: (-each.senders, each.reason))
