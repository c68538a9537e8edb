"""Events that could not be processed: kept encrypted with the reason, to be replayed once the cause is repaired.

One record that fails in both consumer groups has a row of each. It is counted and replayed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from cell_monitor_core import keys
from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.storage.postgres.pool import Connection, Executor

__all__ = [
    "EVERYTHING",
    "MAX_GROUPS",
    "MAX_LISTED",
    "FailedEvent",
    "FailedFilter",
    "FailedRecord",
    "WaitingGroup",
    "count_to_replay",
    "count_waiting",
    "insert",
    "list_page",
    "lock_replays",
    "mark_replayed",
    "newest_waiting",
    "record_row",
    "records_to_replay",
    "waiting_groups",
]

RECORD: Final = "failed_events.record"
MAX_DETAIL: Final = 2000
MAX_LISTED: Final = 200
"""Rows of one page, at most."""
MAX_GROUPS: Final = 500
"""Groups of a summary, at most: the largest ones."""
WHOLE_ENTRY: Final = -1
"""``record_index`` of an entry that could not even be taken apart."""

_COLUMNS: Final = (
    "f.failed_id, f.consumer_group, f.partition, f.entry_id, f.record_index, f.person_id, f.event_id, f.course_id, "
    "f.reason, f.detail, f.failed_at, f.replayed_at"
)
_REPLAY_LOCK: Final = 0x43_4D_52_50
"""Key of the advisory lock of ``lock_replays``."""
_LAST_ID: Final = 2**63 - 1


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


@dataclass(frozen=True, slots=True)
class FailedFilter:
    """Which failed records are wanted; None and False: all.

    Attributes:
        consumer_group: that failed in this group.
        course_id: of this course.
        without_course: whose course could not be read; excludes ``course_id``.
        reason: with this code.
    """

    consumer_group: str | None = None
    course_id: str | None = None
    without_course: bool = False
    reason: str | None = None

    def conditions(self, alias: str, first: int) -> tuple[str, list[object]]:
        """Return SQL that a row matches, and its parameters, numbered from ``first``."""
        conditions = [f"{alias}.course_id IS NULL"] if self.without_course else []
        values: list[object] = []
        for column in ("consumer_group", "course_id", "reason"):
            value = getattr(self, column)
            if value is not None:
                conditions.append(f"{alias}.{column} = ${first + len(values)}")
                values.append(value)
        return " AND ".join(conditions) or "true", values


EVERYTHING: Final = FailedFilter()


@dataclass(frozen=True, slots=True)
class WaitingGroup:
    """How many failed records of one reason and course wait to be replayed.

    Attributes:
        course_id: None where the course could not be read.
        count: records; one that failed in both consumer groups is counted once.
        oldest: when the first of them failed.
        newest: when the last of them failed.
    """

    reason: str
    course_id: str | None
    count: int
    oldest: datetime
    newest: datetime


async def list_page(
    executor: Executor,
    wanted: FailedFilter = EVERYTHING,
    *,
    before: int | None = None,
    limit: int = 50,
    waiting_only: bool = False,
) -> list[FailedEvent]:
    """Return failed records, newest first; ``before`` is the last ``failed_id`` of the page before."""
    conditions, values = wanted.conditions("f", 4)
    rows = await executor.fetch(
        f"SELECT {_COLUMNS} FROM failed_events f "  # noqa: S608
        f"WHERE ($1::bigint IS NULL OR f.failed_id < $1) AND (NOT $2 OR f.replayed_at IS NULL) AND {conditions} "
        "ORDER BY f.failed_id DESC LIMIT $3",
        before,
        waiting_only,
        limit,
        *values,
    )
    return [_failed_event(row) for row in rows]


async def waiting_groups(executor: Executor) -> list[WaitingGroup]:
    """Return what waits to be replayed by reason and course, the largest groups first, at most ``MAX_GROUPS``."""
    rows = await executor.fetch(
        "SELECT reason, course_id, count(DISTINCT (partition, entry_id, record_index)) AS count, "
        "min(failed_at) AS oldest, max(failed_at) AS newest FROM failed_events WHERE replayed_at IS NULL "
        "GROUP BY reason, course_id ORDER BY count DESC, reason, course_id LIMIT $1",
        MAX_GROUPS,
    )
    return [WaitingGroup(**row) for row in rows]


async def count_waiting(executor: Executor) -> int:
    """Return how many records wait to be replayed; one that failed in both consumer groups is counted once."""
    return int(
        await executor.fetchval(
            "SELECT count(DISTINCT (partition, entry_id, record_index)) FROM failed_events WHERE replayed_at IS NULL"
        )
    )


async def newest_waiting(executor: Executor) -> int:
    """Return the largest ``failed_id`` of the records that are not yet replayed, 0 if there are none."""
    return int(
        await executor.fetchval("SELECT coalesce(max(failed_id), 0) FROM failed_events WHERE replayed_at IS NULL")
    )


async def lock_replays(connection: Connection) -> None:
    """Let one transaction at a time replay; the others wait until it ends, at most for their lock timeout.

    Two that queued the same record twice would change no state, as events are known by their id. But each would mark rows
    that the other has locked, in another order.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _REPLAY_LOCK)


