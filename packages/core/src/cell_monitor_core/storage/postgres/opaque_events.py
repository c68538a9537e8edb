"""Opaque events (docs/adr/0014): found once this release knows their type, derived, and listed for what follows from that.

The worker that derives them changes each one's fact and the state of its student in one transaction, and writes an entry of
``opaque_outbox`` for each consumer group. A group deletes its entry when it has done its part; doing it twice is safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from cell_monitor_core import keys
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.errors import ErrorSigner
from cell_monitor_core.derivation.facts import Fact, FactError, decode_fact, read_event
from cell_monitor_core.derivation.opaque_types import known_opaque_types, unreadable_type
from cell_monitor_core.derivation.reduce import StudentKey
from cell_monitor_core.storage.postgres.event_rows import PAYLOAD, payload_row, searched_columns
from cell_monitor_core.storage.postgres.pool import Connection, Executor
from cell_monitor_core.storage.postgres.rebuild import repair_student

__all__ = [
    "Derived",
    "OutboxEntry",
    "claim_entries",
    "count_opaque",
    "delete_entries",
    "derive_student",
    "facts_of",
    "students_with_known_events",
]

EVENTS_PER_TRANSACTION: Final = 500

_encode: Final = msgspec.json.Encoder().encode


class Derived(NamedTuple):
    """What one transaction did with a student's opaque events; ``more`` where some still wait."""

    derived: int
    unreadable: list[tuple[UUID, str]]
    more: bool


class OutboxEntry(NamedTuple):
    """One event that was derived after it had been stored as opaque."""

    person_id: UUID
    event_id: UUID
    course_id: str


