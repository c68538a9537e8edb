"""Activity over time in PostgreSQL, for installations without InfluxDB."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from cell_monitor_core.storage.ports import ActivityBucket, TimeSeriesPoint
from cell_monitor_core.storage.postgres.pool import Executor, is_row_fault, store_errors
from cell_monitor_core.storage.timeseries_bisection import Refused, write_around
from cell_monitor_core.storage.timeseries_buckets import check_range

__all__ = ["PostgresTimeSeries"]

_WRITE = """
INSERT INTO time_series
    (person_id, event_id, at, course_id, type, notebook_id, cell_id, status, error_name, duration_ms)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::text[], $10::bigint[])
ON CONFLICT (person_id, event_id) DO NOTHING
"""

_ACTIVITY = """
SELECT bucket AS at,
       count(event_id) AS events,
       count(event_id) FILTER (WHERE type = 'cell_executed') AS executions,
       count(event_id) FILTER (WHERE type = 'cell_executed' AND status = 'error') AS errors,
       count(DISTINCT person_id) AS students
FROM generate_series($2::timestamptz, $3::timestamptz - interval '1 microsecond', $4::interval) AS bucket
LEFT JOIN time_series
    ON course_id = $1 AND at >= $2 AND at < $3 AND date_bin($4::interval, at, $2::timestamptz) = bucket
GROUP BY bucket ORDER BY bucket
"""


class PostgresTimeSeries:
    """``TimeSeries`` in the table ``time_series``, one row an event."""

    source = "postgresql"

    def __init__(self, pool: Executor) -> None:
        """Work on this pool."""
        self._pool = pool

    async def write(self, points: Sequence[TimeSeriesPoint]) -> None:
        """Write points; those that are there already change nothing.

        Raises:
            StoreUnavailable: write all again.
            PoisonPoints: PostgreSQL refuses some; all others are written.
        """
        # In the order of the key, so that two writers of the same points never wait for each other in a circle.
        ordered = sorted(points, key=lambda point: (point.person_id, point.event_id))
        with store_errors():
            await write_around(ordered, self._write)

    async def _write(self, points: Sequence[TimeSeriesPoint]) -> None:
        try:
            await self._pool.execute(
                _WRITE,
                [point.person_id for point in points],
                [point.event_id for point in points],
                [point.at for point in points],
                [point.course_id for point in points],
                [point.type for point in points],
                [point.notebook_id for point in points],
                [point.cell_id for point in points],
                [point.status for point in points],
                [point.error_name for point in points],
                [point.duration_ms for point in points],
            )
        except Exception as error:
            if is_row_fault(error):
                raise Refused(str(error)) from error
            raise

    async def activity(
        self, course_id: str, *, start: datetime, stop: datetime, every: timedelta
    ) -> list[ActivityBucket]:
        """Return the buckets of [start, stop), empty ones included, oldest first; the first begins at ``start``.

        Raises:
            StoreUnavailable: the database does not answer.
            ValueError: the range is empty, a time has no zone, or there would be more than 2,000 buckets.
        """
        check_range(start, stop, every)
        with store_errors():
            rows = await self._pool.fetch(_ACTIVITY, course_id, start, stop, every)
        return [ActivityBucket(**row) for row in rows]

    async def count(self, course_id: str) -> int:
        """Return how many events of a course are stored.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with store_errors():
            return int(await self._pool.fetchval("SELECT count(*) FROM time_series WHERE course_id = $1", course_id))

    async def erase_person(self, person_id: UUID) -> None:
        """Delete all points of a person.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with store_errors():
            await self._pool.execute("DELETE FROM time_series WHERE person_id = $1", person_id)

    async def erase_course(self, course_id: str) -> None:
        """Delete all points of a course.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with store_errors():
            await self._pool.execute("DELETE FROM time_series WHERE course_id = $1", course_id)

    async def close(self) -> None:
        """Leave the pool to its owner."""
