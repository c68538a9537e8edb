"""Bring a database to this version's schema, and refuse to work on any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import asyncpg
from pydantic import SecretStr

from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.settings import ENV_PREFIX
from cell_monitor_core.storage.postgres import identities
from cell_monitor_core.storage.postgres.error_texts import fill_error_texts
from cell_monitor_core.storage.postgres.migrations.files import Migration, MigrationError, load_migrations
from cell_monitor_core.storage.postgres.partitions import ensure_event_partitions
from cell_monitor_core.storage.postgres.pool import Connection, Executor, connect, store_errors
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
APPLICATION: Final = "cell-monitor-migrate"

_LIMITS: Final = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {milliseconds}"
_HOLDER: Final = """
SELECT l.pid, a.usename AS login, a.application_name AS application, a.client_addr::text AS address, a.state,
       to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = $1::oid AND l.objid = $2::oid
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

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

    Safe to repeat and to run twice at once: each step runs in a transaction under one lock, and finds out there what is
    left to do. The lock ends with the transaction: behind a pooler, a session and its locks outlive their client.

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
    connection = await connect(dsn, application_name=APPLICATION, statement_timeout=0, lock_timeout=LOCK_TIMEOUT_S)
    applied = 0
    try:
        with store_errors():
            async with _step(connection, say):
                await _make_version_table(connection)
                missing = await _missing(connection, wanted)
            for migration in missing:
                applied += await _apply(connection, migration, wanted, say)
            if migrations is None:
                for month in await ensure_event_partitions(connection):
                    say(f"created event partition {month}")
                async with _step(connection, say):
                    for line in await grant_roles(connection):
                        say(line)
                async with _step(connection, say):
                    await _backfill(connection, keys, say)
            say(f"schema is at version {wanted[-1].version if wanted else 0}")
    finally:
        await connection.close(timeout=5)
    return applied


async def _make_version_table(connection: Connection) -> None:
    if await connection.fetchval("SELECT current_schema()") is None:
        path = await connection.fetchval("SHOW search_path")
        raise MigrationError(
            f"no schema of the search path ({path}) exists for this login: create it, or set another one for the login "
            "(ALTER ROLE … SET search_path)"
        )
    try:
        await connection.execute(_VERSION_TABLE)
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationError(
            f"this login may not create tables: {error}; migrate as the owner of the schema"
        ) from error


async def _backfill(connection: Connection, keys: Keys | None, say: Progress) -> None:
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


@asynccontextmanager
async def _step(connection: Connection, say: Progress) -> AsyncIterator[None]:
    """Run the body in a transaction that holds the lock of all migrations.

    Raises:
        MigrationError: another session keeps the lock; the message says which.
    """
    deadline = asyncio.get_running_loop().time() + LOCK_WAIT_S
    reported = False
    while True:
        async with connection.transaction():
            # Polled: waiting inside PostgreSQL would end with lock_timeout.
            if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK_KEY):
                # Here as well: a pooler or the login's own settings may take precedence over those of the connection.
                await connection.execute(_LIMITS.format(milliseconds=int(LOCK_TIMEOUT_S * 1000)))
                yield
                return
        if not reported:
            say("waiting for another migration to finish")
            reported = True
        if asyncio.get_running_loop().time() > deadline:
            raise MigrationError(
                f"another migration still runs after {LOCK_WAIT_S:.0f} s: {await _holder(connection)}. If none runs, a "
                "pooler keeps the session of one that ended: end it with SELECT pg_terminate_backend(pid)"
            )
        await asyncio.sleep(0.1)


async def _holder(connection: Connection) -> str:
    """Say which session holds the lock, as far as this login may see it."""
    row = await connection.fetchrow(_HOLDER, LOCK_KEY >> 32, LOCK_KEY & 0xFFFFFFFF)
    if row is None:
        return "its session is not known"
    parts = [f"pid {row['pid']}"]
    parts += [f"{name} {row[name]}" for name in ("login", "application", "address", "state", "since") if row[name]]
    return ", ".join(parts)


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


async def _apply(
    connection: asyncpg.Connection[Any], migration: Migration, wanted: Sequence[Migration], say: Progress
) -> int:
    """Apply a migration unless somebody else has; return how many were applied, 0 or 1."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with _step(connection, say):
                if migration not in await _missing(connection, wanted):
                    return 0
                if attempt == 1:
                    say(f"applying {migration.version:04d} {migration.name}")
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_version (version, name, checksum) VALUES ($1, $2, $3)",
                    migration.version,
                    migration.name,
                    migration.checksum,
                )
            return 1
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
    raise AssertionError  # pragma: no cover - the loop returns or raises