class _Columns(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The columns of ``derive_opaque_facts``."""

    stored_at: datetime
    event_id: UUID
    type: str
    fact: Fact
    notebook_id: str | None = None
    cell_id: str | None = None
    status: str | None = None
    error_name: str | None = None
    duration_ms: int | None = None
    execution_count: int | None = None


async def count_opaque(executor: Executor) -> int:
    """Return how many opaque events are stored, test events included."""
    return int(await executor.fetchval("SELECT count(*) FROM events WHERE position('@' IN type) > 0"))


async def students_with_known_events(executor: Executor) -> list[StudentKey]:
    """Return the students who have opaque events of a type and version that this release reads."""
    rows = await executor.fetch(
        "SELECT DISTINCT e.course_id, e.person_id FROM events e JOIN student_states s USING (course_id, person_id) "
        "WHERE e.type = ANY($1::text[]) AND position('@' IN e.type) > 0 AND e.test_id IS NULL ORDER BY 1, 2",
        known_opaque_types(),
    )
    return [(course_id, person_id) for course_id, person_id in rows]


_WAITING: Final = """
SELECT e.event_id, e.stored_at, (extract(epoch FROM e.received_at) * 1000)::bigint AS received_at, e.fact::text AS fact,
       p.payload_enc
FROM events e LEFT JOIN event_payloads p USING (person_id, event_id, stored_at)
WHERE e.course_id = $1 AND e.person_id = $2 AND e.type = ANY($3::text[]) AND position('@' IN e.type) > 0
  AND e.test_id IS NULL
ORDER BY e.happened_at, e.event_id LIMIT $4
"""


async def derive_student(connection: Connection, keyring: KeyRing, signer: ErrorSigner, student: StudentKey) -> Derived:
    """Derive a student's opaque events that this release reads, then the student's state from all facts.

    Events that another worker has derived are not selected. An event that cannot be read is marked and not tried again:
    its type has ``!`` in place of ``@``.

    Args:
        connection: in a transaction.
        keyring: reads payloads, reads and writes texts.
        signer: signs errors.
        student: one of ``students_with_known_events``.

    Raises:
        DecryptionError: the key ring does not open a payload; nothing is changed.
    """
    locked = await connection.fetchval(
        "SELECT 1 FROM student_states WHERE course_id = $1 AND person_id = $2 FOR UPDATE", *student
    )
    if locked is None:
        return Derived(0, [], more=False)
    rows = await connection.fetch(_WAITING, *student, known_opaque_types(), EVENTS_PER_TRANSACTION)
    if not rows:
        return Derived(0, [], more=False)
    columns = []
    unreadable = []
    for row in rows:
        try:
            fact = _read(keyring, signer, student[1], row)
        except FactError as error:
            opaque = decode_fact(row["fact"])
            fact = msgspec.structs.replace(opaque, type=unreadable_type(opaque.type))
            unreadable.append((row["event_id"], f"{error.reason}: {error}"))
        columns.append(_columns(row, fact))
    course_id, person_id = student
    await connection.execute(
        "SELECT derive_opaque_facts($1, $2, $3::text::json)", person_id, course_id, _encode(columns).decode()
    )
    skipped = {event_id for event_id, _ in unreadable}
    derived = [row["event_id"] for row in rows if row["event_id"] not in skipped]
    await connection.execute(
        "INSERT INTO opaque_outbox (consumer_group, person_id, event_id, course_id) "
        "SELECT g, $2, e, $3 FROM unnest($1::text[]) AS g CROSS JOIN unnest($4::uuid[]) AS e ON CONFLICT DO NOTHING",
        list(keys.REQUIRED_GROUPS),
        person_id,
        course_id,
        derived,
    )
    await repair_student(connection, keyring, student)
    return Derived(len(derived), unreadable, more=len(rows) == EVENTS_PER_TRANSACTION)


def _read(keyring: KeyRing, signer: ErrorSigner, person_id: UUID, row: Any) -> Fact:
    """Read an event from its payload; it keeps the times that it was stored with.

    Raises:
        FactError: it is not as its type's schema says, or its payload is gone.
    """
    if row["payload_enc"] is None:
        raise FactError("payload_deleted", "its payload was deleted before it could be derived")
    payload = keyring.decrypt(row["payload_enc"], context=PAYLOAD, row=payload_row(person_id, row["event_id"]))
    stored = decode_fact(row["fact"])
    fact = read_event(payload, row["received_at"], signer).fact
    return msgspec.structs.replace(fact, at=stored.at, occurred=stored.occurred)


def _columns(row: Any, fact: Fact) -> _Columns:
    return _Columns(
        row["stored_at"],
        row["event_id"],
        fact.type,
        fact,
        *searched_columns(fact),
    )


async def claim_entries(connection: Connection, group: str, *, limit: int) -> list[OutboxEntry]:
    """Return what a consumer group has not finished, without what another process is working on.

    The entries are locked until the transaction ends. Erasing their person waits for it, so nothing is published or
    written of a person after the erasing.
    """
    rows = await connection.fetch(
        "SELECT person_id, event_id, course_id FROM opaque_outbox WHERE consumer_group = $1 LIMIT $2 "
        "FOR UPDATE SKIP LOCKED",
        group,
        limit,
    )
    return [OutboxEntry(*row) for row in rows]


async def delete_entries(connection: Connection, group: str, entries: Sequence[OutboxEntry]) -> None:
    """Delete what a consumer group has finished."""
    await connection.execute(
        "DELETE FROM opaque_outbox o USING unnest($2::uuid[], $3::uuid[]) AS u(person_id, event_id) "
        "WHERE o.consumer_group = $1 AND o.person_id = u.person_id AND o.event_id = u.event_id",
        group,
        [entry.person_id for entry in entries],
        [entry.event_id for entry in entries],
    )


async def facts_of(connection: Connection, entries: Sequence[OutboxEntry]) -> list[tuple[OutboxEntry, Fact]]:
    """Return the entries' facts; those that were deleted meanwhile are left out."""
    rows = await connection.fetch(
        "SELECT e.person_id, e.event_id, e.course_id, e.fact::text FROM unnest($1::uuid[], $2::uuid[]) "
        "AS u(person_id, event_id) JOIN event_keys k USING (person_id, event_id) "
        "JOIN events e USING (person_id, event_id, stored_at)",
        [entry.person_id for entry in entries],
        [entry.event_id for entry in entries],
    )
    return [(OutboxEntry(*key), decode_fact(fact)) for *key, fact in rows]
