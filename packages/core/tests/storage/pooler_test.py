"""Hazard: behind a pooler that gives each transaction another session, something of a session is left behind or missed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cell_monitor.embedded.postgres import EmbeddedPostgres
from cell_monitor_core.storage.postgres import people
from cell_monitor_core.storage.postgres.migrations import check_schema, load_migrations, migrate, runner
from cell_monitor_core.storage.postgres.people import NewPerson
from cell_monitor_core.storage.postgres.pool import close_pool, connect, create_pool
from cell_monitor_testing.optional_programs import REQUIRE_PGBOUNCER, skip_or_fail
from cell_monitor_testing.pgbouncer import pgbouncer_program, running_pgbouncer

NEWEST = load_migrations()[-1].version


@pytest.fixture
def pooled(postgres_server: EmbeddedPostgres, empty_database: str, server_folder: Path) -> Iterator[str]:
    """The URL of the database through PgBouncer, which has two sessions for everybody."""
    program = pgbouncer_program()
    if program is None:
        skip_or_fail("no pgbouncer on the PATH", switch=REQUIRE_PGBOUNCER)
    with running_pgbouncer(program, postgres_server, server_folder) as port:
        yield empty_database.replace(f":{postgres_server.port}/", f":{port}/") + "?pgbouncer=true"


async def test_a_migration_through_pgbouncer_leaves_no_lock_to_the_next_one(pooled, empty_database, monkeypatch):
    monkeypatch.setattr(runner, "LOCK_WAIT_S", 0.0)
    assert await migrate(pooled) == NEWEST
    direct = await connect(empty_database, application_name="test")
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    assert await direct.fetchval(held) == 0
    assert await migrate(empty_database) == 0
    assert await migrate(pooled) == 0
    await direct.close()


async def test_migrations_through_pgbouncer_and_beside_it_at_once_apply_everything_once(pooled, empty_database):
    assert sum(await asyncio.gather(*(migrate(dsn) for dsn in (pooled, empty_database, pooled)))) == NEWEST


async def test_concurrent_statements_through_pgbouncer_get_their_own_answers(pooled, keyring, index):
    await migrate(pooled)
    pool = await create_pool(pooled, application_name="pooled", min_size=6, max_size=6)
    try:
        await check_schema(pool)
        made = await people.upsert_many(pool, keyring, index, [NewPerson(f"user-{number}") for number in range(20)])

        async def look_up(number: int) -> bool:
            person = await people.upsert(pool, keyring, index, username=f"user-{number}", display_name=None)
            return person == made[number] and await pool.fetchval(f"SELECT {number} + $1::int", number) == 2 * number

        assert all(await asyncio.gather(*(look_up(number % 20) for number in range(200))))
    finally:
        await close_pool(pool)
