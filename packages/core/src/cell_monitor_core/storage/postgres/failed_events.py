"""Events that could not be processed: kept encrypted with the reason, to be replayed once the cause is repaired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from cell_monitor_core import keys
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = [
    "FailedEvent",
    "FailedRecord",
    "count_waiting",
    "insert",
    "list_page",
    "mark_replayed",
    "newest_waiting",
    "record_row",
    "records_to_replay",
]

RECORD: Final = "failed_events.record"
MAX_DETAIL: Final = 2000
WHOLE_ENTRY: Final = -1
"""``record_index`` of an entry that could not even be taken apart."""

_COLUMNS: Final = (
    "failed_id, consumer_group, partition, entry_id, record_index, person_id, event_id, course_id, reason, detail, "
    "failed_at, replayed_at"
)


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """One record to store.

    Attributes:
        record: the encoded ``StreamRecord`` or, with ``record_index`` -1, the whole entry's payload.
        reason: a code of ``events.reasons`` or of the worker.
        detail: for people; cut to 2,000 characters. Never a part of the payload.
        person_id: the sender; None where the entry could not be taken apart.
    """

    consumer_group: str
    partition: int
    entry_id: str
    record_index: int
    reason: str
    detail: str
    record: bytes
    person_id: UUID | None = None
    event_id: UUID | None = None
    course_id: str | None = None


@dataclass(frozen=True, slots=True)
class FailedEvent:
    """A stored failed record, without its payload."""

    failed_id: int
    consumer_group: str
    partition: int
    entry_id: str
    record_index: int
    person_id: UUID | None
    event_id: UUID | None
    course_id: str | None
    reason: str
    detail: str
    failed_at: datetime
    replayed_at: datetime | None


def _failed_event(row: Any) -> FailedEvent:
    return FailedEvent(**{name: row[name] for name in FailedEvent.__slots__})


async def insert(executor: Executor, keyring: KeyRing, records: Sequence[FailedRecord]) -> int:
    """Store records; return how many were not stored already. Doing it again changes nothing.

    Records of people who do not exist, as they were erased meanwhile, are left out. A record that failed, was replayed and failed again in a new entry is a new row.
    """
    if not records:
        return 0
    rows = await executor.fetch(
        """
        INSERT INTO failed_events
            (consumer_group, partition, entry_id, record_index, person_id, event_id, course_id, reason, detail,
             record_enc)
        SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::int[], $5::uuid[], $6::uuid[], $7::text[],
                             $8::text[], $9::text[], $10::bytea[])
             AS u(consumer_group, partition, entry_id, record_index, person_id)
        WHERE u.person_id IS NULL OR EXISTS (SELECT FROM people p WHERE p.person_id = u.person_id)
        ON CONFLICT (consumer_group, partition, entry_id, record_index) DO NOTHING
        RETURNING 1
        """,
        [record.consumer_group for record in records],
        [record.partition for record in records],
        [record.entry_id for record in records],
        [record.record_index for record in records],
        [record.person_id for record in records],
        [record.event_id for record in records],
        [_text(record.course_id) for record in records],
        [_text(record.reason) for record in records],
        [_text(record.detail) for record in records],
        [
            keyring.encrypt(
                record.record,
                context=RECORD,
                row=record_row(record.consumer_group, record.partition, record.entry_id, record.record_index),
            )
            for record in records
        ],
    )
    return len(rows)


def record_row(consumer_group: str, partition: int, entry_id: str, record_index: int) -> bytes:
    """Return the key that a record's ciphertext is bound to: the place in the log where it was read."""
    return f"{consumer_group}\0{partition}\0{entry_id}\0{record_index}".encode()


def _text(text: str | None) -> str | None:
    # This table is the last resort: it takes whatever made the event fail. PostgreSQL's text holds no NUL and no
    # lone surrogate.
    if text is None:
        return None
    return text[:MAX_DETAIL].replace("\x00", "\\0").encode("utf-8", "backslashreplace").decode()


async def list_page(
    executor: Executor, *, before: int | None = None, limit: int = 50, waiting_only: bool = False
) -> list[FailedEvent]:
    """Return failed records, newest first; ``before`` is the last ``failed_id`` of the page before."""
    rows = await executor.fetch(
        f"SELECT {_COLUMNS} FROM failed_events "  # noqa: S608
        "WHERE ($1::bigint IS NULL OR failed_id < $1) AND (NOT $2 OR replayed_at IS NULL) "
        "ORDER BY failed_id DESC LIMIT $3",
        before,
        waiting_only,
        limit,
    )
    return [_failed_event(row) for row in rows]


async def newest_waiting(executor: Executor) -> int:
    """Return the largest ``failed_id`` of the records that are not yet replayed, 0 if there are none."""
    return int(
        await executor.fetchval("SELECT coalesce(max(failed_id), 0) FROM failed_events WHERE replayed_at IS NULL")
    )


async def records_to_replay(
    executor: Executor,
    keyring: KeyRing,
    *,
    after: int = 0,
    newest: int | None = None,
    limit: int = 100,
    consumer_group: str | None = None,
) -> list[tuple[FailedEvent, bytes]]:
    """Return records not yet replayed with their payload, oldest first.

    Args:
        executor: a pool or connection.
        keyring: decrypts the records.
        after: a ``failed_id``; only later ones are returned.
        newest: the last ``failed_id`` that may be returned; without it all that come while it is read are, too.
        limit: maximum number of records.
        consumer_group: only records that failed in this group.
    """
    rows = await executor.fetch(
        f"SELECT {_COLUMNS}, record_enc FROM failed_events "  # noqa: S608
        "WHERE replayed_at IS NULL AND failed_id > $1 AND ($4::bigint IS NULL OR failed_id <= $4) "
        "AND ($2::text IS NULL OR consumer_group = $2) ORDER BY failed_id LIMIT $3",
        after,
        consumer_group,
        limit,
        newest,
    )
    found = []
    for row in rows:
        key = record_row(row["consumer_group"], row["partition"], row["entry_id"], row["record_index"])
        found.append((_failed_event(row), keyring.decrypt(row["record_enc"], context=RECORD, row=key)))
    return found


async def mark_replayed(executor: Executor, failed_ids: Sequence[int]) -> int:
    """Note that records were queued again, in all groups in which each failed; return how many were not marked before."""
    rows = await executor.fetch(
        "UPDATE failed_events f SET replayed_at = now() FROM failed_events queued "
        "WHERE queued.failed_id = ANY($1::bigint[]) AND f.consumer_group = ANY($2::text[]) "
        "AND (f.partition, f.entry_id, f.record_index) = (queued.partition, queued.entry_id, queued.record_index) "
        "AND f.replayed_at IS NULL RETURNING 1",
        list(failed_ids),
        list(keys.REQUIRED_GROUPS),
    )
    return len(rows)


async def count_waiting(executor: Executor) -> int:
    """Return how many records wait to be replayed."""
    return int(await executor.fetchval("SELECT count(*) FROM failed_events WHERE replayed_at IS NULL"))
