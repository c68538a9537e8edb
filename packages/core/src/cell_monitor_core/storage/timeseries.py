"""Which time-series adapter a service works with."""

from __future__ import annotations

from typing import Protocol

from cell_monitor_core.settings import CoreSettings
from cell_monitor_core.storage.ports import TimeSeries
from cell_monitor_core.storage.postgres.pool import Executor
from cell_monitor_core.storage.postgres.time_series import PostgresTimeSeries

__all__ = ["OwnedTimeSeries", "create_time_series"]


class OwnedTimeSeries(TimeSeries, Protocol):
    """A ``TimeSeries`` that its maker closes; ``source`` is ``postgresql`` or ``influxdb``."""

    source: str

    async def close(self) -> None:
        """Give back what it holds; a pool that was handed in stays open."""
        ...


async def create_time_series(settings: CoreSettings, pool: Executor | None) -> OwnedTimeSeries:
    """Make the adapter that the settings ask for: InfluxDB where a URL is set, else PostgreSQL.

    InfluxDB may be unavailable: then the first write creates the bucket.

    Raises:
        ValueError: neither an InfluxDB URL nor a pool is given.
    """
    if settings.influxdb_url:
        # Loaded only where it is used: the client library takes 40 MiB and half a second.
        from cell_monitor_core.storage.influxdb.time_series import InfluxTimeSeries  # noqa: PLC0415

        assert settings.influxdb_token is not None  # the settings have checked that all four are there
        assert settings.influxdb_org is not None
        assert settings.influxdb_bucket is not None
        series = InfluxTimeSeries(
            settings.influxdb_url, settings.influxdb_token, settings.influxdb_org, settings.influxdb_bucket
        )
        await series.ensure_bucket()
        return series
    if pool is None:
        raise ValueError("time series need CELL_MONITOR_INFLUXDB_URL or CELL_MONITOR_DATABASE_URL")
    return PostgresTimeSeries(pool)
