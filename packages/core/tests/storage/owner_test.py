"""Hazard: where the owner may create no roles and has a schema of its own, migrating, working or rebuilding fails."""

from __future__ import annotations

import os
import subprocess
import sys

import asyncpg
import pytest

from cell_monitor.embedded.postgres import EmbeddedPostgres
from cell_monitor_core.storage.postgres.migrations import MigrationError, check_schema, load_migrations, migrate
from cell_monitor_core.storage.postgres.pool import connect
from cell_monitor_testing.keys import SampleSecrets

NEWEST = load_migrations()[-1].version


async def test_everything_is_made_in_the_owners_schema_and_missing_roles_are_said(owned_schema, managed_server):
    said: list[str] = []
    assert await migrate(owned_schema, said.append) == NEWEST
    for role in ("cell_monitor_api", "cell_monitor_worker"):
        assert any(role in line and "sign in as this owner" in line for line in said)
    assert await migrate(owned_schema) == 0
    admin = await connect(managed_server.dsn, application_name="test")
    elsewhere = await admin.fetch(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'p', 'v') AND n.nspname NOT IN ('monitor', 'pg_catalog', 'information_schema')"
    )
    assert [tuple(row) for row in elsewhere] == [("others", "schema_version")]
    # The same by a setting of the login, as a pooler needs it.
    await admin.execute("ALTER ROLE monitor_owner SET search_path = monitor")
    connection = await connect(owned_schema.partition("?")[0], application_name="test")
    await check_schema(connection)
    await connection.close()
    await admin.execute("ALTER ROLE monitor_owner RESET search_path")
    await admin.close()


def test_rebuild_works_in_the_owners_schema(owned_schema, secrets: SampleSecrets, valkey):
    settings = {
        "DATABASE_URL": owned_schema,
        "REDIS_URL": valkey,
        "ENCRYPTION_KEYS": secrets.encryption_keys,
        "INDEX_KEY": secrets.index_key,
    }
    environment = {f"CELL_MONITOR_{name}": value for name, value in settings.items()}
    migrated = subprocess.run(
        [sys.executable, "-m", "cell_monitor_core.storage.postgres.migrations"],
        env=environment | {"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (migrated.returncode, migrated.stderr) == (0, "")
    for arguments in (["rebuild"], ["rebuild", "--check"]):
        done = subprocess.run(
            [sys.executable, "-c", "from cell_monitor.cli import main; main()", *arguments],
            env=environment | {"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (done.returncode, "0 differences" in done.stdout) == (0, True), done.stderr


async def test_roles_that_an_administrator_made_get_their_rights(owned_schema, managed_server: EmbeddedPostgres):
    admin = await connect(managed_server.dsn, application_name="test")
    await admin.execute("CREATE ROLE cell_monitor_api; CREATE ROLE cell_monitor_worker")
    try:
        said: list[str] = []
        await migrate(owned_schema, said.append)
        assert not any("role" in line for line in said)
        await admin.execute("SET search_path = monitor; SET ROLE cell_monitor_worker")
        await check_schema(admin)
        await admin.execute("SELECT ensure_event_partitions()")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await admin.fetch("SELECT * FROM local_accounts")
    finally:
        await admin.execute("RESET ROLE; SET search_path = public")
        await admin.execute("DROP OWNED BY cell_monitor_api, cell_monitor_worker CASCADE")
        await admin.execute("DROP ROLE cell_monitor_api; DROP ROLE cell_monitor_worker")
        await admin.close()


async def test_a_schema_that_is_missing_or_closed_is_named_with_what_to_do(owned_schema):
    for schema in ("missing", "others"):
        with pytest.raises(MigrationError, match=rf"search path \({schema}\).*create it"):
            await migrate(
                owned_schema.replace("monitor", schema)
                .replace(f"{schema}_owner", "monitor_owner")
                .replace(f"cell_{schema}", "cell_monitor")
            )
