"""Hazard: a real proxy before InfluxDB answers for it, and points are lost or condemned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cell_monitor.embedded.process import free_port
from cell_monitor_core.storage.influxdb.time_series import InfluxTimeSeries
from cell_monitor_core.storage.ports import StoreUnavailable, TimeSeriesPoint
from cell_monitor_testing.installed_programs import InstalledServer, running_nginx

pytestmark = [pytest.mark.stores, pytest.mark.influxdb]

START = datetime(2026, 4, 1, 9, tzinfo=UTC)


@pytest.fixture
def nginx(influxdb: Any, server_folder: Path) -> Callable[[str], AbstractContextManager[InstalledServer]]:
    """Runs nginx on the same port each time, with a rule before what is passed on to InfluxDB."""
    port = free_port()

    def run(rule: str) -> AbstractContextManager[InstalledServer]:
        to_influxdb = f"location / {{ proxy_pass {influxdb.url}; {rule} }}"
        server = f"default_type text/html; server {{ listen 127.0.0.1:{port}; {to_influxdb} }}"
        return running_nginx(server_folder, server, port=port, replaced={})

    return run


async def attempt(what: Callable[[], Awaitable[Any]]) -> Any:
    """Do something as the worker does: again, where a connection of before the proxy's restart was used."""
    try:
        return await what()
    except StoreUnavailable:
        return await what()


async def test_only_influxdbs_own_answers_count_behind_nginx(
    influxdb: Any, nginx: Any, make_id: Callable[[datetime], UUID]
) -> None:
    points = [
        TimeSeriesPoint(UUID(int=index), make_id(at), at, "cell_executed", "c1", "n", "c", "ok", "", 5)
        for index in range(400)
        for at in [START + timedelta(seconds=index)]
    ]
    series: Any = None
    try:
        with nginx("return 200 '<html>Please sign in</html>';") as server:
            url = f"http://127.0.0.1:{server.port}"
            series = InfluxTimeSeries(url, influxdb.token, influxdb.org, influxdb.bucket)
            with pytest.raises(StoreUnavailable):
                await series.write(points)
            with pytest.raises(StoreUnavailable):
                await series.count("c1")
        with nginx("return 413;"):
            for _ in range(2):
                # At the first attempt perhaps because a connection of before is used.
                with pytest.raises(StoreUnavailable):
                    await series.write(points)
        with nginx(""):
            assert await attempt(lambda: series.count("c1")) == 0
        # Takes requests, but smaller ones.
        with nginx("client_max_body_size 1k;"):
            await attempt(lambda: series.write(points))
        with nginx(""):
            assert await attempt(lambda: series.count("c1")) == len(points)
    finally:
        if series is not None:
            await series.close()
