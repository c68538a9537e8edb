"""One suite for every ``TimeSeries``: PostgreSQL's and InfluxDB's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from cell_monitor_core.storage.influxdb.time_series import InfluxTimeSeries
from cell_monitor_core.storage.ports import ActivityBucket, PoisonPoints, TimeSeries, TimeSeriesPoint
from cell_monitor_core.storage.postgres.pool import create_pool
from cell_monitor_core.storage.postgres.time_series import PostgresTimeSeries

START = datetime(2026, 4, 1, 9, tzinfo=UTC)
S1, S2, S3 = (UUID(int=number) for number in (1, 2, 3))


@pytest.fixture(params=["postgresql", pytest.param("influxdb", marks=pytest.mark.influxdb)])
async def series(request: pytest.FixtureRequest) -> AsyncIterator[TimeSeries]:
    if request.param == "postgresql":
        pool = await create_pool(request.getfixturevalue("database"), application_name="time-series-tests")
        yield PostgresTimeSeries(pool)
        await pool.close()
        return
    server = request.getfixturevalue("influxdb")
    made = InfluxTimeSeries(server.url, server.token, server.org, server.bucket)
    yield made
    await made.close()


@pytest.fixture
def point(make_id: Callable[[datetime], UUID]) -> Callable[..., TimeSeriesPoint]:
    def make(seconds: float = 0, **changes: Any) -> TimeSeriesPoint:
        at = START + timedelta(seconds=seconds)
        run = TimeSeriesPoint(S1, make_id(at), at, "cell_executed", "c1", "n1", "cell-1", "ok", "", 12)
        return replace(run, **changes)

    return make


async def test_every_event_is_counted_once_however_often_and_in_whatever_order_it_is_written(series, point):
    points = [point(index % 60, person_id=UUID(int=index % 7)) for index in range(500)]
    await series.write(points)
    random.Random(1).shuffle(points)
    await series.write(points[:300])
    await asyncio.gather(*(series.write(points[begin::3]) for begin in range(3)))
    assert await series.count("c1") == 500
    assert await series.count("other") == 0


async def test_two_peoples_events_of_one_id_are_two(series, point):
    mine = point(5)
    await series.write([mine, replace(mine, person_id=S2)])
    await series.write([replace(mine, person_id=S2)])
    assert await series.count("c1") == 2


async def test_events_of_the_same_millisecond_do_not_overwrite_each_other(series, point):
    await series.write([point(5, status="ok") for _ in range(300)])
    assert await series.count("c1") == 300


async def test_buckets_count_events_runs_errors_and_students_separately(series, point):
    await series.write(
        [
            point(0),
            point(59.999, person_id=S2, status="error", error_name="NameError"),
            point(60, type="heartbeat", status="", cell_id="", duration_ms=None),
            point(60, type="heartbeat", status="", cell_id="", duration_ms=None),
            point(61, status="aborted"),
            point(180, person_id=S3),
            point(10, course_id="c2"),
            point(-0.001),
            point(200),
        ]
    )
    buckets = await series.activity("c1", start=START, stop=START + timedelta(seconds=200), every=timedelta(seconds=60))
    assert buckets == [
        ActivityBucket(START, events=2, executions=2, errors=1, students=2),
        ActivityBucket(START + timedelta(seconds=60), events=3, executions=1, errors=0, students=1),
        ActivityBucket(START + timedelta(seconds=120), events=0, executions=0, errors=0, students=0),
        ActivityBucket(START + timedelta(seconds=180), events=1, executions=1, errors=0, students=1),
    ]


async def test_buckets_begin_at_the_asked_for_moment_not_at_a_round_one(series, point):
    start = START + timedelta(seconds=13)
    await series.write([point(12.9), point(13), point(82.9), point(83)])
    buckets = await series.activity("c1", start=start, stop=start + timedelta(seconds=140), every=timedelta(seconds=70))
    assert [(bucket.at, bucket.events) for bucket in buckets] == [(start, 2), (start + timedelta(seconds=70), 1)]


@pytest.mark.parametrize(
    ("start", "stop", "every"),
    [
        (START, START, timedelta(seconds=10)),
        (START, START - timedelta(seconds=1), timedelta(seconds=10)),
        (START, START + timedelta(days=1), timedelta(seconds=10)),
        (START, START + timedelta(days=1), timedelta(0)),
        (START.replace(tzinfo=None), START, timedelta(seconds=10)),
    ],
)
async def test_senseless_ranges_are_refused_before_the_store_is_asked(series, start, stop, every):
    with pytest.raises(ValueError):
        await series.activity("c1", start=start, stop=stop, every=every)


async def test_what_students_name_things_cannot_break_a_write_or_a_query(series, point):
    names = [
        'a"b',
        "a\\",
        "a,b=c d",
        "日本語 のノート",
        "tab\there",
        "line\nfeed",
        "x'); DROP TABLE events; --",
        '\\"',
        " ",
    ]
    await series.write(
        [
            point(index, notebook_id=name, cell_id=name, person_id=UUID(int=index), status="error", error_name=name)
            for index, name in enumerate(names)
        ]
    )
    assert await series.count("c1") == len(names)
    (bucket,) = await series.activity("c1", start=START, stop=START + timedelta(minutes=1), every=timedelta(minutes=1))
    assert (bucket.errors, bucket.students) == (len(names), len(names))
    assert await series.count('c1" or true or r.course == "') == 0


async def test_one_point_that_the_store_refuses_does_not_hold_back_the_others(series, point):
    points = [point(index) for index in range(40)]
    # A lone surrogate is no text in any encoding: neither store can take it.
    bad = [replace(points[7], notebook_id="\ud800"), replace(points[31], notebook_id="\udfff")]
    points[7], points[31] = bad
    with pytest.raises(PoisonPoints) as caught:
        await series.write(points)
    assert sorted(point.event_id for point, _ in caught.value.points) == sorted(point.event_id for point in bad)
    assert all(reason for _, reason in caught.value.points)
    assert await series.count("c1") == 38


async def test_an_empty_batch_is_written_without_asking_the_store(series):
    await series.write([])
    assert await series.count("c1") == 0


async def test_a_persons_points_can_be_erased_in_all_courses_and_a_courses_of_everybody(series, point):
    mine = [point(index, course_id=f"c{index % 3}", status="error", error_name="NameError") for index in range(30)]
    await series.write(mine)
    await series.write([replace(each, person_id=S2) for each in mine])
    await series.erase_person(S1)
    assert [await series.count(f"c{number}") for number in range(3)] == [10, 10, 10]
    await series.erase_course("c1")
    assert [await series.count(f"c{number}") for number in range(3)] == [10, 0, 10]
    # Nothing holds a point back that is written afterwards.
    await series.write([mine[1]])
    assert await series.count("c1") == 1
