"""Hazards of the InfluxDB adapter: refusals of the server, a missing bucket, an outage."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from aiohttp import web
from pydantic import SecretStr

from cell_monitor_core.storage.influxdb.time_series import InfluxTimeSeries
from cell_monitor_core.storage.ports import PoisonPoints, StoreUnavailable, TimeSeriesPoint
from cell_monitor_core.storage.timeseries import create_time_series

START = datetime(2026, 4, 1, 9, tzinfo=UTC)


@pytest.fixture
def points(make_id: Callable[[datetime], UUID]) -> list[TimeSeriesPoint]:
    return [
        TimeSeriesPoint(UUID(int=index), make_id(at), at, "cell_executed", "c1", "n", "c", "ok", "", 5)
        for index in range(20)
        for at in [START + timedelta(seconds=index)]
    ]


@asynccontextmanager
async def opened(server: Any, **changes: Any) -> AsyncIterator[InfluxTimeSeries]:
    values = {"url": server.url, "token": server.token, "org": server.org, "bucket": server.bucket, **changes}
    series = InfluxTimeSeries(**values)
    try:
        yield series
    finally:
        await series.close()


def _client(server: Any) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"Authorization": f"Token {server.token}"}, trust_env=False)


@pytest.mark.influxdb
async def test_points_that_the_server_refuses_are_named_and_all_others_written(influxdb, points):
    points[3] = dataclasses.replace(points[3], at=datetime(1600, 1, 1, tzinfo=UTC))  # before InfluxDB's time
    points[9] = dataclasses.replace(points[9], duration_ms=2**70)  # no 64-bit integer
    async with opened(influxdb) as series:
        with pytest.raises(PoisonPoints) as caught:
            await series.write(points)
        assert [point.event_id for point, _ in caught.value.points] == [points[3].event_id, points[9].event_id]
        assert await series.count("c1") == 18


@pytest.mark.influxdb
async def test_a_field_of_another_type_stored_before_condemns_only_its_own_points(influxdb, points):
    with _client(influxdb) as client:
        # Types hold for a shard, that is for the days around a moment.
        line = f'cell_execution,course=x duration_ms="text" {int(START.timestamp())}000000000'
        parameters = {"org": influxdb.org, "bucket": influxdb.bucket}
        client.post("/api/v2/write", params=parameters, content=line).raise_for_status()
    without = [dataclasses.replace(point, duration_ms=None) for point in points[10:]]
    async with opened(influxdb) as series:
        with pytest.raises(PoisonPoints, match="conflict") as caught:
            await series.write(points[:10] + without)
        assert len(caught.value.points) == 10
        assert await series.count("c1") >= 10


@pytest.mark.influxdb
async def test_a_missing_bucket_is_made_with_retention_by_the_first_write(influxdb, points):
    name = f"made-{influxdb.bucket}"
    async with opened(influxdb, bucket=name, retention=timedelta(days=5000)) as series:
        await series.write(points)
        await series.write(points)
        assert await series.count("c1") == 20
        assert await series.ensure_bucket()
    with _client(influxdb) as client:
        (bucket,) = client.get("/api/v2/buckets", params={"name": name, "org": influxdb.org}).json()["buckets"]
    assert bucket["retentionRules"][0]["everySeconds"] == 5000 * 86400


@pytest.mark.influxdb
async def test_a_wrong_token_is_an_outage_and_drops_no_events(influxdb, points):
    async with opened(influxdb, token=SecretStr("wrong")) as series:
        with pytest.raises(StoreUnavailable, match="401"):
            await series.write(points)
        with pytest.raises(StoreUnavailable, match="401"):
            await series.count("c1")
        assert not await series.ensure_bucket()


@pytest.mark.influxdb
async def test_settings_with_an_influxdb_url_choose_it_and_make_the_bucket(influxdb, points):
    @dataclasses.dataclass
    class Settings:
        influxdb_url = influxdb.url
        influxdb_token = SecretStr(influxdb.token)
        influxdb_org = influxdb.org
        influxdb_bucket = f"chosen-{influxdb.bucket}"

    series = await create_time_series(Settings(), None)  # type: ignore[arg-type]
    try:
        assert series.source == "influxdb"
        assert await series.count("c1") == 0
        await series.write(points)
        assert await series.count("c1") == 20
    finally:
        await series.close()


async def test_settings_without_an_influxdb_url_choose_postgresql(pool):
    @dataclasses.dataclass
    class Settings:
        influxdb_url = None

    assert (await create_time_series(Settings(), pool)).source == "postgresql"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="CELL_MONITOR_INFLUXDB_URL"):
        await create_time_series(Settings(), None)  # type: ignore[arg-type]


@dataclasses.dataclass
class _Fake:
    """A server with configurable answers, because a real InfluxDB cannot be overloaded on demand."""

    url: str = ""
    token: str = "t"
    org: str = "o"
    bucket: str = "b"
    status: int = 204
    hang: bool = False
    largest: int = 10**9
    foreign: web.Response | None = None
    foreign_size: int = 0
    bodies: list[bytes] = dataclasses.field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        self.bodies.append(body)
        if self.foreign is not None and len(body) >= self.foreign_size:
            return web.Response(status=self.foreign.status, body=self.foreign.body, headers=self.foreign.headers)
        if self.hang:
            await asyncio.Event().wait()
        if len(body) > self.largest:
            return web.json_response({"code": "request too large", "message": "too large"}, status=413)
        if self.status == 204:
            return web.Response(status=204)
        return web.json_response(
            {"code": {422: "unprocessable entity"}.get(self.status, "x"), "message": "as configured"},
            status=self.status,
            headers={"Retry-After": "3"},
        )


@pytest.fixture
async def fake() -> AsyncIterator[_Fake]:
    fake = _Fake()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    fake.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    yield fake
    await runner.cleanup()


@pytest.mark.parametrize("status", [301, 401, 403, 404, 429, 500, 503])
async def test_answers_that_are_not_about_the_points_mean_write_all_again(fake, points, status):
    fake.status = status
    async with opened(fake) as series:
        with pytest.raises(StoreUnavailable, match=str(status)):
            await series.write(points)


_PAGE = "<html>Sign in</html>"


@pytest.mark.parametrize("status", [200, 201, 202, 205, 302, 400, 401, 403, 404, 413, 422, 511])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [(_PAGE, "text/html"), ("{}", "application/json"), ('{"message": "no"}', "application/json"), ("", "text/plain")],
)
async def test_a_proxys_answer_is_neither_points_written_nor_points_refused(fake, points, status, body, content_type):
    fake.foreign = web.Response(status=status, text=body, content_type=content_type)
    async with opened(fake) as series:
        with pytest.raises(StoreUnavailable):
            await series.write(points)
        with pytest.raises(StoreUnavailable):
            await series.erase_person(points[0].person_id)
        with pytest.raises(StoreUnavailable):
            await series.count("c1")
        with pytest.raises(StoreUnavailable):
            await series.activity("c1", start=START, stop=START + timedelta(hours=1), every=timedelta(minutes=5))
        fake.foreign = None
        await series.write(points)


@pytest.mark.parametrize("status", [200, 302, 404, 422, 503])
@pytest.mark.parametrize(
    "body", [_PAGE, "", "{}", "[]", "null", '{"buckets": {}, "orgs": 1}', '{"buckets": [], "orgs": []}']
)
async def test_whatever_answers_at_the_start_the_service_starts(fake, status, body):
    for content_type in ("text/html", "application/json"):
        fake.foreign = web.Response(status=status, text=body, content_type=content_type)

        @dataclasses.dataclass
        class Settings:
            influxdb_url = fake.url
            influxdb_token = SecretStr("t")
            influxdb_org = "o"
            influxdb_bucket = "b"

        series = await create_time_series(Settings(), None)  # type: ignore[arg-type]
        await series.close()


async def test_a_proxy_that_takes_less_than_influxdb_gets_less_and_condemns_no_point(fake, points):
    fake.foreign = web.Response(status=413, text="<html>413 Request Entity Too Large</html>", content_type="text/html")
    fake.foreign_size = 900
    async with opened(fake) as series:
        await series.write(points)
        written = b"".join(body for body in fake.bodies if len(body) < 900).decode().splitlines()
        assert len([line for line in written if line.startswith("activity,")]) == 20
        with pytest.raises(StoreUnavailable, match="413"):
            await series.write([dataclasses.replace(points[0], cell_id="x" * 900)])


@pytest.mark.influxdb
async def test_a_token_that_may_only_write_its_bucket_starts_and_writes(influxdb, points):
    async with opened(influxdb) as series:
        assert await series.ensure_bucket()
    with _client(influxdb) as client:
        org = client.get("/api/v2/orgs", params={"org": influxdb.org}).json()["orgs"][0]["id"]
        (bucket,) = client.get("/api/v2/buckets", params={"name": influxdb.bucket, "org": influxdb.org}).json()[
            "buckets"
        ]
        resource = {"type": "buckets", "id": bucket["id"], "orgID": org}
        wish = {"orgID": org, "permissions": [{"action": "write", "resource": resource}]}
        token = client.post("/api/v2/authorizations", json=wish).raise_for_status().json()["token"]
    async with opened(influxdb, token=SecretStr(token), bucket=f"misspelled-{influxdb.bucket}") as series:
        assert not await series.ensure_bucket()
        with pytest.raises(StoreUnavailable, match=f"404 for bucket misspelled-{influxdb.bucket}"):
            await series.write(points)
    async with opened(influxdb, token=SecretStr(token)) as series:
        await series.ensure_bucket()
        await series.write(points)
        with pytest.raises(StoreUnavailable):
            await series.count("c1")
    async with opened(influxdb) as series:
        assert await series.count("c1") == 20


async def test_a_server_that_never_answers_times_out(fake, points):
    fake.hang = True
    async with opened(fake, timeout=0.2) as series:
        with pytest.raises(StoreUnavailable):
            await series.write(points)
        with pytest.raises(StoreUnavailable):
            await series.count("c1")


async def test_an_unavailable_server_is_an_outage(points):
    async with opened(_Fake(url="http://127.0.0.1:9")) as series:
        with pytest.raises(StoreUnavailable):
            await series.write(points)
        assert not await series.ensure_bucket()


async def test_a_request_too_large_for_the_server_is_split_and_not_called_poison(fake, points):
    fake.largest = 600
    async with opened(fake) as series:
        await series.write(points)
    written = b"".join(body for body in fake.bodies if len(body) <= 600).decode().splitlines()
    assert len([line for line in written if line.startswith("activity,")]) == 20


async def test_no_request_is_larger_than_its_bound(fake, points):
    big = dataclasses.replace(points[0], cell_id="x" * 500_000)
    async with opened(fake) as series:
        await series.write([big] * 12)
    assert len(fake.bodies) > 1
    assert max(map(len, fake.bodies)) <= 4 * 1024 * 1024


async def test_a_store_that_refuses_everything_is_an_outage(fake, points):
    fake.status = 422
    async with opened(fake) as series:
        with pytest.raises(StoreUnavailable, match="too many points"):
            await series.write(points * 20)
    assert len(fake.bodies) <= 400
