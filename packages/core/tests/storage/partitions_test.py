"""Monthly partitions: rows land in their month, none is lost or doubled while partitions are made."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest

from cell_monitor_core.storage.postgres.partitions import ensure_event_partitions
from cell_monitor_core.storage.postgres.pool import connect

NOW = datetime.now(UTC)


def _month(offset: int) -> datetime:
    index = NOW.year * 12 + NOW.month - 1 + offset
    return datetime(index // 12, index % 12 + 1, 15, tzinfo=UTC)


def _name(moment: datetime) -> str:
    return f"events_{moment:%Y_%m}"


async def _add(pool: asyncpg.Pool, event_id: UUID) -> None:
    await pool.execute(
        "INSERT INTO events (event_id, type, course_id, person_id, session_id, seq, occurred_at, received_at, fact, "
        "payload_enc) VALUES ($1, 'heartbeat', 'c1', $2, $2, 1, now(), now(), '{}', '')",
        event_id,
        uuid4(),
    )


async def _places(pool: asyncpg.Pool) -> dict[UUID, str]:
    rows = await pool.fetch("SELECT event_id, tableoid::regclass::text AS place FROM events")
    return {row["event_id"]: row["place"] for row in rows}


async def test_migrate_makes_the_months_around_today(pool, make_id):
    ids = {offset: make_id(_month(offset)) for offset in range(-2, 4)}
    for event_id in ids.values():
        await _add(pool, event_id)
    places = await _places(pool)
    assert places == {
        event_id: _name(_month(offset)) if -1 <= offset <= 2 else "events_default" for offset, event_id in ids.items()
    }


async def test_a_month_begins_and_ends_at_its_exact_millisecond_in_utc(pool):
    first = int(_month(1).replace(day=1).timestamp() * 1000)
    last, first_id = UUID(int=(first << 80) - 1), UUID(int=first << 80)
    await _add(pool, last)
    await _add(pool, first_id)
    assert await _places(pool) == {last: _name(_month(0)), first_id: _name(_month(1))}


async def test_rows_in_the_default_partition_are_moved_into_their_month(pool, make_id):
    inside = [make_id(_month(4)) for _ in range(5)]
    outside = make_id(_month(7))
    for event_id in (*inside, outside):
        await _add(pool, event_id)
    made = await ensure_event_partitions(pool, today=_month(3).date())
    assert made == [_name(_month(offset)) for offset in (3, 4, 5)]
    assert await _places(pool) == {**dict.fromkeys(inside, _name(_month(4))), outside: "events_default"}
    for event_id in inside:
        with pytest.raises(asyncpg.UniqueViolationError):
            await _add(pool, event_id)
    assert await ensure_event_partitions(pool, today=_month(3).date()) == []


async def test_makers_at_the_same_time_and_writers_meanwhile_lose_nothing(pool, make_id):
    ids = [make_id(_month(5)) for _ in range(300)]
    writers = [_add(pool, event_id) for event_id in ids]
    makers = [ensure_event_partitions(pool, today=_month(4).date()) for _ in range(3)]
    results = await asyncio.gather(*writers[:150], *makers, *writers[150:])
    made = [name for result in results if result for name in result]
    assert sorted(made) == sorted({_name(_month(offset)) for offset in (3, 4, 5, 6)})
    assert await _places(pool) == dict.fromkeys(ids, _name(_month(5)))


async def test_partitions_have_the_indexes_of_the_table(pool):
    of_table = await pool.fetchval("SELECT count(*) FROM pg_indexes WHERE tablename = 'events'")
    of_month = await pool.fetchval("SELECT count(*) FROM pg_indexes WHERE tablename = $1", _name(NOW))
    invalid = await pool.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    assert (of_month, invalid) == (of_table, 0)


async def test_the_worker_may_make_partitions_but_not_a_thousand_and_owns_none(database):
    connection = await connect(database, application_name="test")
    await connection.execute("SET ROLE cell_monitor_worker")
    assert await ensure_event_partitions(connection, today=_month(3).date()) != []
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await ensure_event_partitions(connection, today=_month(40).date())
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(f"DROP TABLE {_name(NOW)}")
    # A temporary table of the same name must not stand in for the real one.
    await connection.execute("CREATE TEMP TABLE events_default (event_id uuid)")
    assert await ensure_event_partitions(connection, today=_month(6).date()) != []
    await connection.execute("SET ROLE cell_monitor_api")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ensure_event_partitions(connection)
    await connection.close()