def _to_replay(wanted: FailedFilter, after: int, newest: int) -> tuple[str, list[object]]:
    """Return SQL that holds for the first matching row of each waiting record, and its parameters, numbered from 1."""
    matches, values = wanted.conditions("f", 4)
    earlier, _ = wanted.conditions("e", 4)
    conditions = (
        f"f.replayed_at IS NULL AND f.failed_id > $1 AND f.failed_id <= $2 AND {matches} AND NOT EXISTS ("
        "SELECT FROM failed_events e WHERE e.consumer_group = ANY($3::text[]) "
        "AND (e.partition, e.entry_id, e.record_index) = (f.partition, f.entry_id, f.record_index) "
        f"AND e.failed_id < f.failed_id AND e.replayed_at IS NULL AND {earlier})"
    )
    return conditions, [after, newest, list(keys.REQUIRED_GROUPS), *values]


async def count_to_replay(executor: Executor, wanted: FailedFilter, *, after: int, newest: int) -> int:
    """Return how many records ``records_to_replay`` has still to return."""
    conditions, values = _to_replay(wanted, after, newest)
    return int(await executor.fetchval(f"SELECT count(*) FROM failed_events f WHERE {conditions}", *values))  # noqa: S608


async def records_to_replay(
    executor: Executor,
    keyring: KeyRing,
    wanted: FailedFilter = EVERYTHING,
    *,
    after: int = 0,
    newest: int = _LAST_ID,
    limit: int = 100,
) -> list[tuple[FailedEvent, bytes | None]]:
    """Return records not yet replayed with their payload, oldest first, each once.

    The payload is None where no key of the ring decrypts it.

    Args:
        executor: a pool or connection.
        keyring: decrypts the records.
        wanted: which records.
        after: a ``failed_id``; only later ones are returned.
        newest: the last ``failed_id`` that may be returned; without it all that come while it is read are, too.
        limit: maximum number of records.
    """
    conditions, values = _to_replay(wanted, after, newest)
    rows = await executor.fetch(
        f"SELECT {_COLUMNS}, f.record_enc FROM failed_events f WHERE {conditions} "  # noqa: S608
        f"ORDER BY f.failed_id LIMIT ${len(values) + 1}",
        *values,
        limit,
    )
    return [(_failed_event(row), _payload(keyring, row)) for row in rows]


def _payload(keyring: KeyRing, row: Any) -> bytes | None:
    key = record_row(row["consumer_group"], row["partition"], row["entry_id"], row["record_index"])
    try:
        return keyring.decrypt(row["record_enc"], context=RECORD, row=key)
    except DecryptionError:
        return None


async def mark_replayed(executor: Executor, failed_ids: Sequence[int]) -> int:
    """Note that records were queued again, in all groups in which each failed; return how many rows were not marked before."""
    rows = await executor.fetch(
        # In the order of the ids, as whatever else locks several of these rows does.
        "UPDATE failed_events SET replayed_at = now() WHERE failed_id IN ("
        "SELECT f.failed_id FROM failed_events queued JOIN failed_events f "
        "ON (f.partition, f.entry_id, f.record_index) = (queued.partition, queued.entry_id, queued.record_index) "
        "WHERE queued.failed_id = ANY($1::bigint[]) AND f.consumer_group = ANY($2::text[]) AND f.replayed_at IS NULL "
        "ORDER BY f.failed_id FOR UPDATE OF f) RETURNING 1",
        list(failed_ids),
        list(keys.REQUIRED_GROUPS),
    )
    return len(rows)
