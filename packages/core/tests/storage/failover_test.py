"""Hazard: after a fail-over, sessions that cannot write any more are kept and used again, and accepted events are not stored."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from cell_monitor.embedded import postgres
from cell_monitor.embedded.postgres import EmbeddedPostgres
from cell_monitor_core.storage.ports import PostgresUnavailable
from cell_monitor_core.storage.postgres.pool import close_pool, connect, create_pool, store_errors
from cell_monitor_testing.fixtures import temporary_directory

WRITE = "CREATE TABLE IF NOT EXISTS written (id int)"


async def until_written(pool: asyncpg.Pool[asyncpg.Record], statement: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                with store_errors():
                    await pool.execute(statement)
            except PostgresUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_sessions_of_a_server_that_became_read_only_leave_the_pool(database):
    pool = await create_pool(database, application_name="read-only", min_size=3, max_size=3)
    admin = await asyncpg.connect(database, target_session_attrs="any")
    try:
        await asyncio.gather(*(pool.execute("SELECT pg_sleep(0.01)") for _ in range(9)))
        await admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await admin.execute("SELECT pg_reload_conf()")

        async def refused() -> bool:
            try:
                with store_errors():
                    await pool.execute(WRITE)
            except PostgresUnavailable:
                return True
            return False

        async with asyncio.timeout(60):
            while not await refused():
                await asyncio.sleep(0.01)
        # Not even reading: a service must not take such a server for one that works.
        async with asyncio.timeout(60):
            while True:
                try:
                    with store_errors():
                        await pool.fetchval("SELECT 1")
                except PostgresUnavailable:
                    break
        with pytest.raises(PostgresUnavailable):
            await connect(database, application_name="read-only")
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await admin.execute("SELECT pg_reload_conf()")
        await until_written(pool, WRITE)
    finally:
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await admin.execute("SELECT pg_reload_conf()")
        await admin.close()
        await close_pool(pool)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """A primary, and a hot standby made of its data."""
    # The embedded server has no replicas, and writes nothing for them.
    monkeypatch.setitem(postgres._SETTINGS, "wal_level", "replica")
    with temporary_directory("failover") as directory:
        primary = EmbeddedPostgres(directory / "primary", password="pw")
        standby = EmbeddedPostgres(directory / "standby", password="pw")
        try:
            primary.start()
            primary.stop()
            standby.cluster.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", primary.cluster, standby.cluster], check=True)
            signal = Path(standby.cluster) / "standby.signal"
            subprocess.run(["cp", "-a", standby.cluster / "PG_VERSION", signal], check=True)
            primary.start()
            standby.launch()
            yield primary, standby
        finally:
            primary.stop()
            standby.stop()


async def test_of_two_servers_the_one_that_takes_writes_is_used_also_after_a_fail_over(pair):
    primary, standby = pair

    async def answering(server: EmbeddedPostgres) -> asyncpg.Connection[asyncpg.Record]:
        async with asyncio.timeout(60):
            while True:
                try:
                    return await asyncpg.connect(server.dsn)
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(0.05)

    second = await answering(standby)
    assert await second.fetchval("SELECT pg_is_in_recovery()")
    both = primary.dsn.replace(f"127.0.0.1:{primary.port}", f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}")
    pool = await create_pool(both, application_name="failover", min_size=1, max_size=2)
    try:
        await pool.execute("CREATE TABLE written (id int)")
        assert await pool.fetchval("SHOW port") == str(primary.port)
        primary.kill()
        await second.execute("SELECT pg_promote()")
        await until_written(pool, "CREATE TABLE written_later (id int)")
        assert await pool.fetchval("SHOW port") == str(standby.port)
    finally:
        await second.close()
        await close_pool(pool)
