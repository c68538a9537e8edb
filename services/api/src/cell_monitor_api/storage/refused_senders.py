"""Who is refused, by course: one bounded sorted set in Redis for each course, shared by all processes of the API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cell_monitor_core import channels, keys
from cell_monitor_core.redis_client import REDIS_ERRORS, reason_of
from cell_monitor_core.storage.ports import RedisUnavailable

__all__ = ["MAX_COURSES", "MAX_SENDERS", "WINDOW_S", "RefusedSender", "RefusedSenders"]

WINDOW_S: Final = 150
"""A page that is open sends at least once a minute, so whose events are refused is refused again within this time."""

MAX_SENDERS: Final = 500
"""Entries kept for a course: those that were refused last."""

MAX_COURSES: Final = 200
"""Courses that are looked through for senders who are accepted again: those with the newest refusals."""


@dataclass(frozen=True, slots=True)
class RefusedSender:
    """A sender whose events were refused.

    Attributes:
        reason: why.
        digest: stands for the sender within one course.
        at: when it happened last, in seconds since the epoch.
    """

    reason: str
    digest: str
    at: float


class RefusedSenders:
    """Sets ``cm:<partition>:course:<id>:refused`` with ``<reason>:<digest>``, and ``cm:{refused}`` with the courses.

    Scores are times. All methods raise ``RedisUnavailable``.
    """

    def __init__(self, redis: Any, *, partitions: int) -> None:
        self._redis = redis
        self._partitions = partitions

    def _key(self, course_id: str) -> str:
        channel = channels.course_channel(course_id)
        return keys.refused_senders(channels.partition_of(channel, self._partitions), channel)

    async def add(self, course_id: str, senders: Iterable[RefusedSender], now: float) -> None:
        """Note senders of a course."""
        key, courses = self._key(course_id), keys.refused_courses()
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zadd(key, {f"{each.reason}:{each.digest}": each.at for each in senders})
        pipeline.zremrangebyscore(key, "-inf", now - WINDOW_S)
        pipeline.zremrangebyrank(key, 0, -MAX_SENDERS - 1)
        pipeline.expire(key, WINDOW_S)
        pipeline.zadd(courses, {course_id: now})
        pipeline.zremrangebyscore(courses, "-inf", now - WINDOW_S)
        pipeline.zremrangebyrank(courses, 0, -MAX_COURSES - 1)
        pipeline.expire(courses, WINDOW_S)
        await _ask(pipeline.execute())

    async def courses(self, now: float) -> list[str]:
        """Return the courses in which somebody was refused within the window."""
        found = await _ask(self._redis.zrangebyscore(keys.refused_courses(), now - WINDOW_S, "+inf"))
        return [bytes(course).decode() for course in found]

    async def read(self, course_id: str, now: float) -> list[RefusedSender]:
        """Return who was refused in a course within the window."""
        found = await _ask(self._redis.zrangebyscore(self._key(course_id), now - WINDOW_S, "+inf", withscores=True))
        return [
            RefusedSender(reason, digest, float(score))
            for member, score in found
            for reason, _, digest in [bytes(member).decode().partition(":")]
        ]

    async def remove(self, course_id: str, senders: Sequence[RefusedSender]) -> None:
        """Take senders off a course's set."""
        await _ask(self._redis.zrem(self._key(course_id), *(f"{each.reason}:{each.digest}" for each in senders)))


async def _ask(answer: Any) -> Any:
    try:
        return await answer
    except REDIS_ERRORS as error:
        raise RedisUnavailable(f"Redis: {reason_of(error)}") from error
