"""Baseline: a naive worker that does the same work in the simplest way.

It reads the same stream entries with two consumer groups, decodes with ``json``, writes each event and each
student's row with its own statements, publishes each row, builds ``Point`` objects and acknowledges entry by entry.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.client.write.point import Point
from redis.asyncio import Redis

from cell_monitor_core import keys, records

__all__ = ["main"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS naive_events (
    event_id uuid PRIMARY KEY, course_id text, person_id uuid, type text, occurred_at timestamptz,
    received_at timestamptz, status text, error_name text, duration_ms bigint, payload jsonb);
CREATE INDEX IF NOT EXISTS naive_events_student ON naive_events (course_id, person_id, occurred_at);
CREATE TABLE IF NOT EXISTS naive_states (
    course_id text, person_id uuid, runs int, errors int, streak int, last jsonb, PRIMARY KEY (course_id, person_id));
CREATE TABLE IF NOT EXISTS naive_series (course_id text, at timestamptz, line text);
"""


async def store(connection: asyncpg.Connection, redis: Redis, record: records.StreamRecord) -> None:
    """Write one event and its student's row, and publish the row."""
    event = json.loads(record.event)
    data = event.get("data", {})
    person = UUID(bytes=record.person_id)
    error = (data.get("error") or {}).get("name")
    async with connection.transaction():
        inserted = await connection.fetchval(
            "INSERT INTO naive_events VALUES ($1, $2, $3, $4, $5, to_timestamp($6), $7, $8, $9, $10)"
            " ON CONFLICT DO NOTHING RETURNING event_id",
            UUID(event["event_id"]),
            record.course_id,
            person,
            event["type"],
            datetime.fromisoformat(event["occurred_at"]),
            record.received_at / 1000,
            data.get("status"),
            error,
            data.get("duration_ms"),
            record.event.decode(),
        )
        if inserted is None:
            return
        row = await connection.fetchrow(
            "SELECT runs, errors, streak FROM naive_states WHERE course_id = $1 AND person_id = $2 FOR UPDATE",
            record.course_id,
            person,
        )
        runs, errors, streak = (row["runs"], row["errors"], row["streak"]) if row else (0, 0, 0)
        if event["type"] == "cell_executed":
            runs += 1
            errors += error is not None
            streak = streak + 1 if error else 0
        state = {"student_id": str(person), "runs": runs, "errors": errors, "streak": streak, "cell": event.get("cell")}
        await connection.execute(
            "INSERT INTO naive_states VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (course_id, person_id)"
            " DO UPDATE SET runs = $3, errors = $4, streak = $5, last = $6",
            record.course_id,
            person,
            runs,
            errors,
            streak,
            json.dumps(state),
        )
    await redis.publish(f"naive:{record.course_id}", json.dumps(state))


def point(record: records.StreamRecord) -> Point:
    """Return the event's point."""
    event = json.loads(record.event)
    data = event.get("data", {})
    return (
        Point("cell_execution")
        .tag("course", record.course_id)
        .tag("type", event["type"])
        .tag("status", data.get("status", ""))
        .field("student", UUID(bytes=record.person_id).hex)
        .field("duration_ms", data.get("duration_ms") or 0)
        .time(datetime.fromisoformat(event["occurred_at"]))
    )


async def consume(group: str, handle: Any, redis: Redis, partitions: int) -> None:
    """Read entries of all partitions and acknowledge each one after its records were processed."""
    streams = {keys.events_stream(partition): ">" for partition in range(partitions)}
    for stream in streams:
        await redis.xgroup_create(stream, group, id="0", mkstream=True)
    while True:
        for stream, entries in await redis.xreadgroup(group, "naive", streams, count=100, block=200) or []:
            for entry_id, fields in entries:
                await handle(records.decode_entry(fields))
                await redis.xack(stream, group, entry_id)


async def main() -> None:
    """Run both groups until killed."""
    redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])
    database = await asyncpg.connect(os.environ["BENCH_DATABASE_URL"])
    await database.execute(SCHEMA)

    async def to_postgres(batch: list[records.StreamRecord]) -> None:
        for record in batch:
            await store(database, redis, record)

    series = await asyncpg.connect(os.environ["BENCH_DATABASE_URL"])
    async with AsyncExitStack() as exits:
        influx = None
        if "BENCH_INFLUXDB_URL" in os.environ:
            influx = await exits.enter_async_context(
                InfluxDBClientAsync(
                    os.environ["BENCH_INFLUXDB_URL"],
                    os.environ["BENCH_INFLUXDB_TOKEN"],
                    os.environ["BENCH_INFLUXDB_ORG"],
                )
            )

        async def to_series(batch: list[records.StreamRecord]) -> None:
            if influx is not None:
                await influx.write_api().write(os.environ["BENCH_INFLUXDB_BUCKET"], record=[point(r) for r in batch])
                return
            for record in batch:
                await series.execute(
                    "INSERT INTO naive_series VALUES ($1, to_timestamp($2), $3)",
                    record.course_id,
                    record.received_at / 1000,
                    point(record).to_line_protocol(),
                )

        partitions = int(sys.argv[1])
        await asyncio.gather(
            consume(keys.GROUP_POSTGRES, to_postgres, redis, partitions),
            consume(keys.GROUP_TIMESERIES, to_series, Redis.from_url(os.environ["BENCH_REDIS_URL"]), partitions),
        )


if __name__ == "__main__":
    asyncio.run(main())
