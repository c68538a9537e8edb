"""Bring a database to this version's schema, and refuse to work on any other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import asyncpg
from pydantic import SecretStr

from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.settings import ENV_PREFIX
from cell_monitor_core.storage.postgres import identities
from cell_monitor_core.storage.postgres.error_texts import fill_error_texts
from cell_monitor_core.storage.postgres.migrations.files import Migration, MigrationError, load_migrations
from cell_monitor_core.storage.postgres.partitions import ensure_event_partitions
from cell_monitor_core.storage.postgres.pool import Executor, connect, store_errors
from cell_monitor_core.storage.postgres.roles import grant_roles

__all__ = ["SchemaMismatch", "check_schema", "migrate"]

Progress = Callable[[str], None]
Keys: TypeAlias = tuple[KeyRing, BlindIndex]

COMMAND: Final = "python -m cell_monitor_core.storage.postgres.migrations"
LOCK_KEY: Final = 0x63656C6C_6D6F6E31  # "cellmon1"
LOCK_WAIT_S: Final = 120.0
LOCK_TIMEOUT_S: Final = 4.0
"""Bound of waiting for a table's lock: everything else that wants the table queues up behind us meanwhile."""
ATTEMPTS: Final = 5

_VERSION_TABLE = """
CREATE TABLE IF NOT EXISTS schema_version (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class SchemaMismatch(RuntimeError):  # noqa: N818 - says what is the matter
    """The database has another schema version than this program was written for.

    Attributes:
        found: the database's version, 0 if it was never migrated.
        expected: this program's.
    """

    def __init__(self, found: int, expected: int) -> None:
        if found < expected:
            advice = f"migrate it: {COMMAND}"
        else:
            advice = "the program is older than the database: run the release that migrated it, or a newer one"
        super().__init__(f"database schema is version {found}, this program needs version {expected}; {advice}")
        self.found = found
        self.expected = expected


async def schema_version(executor: Executor) -> int:
    """Return the newest applied version, 0 for a database that was never migrated."""
    if await executor.fetchval("SELECT to_regclass('schema_version')") is None:
        return 0
    return int(await executor.fetchval("SELECT coalesce(max(version), 0) FROM schema_version"))


async def check_schema(pool: Executor) -> None:
    """Make sure that the database has exactly this program's schema.

    Raises:
        SchemaMismatch: it has not; the message names both versions and what to run.
        StoreUnavailable: the database cannot be asked.
    """
    expected = load_migrations()[-1].version
    with store_errors():
        found = await schema_version(pool)
    if found != expected:
        raise SchemaMismatch(found, expected)


async def migrate(
    dsn: str | SecretStr,
    on_progress: Progress | None = None,
    *,
    keys: Keys | None = None,
    migrations: Sequence[Migration] | None = None,
) -> int:
    """Apply what is missing, compute what SQL cannot, make the coming event partitions, grant the services' rights.

    Safe to repeat and to run twice at once: the second runner waits and finds nothing to do.

    Args:
        dsn: of the role that owns, or may create, the schema.
        on_progress: called with one line per step.
        keys: those of the services; needed where a database of an older schema holds people.
        migrations: instead of the package's own.

    Returns:
        How many migrations were applied.

    Raises:
        MigrationError: an applied file was changed afterwards, the database is newer than this program, another
            runner does not finish, a file fails, or the keys are needed and missing.
        DecryptionError: the keys are not those of this database.
        StoreUnavailable: the database is unavailable.
    """
    say = on_progress or (lambda _line: None)
    wanted = list(load_migrations() if migrations is None else migrations)
    # A migration may rewrite a large table: no bound on the statement, only on its waiting for locks.
    connection = await connect(
        dsn, application_name="cell-monitor-migrate", statement_timeout=0, lock_timeout=LOCK_TIMEOUT_S
    )
    try:
        with store_errors():
            await _take_lock(connection, say)
            await connection.execute(_VERSION_TABLE)
            missing = await _missing(connection, wanted)
            for migration in missing:
                say(f"applying {migration.version:04d} {migration.name}")
                await _apply(connection, migration)
            if migrations is None:
                for month in await ensure_event_partitions(connection):
                    say(f"created event partition {month}")
                for line in await grant_roles(connection):
                    say(line)
                await _backfill(connection, keys, say)
            say(f"schema is at version {wanted[-1].version if wanted else 0}")
    finally:
        await connection.close(timeout=5)  # also gives the advisory lock back
    return len(missing)


async def _backfill(connection: asyncpg.Connection[asyncpg.Record], keys: Keys | None, say: Progress) -> None:
    """Compute what older rows need and what only the holder of the keys can: keyed hashes of names, texts of errors."""
    pending = await identities.count_pending(connection)
    if not pending:
        return
    if keys is None:
        raise MigrationError(
            f"{pending} people still need their identity computed, and without it they cannot sign in: run the "
            f"migration again with {ENV_PREFIX}ENCRYPTION_KEYS and {ENV_PREFIX}INDEX_KEY (or …_FILE) as the API has them"
        )
    # First, because a database whose people have their identities is taken for finished.
    say(f"encrypted the texts of {await fill_error_texts(connection, keys[0])} errors beside the states that show them")
    say(f"computed the identities of {await identities.backfill_local(connection, *keys)} people")


async def _take_lock(connection: asyncpg.Connection[asyncpg.Record], say: Progress) -> None:
    deadline = asyncio.get_running_loop().time() + LOCK_WAIT_S
    reported = False
    # Polled: waiting inside PostgreSQL would end with lock_timeout, and would hold a snapshot.
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
        if not reported:
            say("waiting for another migration to finish")
            reported = True
        if asyncio.get_running_loop().time() > deadline:
            raise MigrationError(f"another migration still runs after {LOCK_WAIT_S:.0f} s; see pg_stat_activity")
        await asyncio.sleep(0.1)


async def _missing(connection: asyncpg.Connection[Any], wanted: Sequence[Migration]) -> list[Migration]:
    applied = {row["version"]: row for row in await connection.fetch("SELECT * FROM schema_version")}
    newest = wanted[-1].version if wanted else 0
    if applied and max(applied) > newest:
        raise MigrationError(
            f"the database is at version {max(applied)}, this program knows up to {newest}: use a newer release"
        )
    for migration in wanted:
        row = applied.get(migration.version)
        if row is not None and row["checksum"] != migration.checksum:
            raise MigrationError(
                f"migration {migration.version:04d} {migration.name} was changed after it was applied to this "
                f"database on {row['applied_at']:%Y-%m-%d}; restore the file and put the change into a new migration"
            )
    return [migration for migration in wanted if migration.version not in applied]


async def _apply(connection: asyncpg.Connection[Any], migration: Migration) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_version (version, name, checksum) VALUES ($1, $2, $3)",
                    migration.version,
                    migration.name,
                    migration.checksum,
                )
            return
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            # Let those through that queued up behind us, then try again.
            if attempt == ATTEMPTS:
                raise MigrationError(
                    f"migration {migration.version:04d} {migration.name} did not get its locks in {ATTEMPTS} "
                    f"attempts; a long transaction holds them: see pg_stat_activity"
                ) from error
            await asyncio.sleep(attempt)
        except asyncpg.PostgresError as error:
            if isinstance(error, (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)):
                raise
            raise MigrationError(f"migration {migration.version:04d} {migration.name} failed: {error}") from error
