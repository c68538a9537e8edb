"""Key rotation: encrypt everything again with the active key, each value bound to its row.

Values of version 1 (``crypto``) are rewritten as version 2 whatever their key is.

The way of a rotation: add the new key to the ring of all services and restart them; make it the active one and restart
them; run this; once it says that nothing is left, take the old key out of the ring.

Run it as the owner of the schema: no service may change facts::

    CELL_MONITOR_DATABASE_URL=… CELL_MONITOR_ENCRYPTION_KEYS_FILE=… \
        python -m cell_monitor_core.storage.postgres.rotation
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from cell_monitor_core.command_settings import database_url, needed
from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.settings import ENV_PREFIX, SettingsError
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres import (
    audit,
    derivation_keys,
    event_rows,
    failed_events,
    help_requests,
    hub_sessions,
    identities,
    people,
    student_states,
)
from cell_monitor_core.storage.postgres.pool import Executor, connect, store_errors
from cell_monitor_core.telemetry.start_errors import report_settings

__all__ = ["COLUMNS", "EncryptedColumn", "RotationProgress", "RotationResult", "rotate"]

BATCH: Final = 200
"""Rows in one transaction: short, so that a worker that wants one of them does not wait."""


@dataclass(frozen=True, slots=True)
class EncryptedColumn:
    """A column of ciphertext and what its values are bound to.

    Attributes:
        table: the table.
        key: the columns, each with its type, that name a row; the rows are gone through in their order.
        column: the column.
        context: what ``KeyRing`` calls the column.
        bound_to: the columns that ``row`` takes.
        row: gives the bytes that ``KeyRing`` calls the row.
    """

    table: str
    key: tuple[tuple[str, str], ...]
    column: str
    context: str
    bound_to: tuple[str, ...]
    row: Callable[..., bytes]

    @property
    def names(self) -> str:
        """The key's columns, for SQL."""
        return ", ".join(name for name, _ in self.key)


def _uuid_row(key: UUID) -> bytes:
    return key.bytes


def _of_person(column: str, context: str) -> EncryptedColumn:
    return EncryptedColumn("people", (("person_id", "uuid"),), column, context, ("person_id",), _uuid_row)


def _of_request(column: str, context: str) -> EncryptedColumn:
    return EncryptedColumn("help_requests", (("request_id", "uuid"),), column, context, ("request_id",), _uuid_row)


COLUMNS: Final = (
    _of_person("username_enc", people.USERNAME),
    _of_person("display_name_enc", people.DISPLAY_NAME),
    _of_person("email_enc", people.EMAIL),
    _of_request("message_enc", help_requests.MESSAGE),
    _of_request("error_text_enc", help_requests.ERROR_TEXT),
    EncryptedColumn(
        "identities", (("identity_id", "uuid"),), "subject_enc", identities.SUBJECT, ("identity_id",), _uuid_row
    ),
    EncryptedColumn("audit_entries", (("entry_id", "uuid"),), "address_enc", audit.ADDRESS, ("entry_id",), _uuid_row),
    EncryptedColumn(
        "hub_sessions", (("cookie_hash", "bytea"),), "token_enc", hub_sessions.TOKEN, ("person_id",), _uuid_row
    ),
    EncryptedColumn(
        "student_states",
        (("course_id", "text"), ("person_id", "uuid")),
        "error_text_enc",
        student_states.ERROR_TEXT,
        ("course_id", "person_id"),
        student_states.student_row,
    ),
    EncryptedColumn(
        "failed_events",
        (("failed_id", "bigint"),),
        "record_enc",
        failed_events.RECORD,
        ("consumer_group", "partition", "entry_id", "record_index"),
        failed_events.record_row,
    ),
    EncryptedColumn(
        "derivation_keys", (("name", "text"),), "key_enc", derivation_keys.KEY, ("name",), derivation_keys.key_row
    ),
    EncryptedColumn(
        "event_payloads",
        (("person_id", "uuid"), ("event_id", "uuid")),
        "payload_enc",
        event_rows.PAYLOAD,
        ("person_id", "event_id"),
        event_rows.payload_row,
    ),
)


@dataclass(frozen=True, slots=True)
class RotationProgress:
    """Progress of a rotation: number of values of one column that were re-encrypted, and total number."""

    table: str
    column: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class RotationResult:
    """What a rotation did.

    Attributes:
        rewritten: number of values that were re-encrypted.
        unreadable: one line for each value that no key of the ring opens; they are as they were.
        remaining: values not under the active key at the end, the unreadable ones included. Others are there where a
            service still encrypts with the old key: restart it with the new ring and rotate again.
    """

    rewritten: int
    unreadable: list[str]
    remaining: int


async def rotate(
    executor: Executor,
    keyring: KeyRing,
    *,
    batch: int = BATCH,
    on_progress: Callable[[RotationProgress], None] | None = None,
) -> RotationResult:
    """Encrypt every value that is not under the active key, or not bound to its row, again.

    May be stopped at any moment and run again: what is done stays done, and each value says itself whether it is. A
    value that a service changes meanwhile is left to the service's newer one.

    Raises:
        StoreUnavailable: PostgreSQL is unavailable; run it again.
    """
    rewritten = 0
    unreadable: list[str] = []
    for column in COLUMNS:
        rewritten += await _rotate_column(executor, keyring, column, batch, on_progress, unreadable)
    remaining = 0
    for column in COLUMNS:
        remaining += await _count_stale(executor, keyring, column)
    return RotationResult(rewritten, unreadable, remaining)


