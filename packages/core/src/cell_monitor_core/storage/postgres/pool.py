"""Connections to PostgreSQL: time limits, JSON with msgspec, errors classified by their cause."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec
import structlog
from asyncpg import exceptions as pg
from asyncpg.connect_utils import SessionAttribute
from pydantic import SecretStr

from cell_monitor_core.storage.ports import PostgresUnavailable, StoreUnavailable
from cell_monitor_core.store_urls import PostgresUrl, parse_postgres_url

__all__ = ["Connection", "Executor", "close_pool", "connect", "create_pool", "is_row_fault", "store_errors"]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Executor: TypeAlias = "Connection | asyncpg.Pool[asyncpg.Record]"
"""What a query needs: a connection, which may be in a transaction, or a pool for a statement on its own."""

STATEMENT_TIMEOUT_S: Final = 30.0
LOCK_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 5.0
IDLE_IN_TRANSACTION_TIMEOUT_S: Final = 60.0
CLOSE_TIMEOUT_S: Final = 2.0
_CACHED_STATEMENTS: Final = 100

_JSONB_VERSION: Final = b"\x01"
"""First byte of jsonb's binary form (jsonb_recv/jsonb_send in PostgreSQL's src/backend/utils/adt/jsonb.c)."""

_log = structlog.get_logger(__name__)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def _encode_jsonb(value: Any) -> bytes:
    # Bytes are JSON already: the worker hands over what it has encoded itself, also as items of a jsonb[].
    if isinstance(value, bytes):
        return _JSONB_VERSION + value
    return _JSONB_VERSION + _encoder.encode(value)


def _decode_jsonb(data: bytes) -> Any:
    return _decoder.decode(data[1:])


async def _prepare_connection(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    # Binary, because an array can only be sent in one format and asyncpg sends arrays in binary.
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode_jsonb, decoder=_decode_jsonb, format="binary"
    )


async def _keep_session(connection: Any) -> None:
    """Give a connection back without a query: nothing here sets session state, only ``SET LOCAL``.

    One whose session cannot write any more leaves the pool: the server tells of these two settings by itself whenever they
    change. https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC
    """
    settings = connection.get_settings()
    if "on" in (
        getattr(settings, "default_transaction_read_only", "off"),
        getattr(settings, "in_hot_standby", "off"),
    ):
        _log.warning("postgresql_read_only", reason="the server became a standby or read-only; connecting again")
        connection.terminate()


def _target(dsn: str) -> SessionAttribute | None:
    """Return which of several servers is wanted: the one that takes writes, unless the DSN says it."""
    return None if "target_session_attrs" in dsn else SessionAttribute.read_write


def _session_settings(application_name: str, statement_timeout: float, lock_timeout: float) -> dict[str, str]:
    return {
        "application_name": application_name[:63],
        "statement_timeout": str(int(statement_timeout * 1000)),
        "lock_timeout": str(int(lock_timeout * 1000)),
        "idle_in_transaction_session_timeout": str(int(IDLE_IN_TRANSACTION_TIMEOUT_S * 1000)),
        "timezone": "UTC",
        # Compiling these short queries costs more than it saves.
        "jit": "off",
    }


def _parsed(dsn: str | SecretStr) -> PostgresUrl:
    return parse_postgres_url(dsn.get_secret_value() if isinstance(dsn, SecretStr) else dsn)


def _cached_statements(url: PostgresUrl) -> int:
    """Return for how many statements a name is kept: none where a pooler gives each transaction another session."""
    return _CACHED_STATEMENTS if url.prepares else 0


async def create_pool(
    dsn: str | SecretStr,
    *,
    application_name: str,
    min_size: int = 1,
    max_size: int = 10,
    statement_timeout: float = STATEMENT_TIMEOUT_S,
    lock_timeout: float = LOCK_TIMEOUT_S,
    connect_timeout: float = CONNECT_TIMEOUT_S,
) -> asyncpg.Pool[asyncpg.Record]:
    """Open a pool of connections.

    A ``jsonb`` column comes back as plain Python values; select ``column::text`` to decode it into a struct. As a
    parameter ``bytes`` count as JSON already encoded and anything else is encoded by msgspec, structs included; the
    same holds for the items of a ``jsonb[]``.

    Args:
        dsn: ``postgresql://user:password@host:port/database``, or with ``host:port,host:port``: the first of them that
            takes writes is used.
        application_name: shown in ``pg_stat_activity``.
        min_size: connections opened at once.
        max_size: bound of connections.
        statement_timeout: seconds after which the server gives a statement up.
        lock_timeout: seconds that a statement waits for a lock.
        connect_timeout: seconds for one connection to be made.

    Raises:
        PostgresUnavailable: the server is unavailable, or refuses these credentials.
        ValueError: the DSN cannot be read.
    """
    url = _parsed(dsn)
    with store_errors():
        pool = asyncpg.create_pool(
            url.dsn,
            statement_cache_size=_cached_statements(url),
            min_size=min_size,
            max_size=max_size,
            timeout=url.connect_timeout or connect_timeout,
            # Longer than the server's own limit: reached only when the network swallowed the answer.
            command_timeout=statement_timeout + 5,
            max_inactive_connection_lifetime=300,
            server_settings=_session_settings(application_name, statement_timeout, lock_timeout),
            init=_prepare_connection,
            reset=_keep_session,
            target_session_attrs=_target(url.dsn),
        )
        return await pool


async def close_pool(pool: asyncpg.Pool[asyncpg.Record], *, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
    """Close a pool in order or, where a connection hangs, cut all of them off after ``timeout_s`` seconds."""
    try:
        async with asyncio.timeout(timeout_s):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def connect(
    dsn: str | SecretStr,
    *,
    application_name: str,
    statement_timeout: float = STATEMENT_TIMEOUT_S,
    lock_timeout: float = LOCK_TIMEOUT_S,
    connect_timeout: float = CONNECT_TIMEOUT_S,
) -> asyncpg.Connection[asyncpg.Record]:
    """Open one connection set up as those of ``create_pool``; a ``statement_timeout`` of 0 sets no bound.

    Raises:
        PostgresUnavailable: the server is unavailable, or refuses these credentials.
    """
    url = _parsed(dsn)
    with store_errors():
        connection = await asyncpg.connect(
            url.dsn,
            statement_cache_size=_cached_statements(url),
            timeout=url.connect_timeout or connect_timeout,
            command_timeout=statement_timeout + 5 if statement_timeout else None,
            server_settings=_session_settings(application_name, statement_timeout, lock_timeout),
            target_session_attrs=_target(url.dsn),
        )
        await _prepare_connection(connection)
        return connection


_UNAVAILABLE: Final = (
    OSError,  # also TimeoutError: refused, reset, unreachable, too slow
    asyncio.IncompleteReadError,
    pg.PostgresConnectionError,  # class 08
    pg.OperatorInterventionError,  # 57: shutting down, starting up, statement cancelled
    pg.InsufficientResourcesError,  # 53: too many connections, disk full
    pg.PostgresSystemError,  # 58: the server's own disk
    pg.TransactionRollbackError,  # 40: deadlock, serialisation
    pg.LockNotAvailableError,  # 55P03
    pg.ReadOnlySQLTransactionError,  # 25006: we still talk to a demoted primary
    pg.IdleInTransactionSessionTimeoutError,
    pg.InvalidAuthorizationSpecificationError,  # 28: credentials being rotated
    # A missing table, right or database is an error of the deployment. No event may be dropped because of it.
    pg.UndefinedTableError,
    pg.UndefinedColumnError,
    pg.UndefinedFunctionError,
    pg.InsufficientPrivilegeError,
    pg.InvalidCatalogNameError,
    pg.InternalClientError,
)

_ROW_FAULT: Final = (
    pg.DataError,  # class 22, and what asyncpg itself cannot encode
    pg.IntegrityConstraintViolationError,  # 23
    pg.ProgramLimitExceededError,  # 54: a value too large for an index
    pg.UntranslatableCharacterError,
)


def is_row_fault(error: BaseException) -> bool:
    """Return whether the values caused the error, so that the same rows would fail again on a healthy server."""
    return isinstance(error, (*_ROW_FAULT, OverflowError))


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn errors that are the server's, the network's or the deployment's into ``PostgresUnavailable``.

    Errors that the values caused (``is_row_fault``) and plain mistakes in a query pass unchanged.
    """
    try:
        yield
    except StoreUnavailable:
        raise
    except pg.TargetServerAttributeNotMatched as error:
        raise PostgresUnavailable(
            "PostgreSQL takes no writes: it is read-only or a standby (default_transaction_read_only, pg_is_in_recovery())"
        ) from error
    except pg.ClientConfigurationError as error:
        raise ValueError(f"the PostgreSQL DSN cannot be read: {error}") from error
    except asyncpg.InterfaceError as error:  # "connection is closed", "pool is closing"
        raise PostgresUnavailable(f"PostgreSQL: {error}") from error
    except _UNAVAILABLE as error:
        raise PostgresUnavailable(f"PostgreSQL: {type(error).__name__}: {error}"[:500]) from error
