"""Hazards of the pool: JSON that changes, a statement without a limit, an outage taken for invalid data."""

from __future__ import annotations

import asyncio

import asyncpg
import msgspec
import pytest

from cell_monitor_core.publications import ErrorRef
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres.pool import close_pool, create_pool, is_row_fault, store_errors


async def test_jsonb_takes_values_structs_and_ready_made_json_also_in_arrays(pool):
    items = [{"a": [1, None, "ü"]}, ErrorRef("NameError", "x"), b'{"raw":true}', "text", 1.5, None]
    values = await pool.fetchval("SELECT $1::jsonb[]", items)
    assert values == [{"a": [1, None, "ü"]}, {"name": "NameError", "value": "x"}, {"raw": True}, "text", 1.5, None]
    text = await pool.fetchval("SELECT ($1::jsonb)::text", b'{"name":"NameError"}')
    assert msgspec.json.decode(text, type=ErrorRef) == ErrorRef("NameError")


async def test_a_connection_that_comes_back_from_a_failed_transaction_works_and_holds_no_lock(pool):
    async def fail() -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = '29s'")
            await connection.execute("SELECT pg_advisory_xact_lock(1)")
            await connection.execute("SELECT 1 / 0")

    for _ in range(10):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await fail()
    assert await pool.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    assert await pool.fetchval("SHOW statement_timeout") == "30s"
    assert await pool.fetchval("SHOW application_name") == "storage-tests"


async def test_a_connection_that_hangs_does_not_keep_a_process_from_ending(database):
    pool = await create_pool(database, application_name="hanging", max_size=2)
    connection = await pool.acquire()
    query = asyncio.create_task(connection.fetchval("SELECT pg_sleep(60)"))
    await close_pool(pool, timeout_s=0.05)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await query


async def test_a_statement_that_takes_too_long_is_cancelled_as_an_outage(database):
    pool = await create_pool(database, application_name="slow", statement_timeout=1)
    with pytest.raises(StoreUnavailable, match="timeout"), store_errors():
        await pool.execute("SELECT pg_sleep(20)")
    assert await pool.fetchval("SELECT 1") == 1
    await pool.close()


async def test_waiting_for_a_lock_is_bounded_and_an_outage(database):
    pool = await create_pool(database, application_name="locks", max_size=2, lock_timeout=0.05)
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("LOCK TABLE courses")
        with pytest.raises(StoreUnavailable, match="lock"), store_errors():
            await pool.execute("SELECT * FROM courses")
    await pool.close()


async def test_a_server_that_is_unavailable_kills_or_refuses_connections_is_an_outage(database, pool):
    with pytest.raises(StoreUnavailable):
        await create_pool("postgresql://nobody@127.0.0.1:9/none", application_name="unavailable")
    with pytest.raises(StoreUnavailable, match="does not exist"):
        await create_pool(database + "_no", application_name="missing")
    async with pool.acquire() as connection:
        await connection.execute("SELECT 1")
        await pool.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        with pytest.raises(StoreUnavailable), store_errors():
            await connection.execute("SELECT 1")
    with store_errors():
        assert await pool.fetchval("SELECT 1") == 1


async def test_a_closed_pool_is_an_outage_not_a_crash(database):
    pool = await create_pool(database, application_name="closed")
    await pool.close()
    with pytest.raises(StoreUnavailable), store_errors():
        await pool.fetchval("SELECT 1")


async def test_a_missing_table_or_right_never_condemns_an_event(pool):
    for statement in ("SELECT * FROM no_such_table", "SELECT no_such_column FROM courses"):
        with pytest.raises(StoreUnavailable), store_errors():
            await pool.execute(statement)


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("INSERT INTO courses (course_id, title) VALUES ('c1', $1)", "nul \x00"),
        ("INSERT INTO courses (course_id, title) VALUES ('c1', $1)", ""),
        ("INSERT INTO courses (course_id, title) VALUES ('c1', $1)", None),
        ("INSERT INTO courses (course_id, title) VALUES ('c1', $1)", "\ud800"),
        ("INSERT INTO courses (course_id, title, thresholds) VALUES ('c1', 't', $1)", b'{"a": "\\u0000"}'),
        ("INSERT INTO courses (course_id, title, thresholds) VALUES ('c1', 't', $1)", b"not json"),
        ("INSERT INTO events (seq) VALUES ($1)", 2**63),
    ],
)
async def test_values_that_no_server_would_take_are_the_rows_fault_and_pass_unchanged(pool, sql, value):
    with pytest.raises(Exception) as caught, store_errors():
        await pool.execute(sql, value)
    assert is_row_fault(caught.value)


async def test_many_waiters_share_few_connections(database):
    pool = await create_pool(database, application_name="busy", max_size=2)
    assert await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(50))) == list(range(50))
    assert pool.get_size() <= 2
    await pool.close()
