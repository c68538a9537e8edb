"""The buckets of an activity query, the same for every time-series adapter."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

__all__ = ["MAX_BUCKETS", "bucket_starts", "check_range"]

MAX_BUCKETS: Final = 2000


def check_range(start: datetime, stop: datetime, every: timedelta) -> int:
    """Return how many buckets [start, stop) has; the last one may be cut off by ``stop``.

    Raises:
        ValueError: the range is empty, a time has no zone, or there would be more than 2,000 buckets.
    """
    if start.tzinfo is None or stop.tzinfo is None:
        raise ValueError("start and stop need a time zone")
    if every < timedelta(seconds=1):
        raise ValueError("every must be at least one second")
    if stop <= start:
        raise ValueError("stop must be after start")
    count = -((start - stop) // every)
    if count > MAX_BUCKETS:
        raise ValueError(f"{count} buckets asked for, at most {MAX_BUCKETS} are given: choose a larger every")
    return count


def bucket_starts(start: datetime, stop: datetime, every: timedelta) -> list[datetime]:
    """Return where each bucket begins, ``start`` first."""
    return [start + every * index for index in range(check_range(start, stop, every))]