def _stale(keyring: KeyRing, column: EncryptedColumn) -> str:
    """Return the condition that a value is not under the active key, whose header is ``$1``."""
    return f"{column.column} IS NOT NULL AND substr({column.column}, 1, {len(keyring.active_header)}) <> $1"


async def _count_stale(executor: Executor, keyring: KeyRing, column: EncryptedColumn) -> int:
    sql = f"SELECT count(*) FROM {column.table} WHERE {_stale(keyring, column)}"  # noqa: S608
    with store_errors():
        return int(await executor.fetchval(sql, keyring.active_header))


async def _rotate_column(
    executor: Executor,
    keyring: KeyRing,
    column: EncryptedColumn,
    batch: int,
    on_progress: Callable[[RotationProgress], None] | None,
    unreadable: list[str],
) -> int:
    table, name = column.table, column.column
    header = keyring.active_header
    total = await _count_stale(executor, keyring, column)
    places = ", ".join(f"${number}::{kind}" for number, (_, kind) in enumerate(column.key, 3))
    # Continues after the last key, so that a value that cannot be decrypted is not read again.
    sql = (
        f"SELECT {', '.join({*column.bound_to, *(key for key, _ in column.key)})}, {name} AS value FROM {table} "  # noqa: S608
        f"WHERE {_stale(keyring, column)} {{after}} ORDER BY {column.names} LIMIT $2"
    )
    last: tuple[Any, ...] = ()
    done = 0
    while True:
        after = f"AND ({column.names}) > ({places})" if last else ""
        with store_errors():
            rows = await executor.fetch(sql.format(after=after), header, batch, *last)
        if not rows:
            return done
        last = tuple(rows[-1][key] for key, _ in column.key)
        values = []
        for row in rows:
            key = tuple(row[key] for key, _ in column.key)
            place = column.row(*(row[part] for part in column.bound_to))
            try:
                plain = keyring.decrypt(row["value"], context=column.context, row=place)
            except DecryptionError as error:
                unreadable.append(f"{table} {' '.join(map(str, key))}: {error}")
            else:
                values.append((key, row["value"], keyring.encrypt(plain, context=column.context, row=place)))
        done += await _replace(executor, column, values)
        if on_progress is not None:
            on_progress(RotationProgress(table, name, done, max(done, total)))


async def _replace(
    executor: Executor, column: EncryptedColumn, values: list[tuple[tuple[Any, ...], bytes, bytes]]
) -> int:
    """Replace values that have not changed since they were read, in one statement."""
    if not values:
        return 0
    places = ", ".join(f"${number}::{kind}[]" for number, (_, kind) in enumerate(column.key, 3))
    same_row = " AND ".join(f"t.{name} = u.{name}" for name, _ in column.key)
    with store_errors():
        rows = await executor.fetch(
            f"UPDATE {column.table} t SET {column.column} = u.new "  # noqa: S608
            f"FROM unnest($1::bytea[], $2::bytea[], {places}) AS u (old, new, {column.names}) "
            f"WHERE {same_row} AND t.{column.column} = u.old RETURNING 1",
            [old for _, old, _ in values],
            [new for _, _, new in values],
            *([key[number] for key, _, _ in values] for number in range(len(column.key))),
        )
    return len(rows)


async def _run(dsn: str, keyring: KeyRing, batch: int) -> RotationResult:
    connection = await connect(dsn, application_name="cell-monitor-rotation", statement_timeout=600)
    try:
        return await rotate(
            connection,
            keyring,
            batch=batch,
            on_progress=lambda now: print(f"{now.table}.{now.column}: {now.done} of {now.total}", flush=True),  # noqa: T201
        )
    finally:
        await connection.close(timeout=5)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code: 0 nothing is left, 1 something is or it failed, 2 used wrongly."""
    parser = argparse.ArgumentParser(
        prog="python -m cell_monitor_core.storage.postgres.rotation",
        description="Re-encrypt all personal data with the active key. It can be stopped and run again.",
    )
    parser.add_argument("--batch", type=int, default=BATCH, help="rows in one transaction (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not 1 <= options.batch <= 10_000:
        parser.error("--batch must be 1 to 10000")
    try:
        dsn = database_url()
        keyring = KeyRing.from_json(needed(f"{ENV_PREFIX}ENCRYPTION_KEYS"))
    except SettingsError as error:
        return report_settings(error, "rotation")
    try:
        result = asyncio.run(_run(dsn, keyring, options.batch))
    except (StoreUnavailable, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    for line in result.unreadable:
        print(line, file=sys.stderr)  # noqa: T201
    print(f"{result.rewritten} values re-encrypted with key {keyring.active}, {result.remaining} remain")  # noqa: T201
    return 1 if result.remaining else 0


if __name__ == "__main__":
    sys.exit(main())
