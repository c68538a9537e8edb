"""Beats: entries without records that show how far a partition's stream is processed. See docs/adr/0019.

One API process a partition appends them. It holds a lease in Redis, which is renewed with each beat and expires soon after
the process stops. Two holders for a moment do no harm: there are two beats then.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeAlias, cast

from cell_monitor_core import keys
from cell_monitor_core.records import MAX_BEAT_CHANNELS, NO_RECORDS
from cell_monitor_core.redis_client import REDIS_ERRORS, RedisClient, reason_of, run_script
from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_core.streams.scripts import BEAT, RELEASE

__all__ = [
    "BEAT_SECONDS",
    "LEASE_SECONDS",
    "MAX_BACKLOG_ENTRIES",
    "MAX_BEATS",
    "STREAM_ENTRIES",
    "BeatOutcome",
    "BeatReply",
    "RedisBeats",
]

BEAT_SECONDS: Final = 1.0
LEASE_SECONDS: Final = 2.0
"""Shorter than a page may go without a watermark: another process takes over before the page notices."""
MAX_BACKLOG_ENTRIES: Final = 100_000
"""Entries of one stream above which it takes no more beats."""
_BACKLOG_PARTS: Final = 30
"""While there is a backlog, beats come at this fraction of its age: their number grows with its logarithm."""
MAX_BEATS: Final = 1000
"""Places of a stream for beats, in addition to those for events: no beat takes the place of an event. A backlog of a year
holds 30 + 30 ln(365 · 86400 / 30), about 450 of them."""
STREAM_ENTRIES: Final = MAX_BACKLOG_ENTRIES + MAX_BEATS
"""Entries of one stream above which it takes no more events."""

BeatOutcome: TypeAlias = Literal["held", "idle", "full", "later", "beat"]
"""``held``: another process has the lease; ``idle``: nobody follows a course; ``full``: the stream takes no beats;
``later``: the backlog is old, and the last beat was not long ago."""


@dataclass(frozen=True, slots=True)
class BeatReply:
    """What became of a beat; ``wait_s`` is when to try again."""

    outcome: BeatOutcome
    wait_s: float


class RedisBeats:
    """Appends the beats of this process.

    Args:
        client: Redis.
        partitions: number of streams, the same in every process.
        lease: how long the lease of a partition lasts.
        max_entries: entries of one stream above which it takes no beats.
    """

    def __init__(
        self,
        client: RedisClient,
        *,
        partitions: int,
        lease: timedelta = timedelta(seconds=LEASE_SECONDS),
        max_entries: int = MAX_BACKLOG_ENTRIES,
    ) -> None:
        keys.check_partitions(partitions)
        self.partitions = partitions
        self.owner = secrets.token_hex(8)
        self._client = client
        self._lease_ms = int(lease.total_seconds() * 1000)
        self._max_entries = max_entries
        self._due_at: dict[int, float] = {}

    async def append(self, partition: int) -> BeatReply:
        """Renew the lease of a partition, or take it if it is free, and append a beat for its followed courses.

        Raises:
            LogUnavailable: Redis is unavailable or full.
        """
        now = asyncio.get_running_loop().time()
        due = now >= self._due_at.get(partition, now)
        names = [keys.watermark_lease(partition), keys.followed_channels(partition), keys.events_stream(partition)]
        arguments = [
            self.owner,
            self._lease_ms,
            keys.GROUP_POSTGRES,
            self._max_entries,
            MAX_BEAT_CHANNELS,
            NO_RECORDS,
            int(due),
        ]
        try:
            reply = await run_script(self._client, BEAT, names, arguments)
        except REDIS_ERRORS as error:
            raise LogUnavailable(f"no beat: {reason_of(error)}") from error
        outcome = cast("BeatOutcome", reply[0].decode())
        if outcome == "held":
            return BeatReply(outcome, max(int(reply[1]), 0) / 1000)
        if outcome == "beat":
            # A little less than the interval, so that a timer that fires early does not skip a beat.
            self._due_at[partition] = now + max(0.9 * BEAT_SECONDS, int(reply[1]) / 1000 / _BACKLOG_PARTS)
        return BeatReply(outcome, BEAT_SECONDS)

    async def release(self, partition: int) -> None:
        """Give up the lease of a partition, if this process has it.

        Raises:
            LogUnavailable: Redis is unavailable; the lease expires.
        """
        try:
            await run_script(self._client, RELEASE, [keys.watermark_lease(partition)], [self.owner])
        except REDIS_ERRORS as error:
            raise LogUnavailable(f"lease not released: {reason_of(error)}") from error
