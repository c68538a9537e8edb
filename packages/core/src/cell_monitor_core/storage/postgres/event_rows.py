"""Rows of ``event_keys``, ``events`` and ``event_payloads``: which events are new, their facts, and what was sent.

The three are written by one statement. ``event_keys`` says what is new, across all partitions; the fact and the payload of
a new event go to the partitions of the moment at which it is stored, by PostgreSQL's clock: no sender and no other clock
chooses a partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.facts import Fact, moment
from cell_monitor_core.derivation.placing import Neighbours
from cell_monitor_core.derivation.reduce import StudentKey
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.storage.postgres.pool import Connection, Executor

__all__ = [
    "PAYLOAD",
    "SEQ_IN_ORDER",
    "FactRow",
    "insert_facts",
    "load_neighbours",
    "payload_row",
    "payloads_of",
    "searched_columns",
]

PAYLOAD: Final = "events.payload"
"""What a payload's ciphertext is bound to, with ``payload_row``."""

SEQ_IN_ORDER: Final = "CASE WHEN e.fact ? 'occurred' THEN e.seq ELSE 0 END"
"""SQL for the second part of ``derivation.facts.fact_key`` of ``events e``; the first is ``happened_at``, the third ``event_id``."""

_encode: Final = msgspec.json.Encoder().encode


def payload_row(person_id: UUID, event_id: UUID) -> bytes:
    """Return the key that an event's payload is bound to."""
    return person_id.bytes + event_id.bytes


@dataclass(slots=True)
class FactRow:
    """A valid record in the form of the tables' rows.

    Attributes:
        text: the text that a page shows with the fact's state; see ``derivation.facts.ReadEvent``.
        student: whose state derives from it; None for test events.
    """

    record: StreamRecord
    fact: Fact
    text: str | None
    person_id: UUID
    student: StudentKey | None

    @property
    def key(self) -> tuple[bytes, str]:
        """By which the event is known, and the order in which rows are inserted."""
        return (self.record.person_id, self.fact.id)


class _Columns(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The columns of a row, but for the payload."""

    event_id: str
    type: str
    course_id: str
    person_id: UUID
    session_id: str
    seq: int
    happened_at: int
    received_at: int
    fact: Fact
    notebook_id: str | None = None
    cell_id: str | None = None
    status: str | None = None
    error_name: str | None = None
    duration_ms: int | None = None
    execution_count: int | None = None
    test_id: str | None = None


def searched_columns(
    fact: Fact,
) -> tuple[str | None, str | None, str | None, str | None, int | None, int | None]:
    """Return the fields of a fact that have columns of their own, because queries look for them.

    Returns:
        Notebook id, cell id, status, error's class, duration in milliseconds, execution count.
    """
    return (
        None if fact.notebook is None else fact.notebook.id,
        None if fact.cell is None else fact.cell.source_id,
        fact.status,
        None if fact.error is None else fact.error.name,
        fact.duration_ms,
        fact.execution_count,
    )


# One JSON text costs the driver and the server less than an array for each column. now() is the transaction's beginning,
# the same in all three tables.
_INSERT: Final = """
WITH given AS MATERIALIZED (
    SELECT * FROM ROWS FROM (
        json_to_recordset($1::text::json) AS (
            event_id uuid, type text, course_id text, person_id uuid, session_id uuid, seq bigint, happened_at bigint,
            received_at bigint, notebook_id text, cell_id text, status text, error_name text, duration_ms bigint,
            execution_count integer, fact jsonb, test_id text),
        unnest($2::bytea[])
    ) WITH ORDINALITY AS u(event_id, type, course_id, person_id, session_id, seq, happened_at, received_at, notebook_id,
        cell_id, status, error_name, duration_ms, execution_count, fact, test_id, payload_enc, place)
), fresh AS (
    INSERT INTO event_keys (person_id, event_id, stored_at) SELECT person_id, event_id, now() FROM given
    ON CONFLICT DO NOTHING
    RETURNING person_id, event_id
), facts AS (
    INSERT INTO events
        (stored_at, person_id, event_id, type, course_id, session_id, seq, happened_at, received_at, notebook_id, cell_id,
         status, error_name, duration_ms, execution_count, fact, test_id)
    SELECT now(), person_id, event_id, type, course_id, session_id, seq,
           timestamptz 'epoch' + happened_at * interval '1 millisecond',
           timestamptz 'epoch' + received_at * interval '1 millisecond',
           notebook_id, cell_id, status, error_name, duration_ms, execution_count, fact, test_id
    FROM given JOIN fresh USING (person_id, event_id)
), payloads AS (
    INSERT INTO event_payloads (stored_at, person_id, event_id, payload_enc)
    SELECT now(), person_id, event_id, payload_enc FROM given JOIN fresh USING (person_id, event_id)
)
SELECT place FROM given JOIN fresh USING (person_id, event_id)
"""


async def insert_facts(connection: Connection, keyring: KeyRing, rows: Sequence[FactRow]) -> list[FactRow]:
    """Insert what is not stored yet; return the rows that were new.

    Args:
        connection: in a transaction.
        keyring: encrypts the payloads.
        rows: in the order of their keys, so that two workers with the same events never wait for each other in a circle.

    Raises:
        StoreUnavailable: the partition of this month or week is missing. The worker makes them weeks ahead: this says
            that it could not, or that PostgreSQL's clock jumped. Nothing is stored until they are made.
    """
    encrypt = keyring.encrypt
    columns = []
    payloads = []
    for row in rows:
        record, fact = row.record, row.fact
        columns.append(
            _Columns(
                fact.id,
                fact.type,
                record.course_id,
                row.person_id,
                fact.session,
                fact.seq,
                fact.at,
                record.received_at,
                fact,
                *searched_columns(fact),
                record.test_id,
            )
        )
        place = record.person_id + bytes.fromhex(fact.id.replace("-", ""))
        payloads.append(encrypt(record.event, context=PAYLOAD, row=place))
    try:
        inserted = await connection.fetch(_INSERT, _encode(columns).decode(), payloads)
    except asyncpg.CheckViolationError as error:
        if error.constraint_name is None and "no partition of relation" in str(error):
            raise StoreUnavailable(f"PostgreSQL: {error}; run the migrations to make it") from error
        raise
    return [rows[place - 1] for (place,) in inserted]


# The session's facts are among those of its student since its first: the primary key reads them in this order.
_NEIGHBOURS: Final = """
SELECT u.course_id, u.person_id, u.session_id::text, u.seq,
       (extract(epoch FROM n.before) * 1000)::bigint, (extract(epoch FROM n.after) * 1000)::bigint
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::bigint[], $5::timestamptz[])
     AS u(course_id, person_id, session_id, seq, first)
