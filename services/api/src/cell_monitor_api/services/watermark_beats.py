"""The beats of this process: once a second and partition, for the courses that dashboards follow. See docs/adr/0019."""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol

import structlog

from cell_monitor_core.storage.ports import LogUnavailable
from cell_monitor_core.streams.beats import BEAT_SECONDS, BeatReply
from cell_monitor_core.telemetry.background_tasks import background_task
from cell_monitor_core.telemetry.metrics import BEATS

__all__ = ["Beats", "WatermarkBeats"]

_log = structlog.get_logger(__name__)

_MARGIN_S: Final = 0.02
"""How long after the end of another process's lease it is tried for: Redis counts whole milliseconds."""


class Beats(Protocol):
    """Where beats are appended; see ``RedisBeats``. Methods raise ``LogUnavailable``."""

    partitions: int

    async def append(self, partition: int) -> BeatReply:
        """Append a beat to a partition, if this process has its lease."""
        ...

    async def release(self, partition: int) -> None:
        """Give up the lease of a partition."""
        ...


class WatermarkBeats:
    """Appends beats to the partitions whose lease this process has, and tries for the others when theirs ends.

    Args:
        beats: where they are appended.
        interval_s: seconds between two beats of a partition.
    """

    def __init__(self, beats: Beats, *, interval_s: float = BEAT_SECONDS) -> None:
        self._beats = beats
        self._interval_s = interval_s
        self._tasks = [
            background_task(
                "beats",
                partial(self._append, partition),
                interval_s=interval_s,
                # Spread over the interval: not all partitions at the same moment.
                first_after_s=interval_s * partition / beats.partitions,
            )
            for partition in range(beats.partitions)
        ]
        self._unavailable = False
        self._outcomes = {outcome: BEATS.labels(outcome) for outcome in ("appended", "full", "failed")}

    def start(self) -> None:
        """Begin; returns at once."""
        for task in self._tasks:
            task.start()

    async def aclose(self) -> None:
        """End, and give up the leases so that another process takes over at once."""
        for task in self._tasks:
            await task.aclose()
        for partition in range(self._beats.partitions):
            try:
                await self._beats.release(partition)
            except LogUnavailable:
                # They expire within two seconds; the other partitions would wait for the same Redis.
                return

    async def _append(self, partition: int) -> float:
        """Append one beat; return the seconds until the next."""
        try:
            reply = await self._beats.append(partition)
        except LogUnavailable as error:
            self._outcomes["failed"].inc()
            if not self._unavailable:
                self._unavailable = True
                _log.warning("beats_unavailable", reason=error.reason)
            return self._interval_s
        if self._unavailable:
            self._unavailable = False
            _log.info("beats_available")
        if reply.outcome == "held":
            return reply.wait_s + _MARGIN_S
        if reply.outcome == "beat":
            self._outcomes["appended"].inc()
        elif reply.outcome == "full":
            self._outcomes["full"].inc()
        return self._interval_s
