"""Rewrites every encrypted value that is not yet encrypted with the active key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres import facts, failed_events, help_requests, people
from cell_monitor_core.storage.postgres.pool import Connection

__all__ = ["ENCRYPTED_COLUMNS", "EncryptedColumn", "rewrite_all"]

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class EncryptedColumn:
    """One column ending in ``_enc``; ``context`` is what its values are bound to."""

    table: str
    key: str
    column: str
    context: str


ENCRYPTED_COLUMNS: Final = (
    EncryptedColumn("people", "person_id", "username_enc", people.USERNAME),
    EncryptedColumn("people", "person_id", "display_name_enc", people.DISPLAY_NAME),
    EncryptedColumn("people", "person_id", "email_enc", people.EMAIL),
    EncryptedColumn("events", "event_id", "payload_enc", facts.PAYLOAD),
    EncryptedColumn("help_requests", "request_id", "message_enc", help_requests.MESSAGE),
    EncryptedColumn("failed_events", "failed_id", "record_enc", failed_events.RECORD),
)


async def rewrite_all(connection: Connection, keyring: KeyRing, *, progress: Callable[[str, int], None]) -> int:
    """Encrypt anew what an older key encrypted; return how many values that were.

    Works in small transactions, so it may run beside the services, be cut off and be started again. Every service must
    already know the active key.

    Args:
        connection: outside a transaction, as the schema's owner.
        keyring: all keys, old and active.
        progress: called with ``table.column`` and the number of values rewritten by one step.

    Raises:
        DecryptionError: a value's key is missing from the ring; nothing of that batch was changed.
    """
    total = 0
    for column in ENCRYPTED_COLUMNS:
        total += await _rewrite(connection, keyring, column, progress)
    return total


async def _rewrite(
    connection: Connection, keyring: KeyRing, column: EncryptedColumn, progress: Callable[[str, int], None]
) -> int:
    done = 0
    after: Any = None
    # Names come from the table above, values are parameters.
    select = (
        f"SELECT {column.key}, {column.column} FROM {column.table} "  # noqa: S608
        f"WHERE {column.column} IS NOT NULL AND ($1::{_key_type(column)} IS NULL OR {column.key} > $1) "
        f"ORDER BY {column.key} LIMIT {_BATCH}"
    )
    # Only if it is still what was read: somebody may have written a newer value meanwhile.
    update = (
        f"UPDATE {column.table} t SET {column.column} = u.new "  # noqa: S608
        f"FROM unnest($1::{_key_type(column)}[], $2::bytea[], $3::bytea[]) AS u(id, old, new) "
        f"WHERE t.{column.key} = u.id AND t.{column.column} = u.old"
    )
    while rows := await connection.fetch(select, after):
        after = rows[-1][0]
        stale = [(row[0], row[1]) for row in rows if not keyring.is_current(row[1])]
        if stale:
            renewed = [
                keyring.encrypt(keyring.decrypt(old, context=column.context), context=column.context)
                for _, old in stale
            ]
            await connection.execute(update, [key for key, _ in stale], [old for _, old in stale], renewed)
            done += len(stale)
        progress(f"{column.table}.{column.column}", len(stale))
    return done


def _key_type(column: EncryptedColumn) -> str:
    return "bigint" if column.key == "failed_id" else "uuid"