CROSS JOIN LATERAL (
    SELECT max(e.happened_at) FILTER (WHERE e.seq < u.seq) AS before, min(e.happened_at) FILTER (WHERE e.seq > u.seq) AS after
    FROM events e
    WHERE e.person_id = u.person_id AND e.course_id = u.course_id AND e.happened_at >= u.first
      AND e.session_id = u.session_id AND e.test_id IS NULL AND e.fact ? 'occurred'
) n
"""


async def load_neighbours(
    connection: Connection, late: Sequence[tuple[StudentKey, str, int, int]]
) -> dict[tuple[StudentKey, str, int], Neighbours]:
    """Return the times of the stored facts that come before and after facts in the order of their sessions.

    Args:
        connection: in a transaction that holds the students' locks.
        late: student, session, ``seq``, and the time of the session's first fact, milliseconds since the epoch.
    """
    rows = await connection.fetch(
        _NEIGHBOURS,
        [student[0] for student, _, _, _ in late],
        [student[1] for student, _, _, _ in late],
        [session for _, session, _, _ in late],
        [seq for _, _, seq, _ in late],
        [moment(first) for _, _, _, first in late],
    )
    return {
        ((course, person), session, seq): Neighbours(before, after)
        for course, person, session, seq, before, after in rows
    }


async def payloads_of(
    executor: Executor, keyring: KeyRing, keys: Iterable[tuple[UUID, UUID]]
) -> dict[tuple[UUID, UUID], bytes]:
    """Return the payloads of events, as sent, by (person, event); those that were deleted are left out.

    Raises:
        DecryptionError: see ``KeyRing.decrypt``.
    """
    wanted = list(keys)
    rows = await executor.fetch(
        "SELECT p.person_id, p.event_id, p.payload_enc FROM unnest($1::uuid[], $2::uuid[]) AS u(person_id, event_id) "
        "JOIN event_keys USING (person_id, event_id) JOIN event_payloads p USING (person_id, event_id, stored_at)",
        [person for person, _ in wanted],
        [event for _, event in wanted],
    )
    return {
        (person, event): keyring.decrypt(payload, context=PAYLOAD, row=payload_row(person, event))
        for person, event, payload in rows
    }
