"""The migration step: applies what is missing, or with ``--check`` says whether anything is."""

from __future__ import annotations

import argparse
import asyncio
import sys

from cell_monitor_core.command_settings import DATABASE_URL, database_url, secret
from cell_monitor_core.crypto import BlindIndex, DecryptionError, KeyRing
from cell_monitor_core.settings import ENV_PREFIX, SettingsError
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres.migrations import MigrationError, SchemaMismatch, check_schema, migrate
from cell_monitor_core.storage.postgres.pool import connect
from cell_monitor_core.telemetry.start_errors import report_settings

__all__ = ["main"]


def _keys_from_environment() -> tuple[KeyRing, BlindIndex] | None:
    """Return the keys where both are given; most migrations need none."""
    ring, index = secret(f"{ENV_PREFIX}ENCRYPTION_KEYS"), secret(f"{ENV_PREFIX}INDEX_KEY")
    return None if ring is None or index is None else (KeyRing.from_json(ring), BlindIndex.from_text(index))


async def _check(dsn: str) -> None:
    connection = await connect(dsn, application_name="cell-monitor-migrate")
    try:
        await check_schema(connection)
    finally:
        await connection.close(timeout=5)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the process's exit code: 0 done, 1 not up to date or failed, 2 used wrongly."""
    parser = argparse.ArgumentParser(prog="python -m cell_monitor_core.storage.postgres.migrations")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 unless the schema is up to date")
    # On the command line a password would be seen by everybody who may list processes; for local use without one.
    parser.add_argument("dsn", nargs="?", help=f"postgresql://…; better in {DATABASE_URL} or {DATABASE_URL}_FILE")
    options = parser.parse_args(arguments)
    try:
        dsn = database_url(options.dsn)
        keys = None if options.check else _keys_from_environment()
    except SettingsError as error:
        return report_settings(error, "migrations")
    try:
        if options.check:
            asyncio.run(_check(dsn))
            print("schema is up to date")  # noqa: T201
        else:
            asyncio.run(migrate(dsn, lambda line: print(line, flush=True), keys=keys))  # noqa: T201
    except (MigrationError, SchemaMismatch, StoreUnavailable, DecryptionError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
