"""Activity of a course over time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from cell_monitor_api.exceptions import InvalidParameter, TimeSeriesUnavailable
from cell_monitor_api.models.students import Activity, ActivityPoint
from cell_monitor_core.storage.ports import StoreUnavailable, TimeSeries
from cell_monitor_core.storage.timeseries_buckets import MAX_BUCKETS
from cell_monitor_core.timestamps import to_text

__all__ = ["ActivityQuery"]

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)


class ActivityQuery:
    """Reads the time series within the bounds of the contract."""

    def __init__(self, time_series: TimeSeries, source: Literal["postgresql", "influxdb"]) -> None:
        self._time_series = time_series
        self._source = source

    async def read(self, course_id: str, *, start: datetime, stop: datetime, every_s: int) -> Activity:
        """Return the buckets of [start, stop).

        Raises:
            InvalidParameter: not a span of time, or more than 2,000 buckets.
            TimeSeriesUnavailable: the store is unavailable.
        """
        for name, moment in (("start", start), ("stop", stop)):
            if moment.tzinfo is None:
                raise InvalidParameter("give the time zone, as in 2026-04-01T09:00:00Z", loc=["query", name])
            if not _EARLIEST <= moment <= _LATEST:
                raise InvalidParameter("outside of the years 2000 to 2200", loc=["query", name])
        every = timedelta(seconds=every_s)
        if stop <= start:
            raise InvalidParameter("stop must be later than start", loc=["query", "stop"])
        if (stop - start) / every > MAX_BUCKETS:
            raise InvalidParameter(
                f"more than {MAX_BUCKETS} buckets: shorten the span or raise every", loc=["query", "every"]
            )
        try:
            buckets = await self._time_series.activity(
                course_id, start=start.astimezone(UTC), stop=stop.astimezone(UTC), every=every
            )
        except StoreUnavailable as error:
            raise TimeSeriesUnavailable("the time-series store does not answer; try again", retry_after=5) from error
        return Activity(
            source=self._source,
            buckets=[
                ActivityPoint(to_text(bucket.at), bucket.events, bucket.executions, bucket.errors, bucket.students)
                for bucket in buckets
            ],
        )
