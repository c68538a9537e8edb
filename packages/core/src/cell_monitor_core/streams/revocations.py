"""Revocations on their way to each process that verifies tokens: a sorted set in Redis, read once a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, cast

import structlog

from cell_monitor_core import keys
from cell_monitor_core.auth.revocations import KEPT_SECONDS, Revocation, RevocationList
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, reason_of
from cell_monitor_core.storage.ports import StoreUnavailable

__all__ = ["INTERVAL_SECONDS", "RedisRevocations", "RevocationFeed"]

_log = structlog.get_logger(__name__)

INTERVAL_SECONDS: Final = 1.0
"""Between two looks, for revocations to deliver or for those delivered."""
_OVERLAP_MS: Final = 30_000
"""Entries so old are read again: the clocks of two processes that write them may differ."""


class RedisRevocations:
    """Writes and reads the sorted set.

    Args:
        client: Redis.
        clock: seconds since the epoch.
    """

    def __init__(self, client: RedisClient, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock

    async def append(self, revocations: Iterable[Revocation]) -> None:
        """Write revocations; the same one twice is one.

        Raises:
            StoreUnavailable: Redis did not take them.
        """
        now = int(self._clock() * 1000)
        members = {_encode(revocation): now for revocation in revocations}
        key = keys.revocations()
        try:
            if members:
                await self._client.zadd(key, members)
                await self._client.expire(key, int(KEPT_SECONDS))
            await self._client.zremrangebyscore(key, "-inf", now - int(KEPT_SECONDS * 1000))
        except REDIS_ERRORS as error:
            raise StoreUnavailable(reason_of(error)) from error

    async def forget(self, person_id: str) -> None:
        """Delete what names a person who is erased.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        key = keys.revocations()
        try:
            found = cast("list[bytes | str]", await self._client.zrange(key, 0, -1))
            named = [each for each in found if (entry := _decode(each)) is not None and entry.subject == person_id]
            if named:
                await self._client.zrem(key, *named)
        except REDIS_ERRORS as error:
            raise StoreUnavailable(reason_of(error)) from error

    async def since(self, score: int) -> tuple[list[Revocation], int]:
        """Return the revocations written since the newest score that was read, and some before; and the newest score.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        try:
            answer = await self._client.zrange(
                keys.revocations(), max(0, score - _OVERLAP_MS), "+inf", byscore=True, withscores=True
            )
        except REDIS_ERRORS as error:
            raise StoreUnavailable(reason_of(error)) from error
        found = cast("list[tuple[bytes | str, float]]", answer)
        revocations = [revocation for member, _ in found if (revocation := _decode(member)) is not None]
        return revocations, max([score, *(int(at) for _, at in found)])


class RevocationFeed:
    """Keeps a list up to date, by ``read`` every ``INTERVAL_SECONDS``.

    Args:
        source: where revocations are read.
        revocations: the list.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        source: RedisRevocations,
        revocations: RevocationList,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_look: Callable[[], None] | None = None,
    ) -> None:
        self._on_look = on_look
        self._source = source
        self._revocations = revocations
        self._clock = clock
        self._score = 0
        self._unavailable = False

    async def read(self) -> None:
        """Read once. While Redis is unavailable the list stays as it is: tokens still end within ten minutes.

        ``on_look`` is called after each successful look.
        """
        try:
            found, self._score = await self._source.since(self._score)
        except StoreUnavailable as error:
            if not self._unavailable:
                self._unavailable = True
                _log.warning("revocations_unavailable", reason=str(error))
            return
        self._unavailable = False
        now = self._clock()
        self._revocations.add(found, now)
        if self._on_look is not None:
            self._on_look()
        self._revocations.prune(now)


def _encode(revocation: Revocation) -> str:
    generation = "" if revocation.generation is None else str(revocation.generation)
    return f"{generation} {revocation.subject}"


def _decode(member: bytes | str) -> Revocation | None:
    """Read an entry; None where a later release wrote something else."""
    text = member.decode("utf-8", "replace") if isinstance(member, bytes) else member
    generation, separator, subject = text.partition(" ")
    if not separator or not subject or not (generation == "" or generation.isdecimal()):
        return None
    return Revocation(subject, int(generation) if generation else None)
