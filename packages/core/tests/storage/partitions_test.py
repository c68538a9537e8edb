"""Partitions by the time of storing: no sender chooses one, none is made on demand, and a missing one loses nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from cell_monitor_core.storage.postgres.partitions import ensure_event_partitions
from cell_monitor_core.storage.postgres.pool import connect

NOW = datetime.now(UTC)


def _month(offset: int) -> str:
    index = NOW.year * 12 + NOW.month - 1 + offset
    return f"events_{index // 12:04d}_{index % 12 + 1:02d}"


def _week(offset: int) -> str:
    monday = NOW - timedelta(days=NOW.weekday()) + timedelta(weeks=offset)
    return f"event_payloads_{monday:%Y_%m_%d}"


async def _partitions(pool: asyncpg.Pool, table: str) -> set[str]:
    rows = await pool.fetch("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass", table)
    return {row[0] for row in rows}


async def _add(pool: asyncpg.Pool, stored_at: datetime) -> str:
    """Store a fact at a time; return its partition."""
    return await pool.fetchval(
        "INSERT INTO events (stored_at, event_id, type, course_id, person_id, session_id, seq, happened_at, received_at, "
        "fact) VALUES ($1, $2, 'heartbeat', 'c1', $2, $2, 1, now(), now(), '{}') RETURNING tableoid::regclass::text",
        stored_at,
        uuid4(),
    )


async def test_migrate_makes_what_the_clock_can_reach_in_the_coming_weeks_and_no_default(pool):
    assert await _partitions(pool, "events") == {_month(offset) for offset in range(4)}
    assert await _partitions(pool, "event_payloads") == {_week(offset) for offset in range(9)}
    assert await ensure_event_partitions(pool) == []


async def test_a_month_begins_and_ends_at_its_exact_microsecond_in_utc(pool):
    first = datetime.strptime(_month(1), "events_%Y_%m").replace(tzinfo=UTC)
    assert await _add(pool, first) == _month(1)
    assert await _add(pool, first - timedelta(microseconds=1)) == _month(0)


async def test_makers_at_the_same_time_make_each_once_and_writers_are_not_held_up(pool):
    for name in (_month(2), _week(3)):
        await pool.execute(f"DROP TABLE {name}")
    async with pool.acquire() as writer, writer.transaction():
        # A writer's transaction that goes on while partitions are made.
        await _add(writer, NOW)
        made = await asyncio.wait_for(asyncio.gather(*(ensure_event_partitions(pool) for _ in range(4))), 60)
    assert sorted(name for names in made for name in names) == sorted([_month(2), _week(3)])


async def test_partitions_have_the_indexes_of_the_table(pool):
    for table, part in (("events", _month(0)), ("event_payloads", _week(0))):
        of_table = await pool.fetchval("SELECT count(*) FROM pg_indexes WHERE tablename = $1", table)
        of_part = await pool.fetchval("SELECT count(*) FROM pg_indexes WHERE tablename = $1", part)
        assert of_part == of_table
    assert await pool.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0


async def test_the_worker_may_make_these_partitions_and_no_other_table(database):
    connection = await connect(database, application_name="test")
    await connection.execute(f"DROP TABLE {_month(3)}")
    await connection.execute("SET ROLE cell_monitor_worker")
    # A temporary table of the same name must not stand in for the real one.
    await connection.execute("CREATE TEMP TABLE events (stored_at timestamptz)")
    assert await ensure_event_partitions(connection) == [_month(3)]
    for call in (
        "attach_partition('events', 'mine', '2000-01-01', '2001-01-01')",
        "event_month_partition('2000-01-01')",
        "payload_week_partition('2000-01-01')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"SELECT {call}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(f"DROP TABLE {_month(0)}")
    await connection.execute("SET ROLE cell_monitor_api")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ensure_event_partitions(connection)
    await connection.close()
