"""Migrations: from nothing, forward, twice at once, and every way in which they must refuse."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import zipfile
from pathlib import Path

import asyncpg
import pytest

from cell_monitor_core.storage.postgres.migrations import (
    MigrationError,
    SchemaMismatch,
    check_schema,
    load_migrations,
    migrate,
    runner,
)
from cell_monitor_core.storage.postgres.migrations.files import parse_migrations
from cell_monitor_core.storage.postgres.pool import connect

NEWEST = load_migrations()[-1].version


async def test_a_fresh_database_gets_all_of_it_and_the_second_run_nothing(empty_database):
    said: list[str] = []
    assert await migrate(empty_database, said.append) == NEWEST
    assert said[0] == "applying 0001 initial"
    assert said[-1] == f"schema is at version {NEWEST}"
    assert await migrate(empty_database) == 0
    connection = await connect(empty_database, application_name="test")
    await check_schema(connection)
    await connection.close()


async def test_runners_at_the_same_time_apply_everything_once(empty_database):
    assert sum(await asyncio.gather(*(migrate(empty_database) for _ in range(4)))) == NEWEST


async def test_services_refuse_any_other_schema_and_say_which(empty_database):
    connection = await connect(empty_database, application_name="test")
    with pytest.raises(SchemaMismatch, match=rf"version 0, .* needs version {NEWEST}; .*storage.postgres.migrations"):
        await check_schema(connection)
    await migrate(empty_database)
    await connection.execute("INSERT INTO schema_version VALUES ($1, 'later', '')", NEWEST + 1)
    with pytest.raises(SchemaMismatch, match=f"version {NEWEST + 1}, .* needs version {NEWEST}; .*older"):
        await check_schema(connection)
    with pytest.raises(MigrationError, match="newer release"):
        await migrate(empty_database)
    await connection.close()


async def test_a_migration_that_was_changed_after_it_was_applied_is_refused(empty_database):
    first = parse_migrations([("0001_a.sql", "CREATE TABLE a (x int)")])
    await migrate(empty_database, migrations=first)
    same = parse_migrations([("0001_a.sql", "CREATE TABLE a (x int)"), ("0002_b.sql", "CREATE TABLE b (x int)")])
    assert await migrate(empty_database, migrations=same) == 1
    changed = parse_migrations([("0001_a.sql", "CREATE TABLE a (x text)"), ("0002_b.sql", "CREATE TABLE b (x int)")])
    with pytest.raises(MigrationError, match="0001 a was changed"):
        await migrate(empty_database, migrations=changed)


async def test_a_migration_that_fails_half_way_leaves_nothing_of_itself(empty_database):
    files = [("0001_a.sql", "CREATE TABLE a (x int)"), ("0002_b.sql", "CREATE TABLE b (x int); SELECT 1 / 0")]
    with pytest.raises(MigrationError, match="0002 b failed: division by zero"):
        await migrate(empty_database, migrations=parse_migrations(files))
    connection = await connect(empty_database, application_name="test")
    assert await connection.fetchval("SELECT max(version) FROM schema_version") == 1
    assert await connection.fetchval("SELECT to_regclass('b')") is None
    await connection.close()


async def test_the_wait_for_a_table_in_use_is_short_and_repeated_and_ends(empty_database, monkeypatch):
    monkeypatch.setattr(runner, "LOCK_TIMEOUT_S", 0.05)
    monkeypatch.setattr(runner, "ATTEMPTS", 2)
    files = [("0001_a.sql", "CREATE TABLE a (x int)"), ("0002_b.sql", "ALTER TABLE a ADD y int")]
    await migrate(empty_database, migrations=parse_migrations(files[:1]))
    holder = await connect(empty_database, application_name="holder")
    async with holder.transaction():
        await holder.execute("LOCK TABLE a IN ACCESS SHARE MODE")
        with pytest.raises(MigrationError, match="did not get its locks in 2 attempts"):
            await migrate(empty_database, migrations=parse_migrations(files))
    assert await migrate(empty_database, migrations=parse_migrations(files)) == 1
    await holder.close()


async def test_the_wait_for_another_migration_ends_and_says_who_holds_it_up(empty_database, monkeypatch):
    monkeypatch.setattr(runner, "LOCK_WAIT_S", 0.1)
    # A release before this one held the lock as long as its session, and a pooler kept the session.
    holder = await connect(empty_database, application_name="left-behind")
    pid = await holder.fetchval("SELECT pg_backend_pid() FROM pg_advisory_lock($1)", runner.LOCK_KEY)
    with pytest.raises(MigrationError, match=rf"pid {pid}, login cell_monitor, application left-behind, .*terminate"):
        await migrate(empty_database)
    await holder.close()
    assert await migrate(empty_database) == NEWEST


@pytest.mark.parametrize(
    "names", [["0002_b.sql"], ["0001_a.sql", "0003_c.sql"], ["first.sql"], ["0001_a.sql", "0001_b.sql"]]
)
def test_files_that_would_leave_the_order_open_are_refused(names):
    with pytest.raises(MigrationError):
        parse_migrations([(name, "") for name in names])


async def test_a_migrator_that_may_not_create_roles_reports_it_and_migrates(databases, empty_database):
    admin = await connect(empty_database, application_name="test")
    name = empty_database.rpartition("/")[2]
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'; GRANT ALL ON SCHEMA public TO {name}")
    exists = await admin.fetchval("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'cell_monitor_%'")
    said: list[str] = []
    head, _, rest = empty_database.partition("//")
    host = rest.rpartition("@")[2]
    assert await migrate(f"{head}//{name}:x@{host}", said.append) == NEWEST
    assert exists or any("may not create it" in line for line in said)
    await admin.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")
    await admin.close()


def _command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cell_monitor_core.storage.postgres.migrations", *arguments],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_takes_the_address_from_the_environment_or_a_file(empty_database, tmp_path):
    nothing = _command()
    assert (nothing.returncode, "CELL_MONITOR_DATABASE_URL" in nothing.stderr) == (2, True)
    path = tmp_path / "dsn"
    path.write_text(f"{empty_database}\n")
    before = _command("--check", CELL_MONITOR_DATABASE_URL_FILE=str(path))
    assert (before.returncode, "version 0" in before.stderr) == (1, True)
    done = _command(CELL_MONITOR_DATABASE_URL_FILE=str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "applying 0001 initial" in done.stdout
    after = _command("--check", CELL_MONITOR_DATABASE_URL=empty_database)
    assert (after.returncode, after.stdout) == (0, "schema is up to date\n")
    unreachable = _command(CELL_MONITOR_DATABASE_URL="postgresql://u:hidden@127.0.0.1:9/x")
    assert unreachable.returncode == 1
    assert "Traceback" not in unreachable.stderr
    assert unreachable.stderr
    assert "hidden" not in unreachable.stdout + unreachable.stderr


def test_the_wheel_carries_the_migrations(tmp_path):
    hatchling = pytest.importorskip("hatchling.builders.wheel")
    root = Path(__file__).parents[2]
    (wheel,) = hatchling.WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(wheel).namelist()
    folder = "cell_monitor_core/storage/postgres/migrations"
    for migration in load_migrations():
        assert f"{folder}/{migration.version:04d}_{migration.name}.sql" in names


async def test_every_table_is_granted_to_somebody_or_left_out_on_purpose(pool: asyncpg.Pool):
    from cell_monitor_core.storage.postgres.roles import GRANTS

    rows = await pool.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'v') AND relnamespace = 'public'::regnamespace AND NOT relispartition"
    )
    granted = {table for tables in GRANTS.values() for table in tables}
    # Erasing is the owner's: no service may delete facts.
    assert {row["relname"] for row in rows} == granted | {"erasures"}
