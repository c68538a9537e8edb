"""Rows of ``events``: facts beside their encrypted payloads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation import Fact
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres.pool import Connection
from cell_monitor_core.storage.postgres.states import StudentKey

__all__ = ["PAYLOAD", "FactRow", "insert_facts", "payload_row"]

PAYLOAD: Final = "events.payload"
"""What a payload's ciphertext is bound to."""

_encode: Final = msgspec.json.Encoder().encode


def payload_row(person_id: UUID, event_id: UUID) -> bytes:
    """Return the key that an event's payload is bound to."""
    return person_id.bytes + event_id.bytes


@dataclass(slots=True)
class FactRow:
    """A record that could be read, on its way into ``events``."""

    record: StreamRecord
    fact: Fact
    message: str | None
    person_id: UUID
    student: StudentKey | None
    """Whose state derives from it; None in test mode."""


class _Columns(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The columns of a row, but for the payload."""

    event_id: str
    type: str
    course_id: str
    person_id: UUID
    session_id: str
    seq: int
    occurred_at: int
    received_at: int
    fact: Fact
    notebook_id: str | None = None
    cell_id: str | None = None
    status: str | None = None
    error_name: str | None = None
    duration_ms: int | None = None
    execution_count: int | None = None
    test_id: str | None = None


# One JSON text costs the driver and the server less than an array for each column.
_INSERT: Final = """
INSERT INTO events
    (event_id, type, course_id, person_id, session_id, seq, occurred_at, received_at, notebook_id, cell_id, status,
     error_name, duration_ms, execution_count, fact, test_id, payload_enc)
SELECT event_id, type, course_id, person_id, session_id, seq,
       timestamptz 'epoch' + occurred_at * interval '1 millisecond',
       timestamptz 'epoch' + received_at * interval '1 millisecond',
       notebook_id, cell_id, status, error_name, duration_ms, execution_count, fact, test_id, payload_enc
FROM ROWS FROM (
    json_to_recordset($1::text::json) AS (
        event_id uuid, type text, course_id text, person_id uuid, session_id uuid, seq bigint, occurred_at bigint,
        received_at bigint, notebook_id text, cell_id text, status text, error_name text, duration_ms bigint,
        execution_count integer, fact jsonb, test_id text),
    unnest($2::bytea[])
) AS u(event_id, type, course_id, person_id, session_id, seq, occurred_at, received_at, notebook_id, cell_id, status,
       error_name, duration_ms, execution_count, fact, test_id, payload_enc)
ON CONFLICT DO NOTHING
RETURNING event_id::text
"""


async def insert_facts(connection: Connection, keyring: KeyRing, rows: list[FactRow]) -> set[str]:
    """Insert facts, sorted by id lest two workers wait for each other; return the ids of the new ones."""
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
                None if fact.notebook is None else fact.notebook.id,
                None if fact.cell is None else fact.cell.source_id,
                fact.status,
                None if fact.error is None else fact.error.name,
                fact.duration_ms,
                fact.execution_count,
                record.test_id,
            )
        )
        payloads.append(encrypt(record.event, context=PAYLOAD, row=payload_row(row.person_id, UUID(fact.id))))
    inserted = await connection.fetch(_INSERT, _encode(columns).decode(), payloads)
    return {event_id for (event_id,) in inserted}
