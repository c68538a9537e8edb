"""Help requests as functions of facts: the request, its cancellation, the run before it, and what staff did.

Requests are rare, so each is derived anew from its facts whenever one of them changes.

A student waits with one request of a course at most: the one received last. By making it they took back the one before
it. The order is that of the API's clock, since a student's clock that was ahead once would put every later request
behind an old one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation import Fact, HelpAction, HelpOutcome, decode_fact, help_outcome, moment, rfc3339
from cell_monitor_core.publications import CellRef, ErrorRef, HelpRef, HelpStatus, NotebookRef
from cell_monitor_core.storage.postgres.help_requests import MESSAGE
from cell_monitor_core.storage.postgres.pool import Connection
from cell_monitor_core.storage.postgres.timestamps import to_text
from cell_monitor_core.storage.postgres.versions import FIRST_VERSION

__all__ = [
    "DerivedRequest",
    "derive_requests",
    "help_ref",
    "newest_active",
    "plan_requests",
    "requests_after",
    "requests_before",
    "save_requests",
]


class _Context(msgspec.Struct, frozen=True, omit_defaults=True):
    notebook: NotebookRef | None = None
    cell: CellRef | None = None
    error: ErrorRef | None = None


_context = msgspec.json.Decoder(_Context)
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class DerivedRequest:
    """What a request's row should hold, and what it holds."""

    request_id: UUID
    course_id: str
    person_id: UUID
    fact: Fact
    cancelled_at: datetime | None
    outcome: HelpOutcome
    context: _Context
    stored: Mapping[str, Any] | None

    @property
    def differs(self) -> bool:
        """Whether the row is not there or says something else."""
        row = self.stored
        if row is None:
            return True
        outcome = self.outcome
        return (
            row["course_id"] != self.course_id
            or row["person_id"] != self.person_id
            or row["status"] != outcome.status
            or row["requested_at"] != moment(self.fact.at)
            or row["cancelled_at"] != self.cancelled_at
            or row["claimed_by"] != outcome.claimed_by
            or row["claimed_at"] != outcome.claimed_at
            or row["resolved_by"] != outcome.resolved_by
            or row["resolved_at"] != outcome.resolved_at
            or _context.decode(row["context"]) != self.context
        )


# "least" passes over nulls. The error is that of the newest run, given up ones aside, before the request.
_FACTS = """
WITH asked AS MATERIALIZED (
    SELECT event_id, course_id, person_id, occurred_at, fact FROM events
    WHERE event_id = ANY($1::uuid[]) AND type = 'help_requested' AND test_id IS NULL
), told AS MATERIALIZED (
    SELECT e.event_id, e.course_id, e.person_id, e.type, e.occurred_at, e.received_at, e.fact->>'request' AS request
    FROM (SELECT DISTINCT course_id, person_id FROM asked) s JOIN events e USING (course_id, person_id)
    WHERE e.type IN ('help_requested', 'help_cancelled') AND e.test_id IS NULL
), followed AS (
    SELECT event_id, lead(occurred_at) OVER (
               PARTITION BY course_id, person_id ORDER BY received_at, occurred_at, event_id
           ) AS at
    FROM told WHERE type = 'help_requested'
), cancelled AS (
    SELECT course_id, person_id, request, min(occurred_at) AS at
    FROM told WHERE type = 'help_cancelled' GROUP BY course_id, person_id, request
)
SELECT r.event_id, r.course_id, r.person_id, r.fact::text AS request, least(c.at, f.at) AS cancelled_at,
       x.fact::text AS run,
       h.request_id IS NOT NULL AS is_stored, h.course_id AS stored_course_id, h.person_id AS stored_person_id,
       h.status, h.requested_at, h.cancelled_at AS stored_cancelled_at, h.claimed_by, h.claimed_at, h.resolved_by,
       h.resolved_at, h.context::text AS context
FROM asked r
LEFT JOIN help_requests h ON h.request_id = r.event_id
LEFT JOIN followed f ON f.event_id = r.event_id
LEFT JOIN cancelled c
    ON c.course_id = r.course_id AND c.person_id = r.person_id AND c.request = r.event_id::text
LEFT JOIN LATERAL (
    SELECT e.fact FROM events e
    WHERE e.course_id = r.course_id AND e.person_id = r.person_id AND e.type = 'cell_executed'
      AND e.status IN ('ok', 'error') AND e.test_id IS NULL
      AND (e.occurred_at, e.event_id) < (r.occurred_at, r.event_id)
    ORDER BY e.occurred_at DESC, e.event_id DESC LIMIT 1
) x ON true
ORDER BY r.event_id
"""


async def plan_requests(connection: Connection, request_ids: Iterable[UUID]) -> list[DerivedRequest]:
    """Derive requests from what is stored; ids whose request has not arrived are left out."""
    wanted = list(request_ids)
    rows = await connection.fetch(_FACTS, wanted)
    actions: dict[UUID, list[HelpAction]] = {}
    for request_id, action, person_id, acted_at in await connection.fetch(
        "SELECT request_id, action, person_id, acted_at FROM help_actions WHERE request_id = ANY($1::uuid[]) "
        "ORDER BY request_id, acted_at, action_id",
        wanted,
    ):
        actions.setdefault(request_id, []).append(HelpAction(action, person_id, acted_at))
    return [_derived(row, actions.get(row["event_id"], ())) for row in rows]


def _derived(row: Any, actions: Sequence[HelpAction]) -> DerivedRequest:
    fact = decode_fact(row["request"])
    run = None if row["run"] is None else decode_fact(row["run"])
    stored = None
    if row["is_stored"]:
        stored = {
            **row,
            "course_id": row["stored_course_id"],
            "person_id": row["stored_person_id"],
            "cancelled_at": row["stored_cancelled_at"],
        }
    return DerivedRequest(
        request_id=row["event_id"],
        course_id=row["course_id"],
        person_id=row["person_id"],
        fact=fact,
        cancelled_at=row["cancelled_at"],
        outcome=help_outcome(row["cancelled_at"], actions),
        context=_Context(fact.notebook, fact.cell, None if run is None else run.error),
        stored=stored,
    )


async def save_requests(
    connection: Connection, keyring: KeyRing, requests: Sequence[DerivedRequest], messages: Mapping[UUID, str]
) -> None:
    """Write rows with their next version; a message once stored stays."""
    await connection.execute(
        f"""
        INSERT INTO help_requests AS h
            (request_id, course_id, person_id, version, status, requested_at, cancelled_at, claimed_by, claimed_at,
             resolved_by, resolved_at, notebook_id, cell_id, context, message_enc)
        SELECT request_id, course_id, person_id, {FIRST_VERSION}, status, requested_at, cancelled_at, claimed_by, claimed_at,
               resolved_by, resolved_at, notebook_id, cell_id, context, message_enc
        FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                    $7::uuid[], $8::timestamptz[], $9::uuid[], $10::timestamptz[], $11::text[], $12::text[],
                    $13::jsonb[], $14::bytea[])
             AS u(request_id, course_id, person_id, status, requested_at, cancelled_at, claimed_by, claimed_at,
                  resolved_by, resolved_at, notebook_id, cell_id, context, message_enc)
        ON CONFLICT (request_id) DO UPDATE SET
            course_id = excluded.course_id, person_id = excluded.person_id, version = h.version + 1,
            status = excluded.status, requested_at = excluded.requested_at, cancelled_at = excluded.cancelled_at,
            claimed_by = excluded.claimed_by, claimed_at = excluded.claimed_at,
            resolved_by = excluded.resolved_by, resolved_at = excluded.resolved_at,
            notebook_id = excluded.notebook_id, cell_id = excluded.cell_id, context = excluded.context,
            message_enc = coalesce(h.message_enc, excluded.message_enc)
        """,  # noqa: S608
        [request.request_id for request in requests],
        [request.course_id for request in requests],
        [request.person_id for request in requests],
        [request.outcome.status for request in requests],
        [moment(request.fact.at) for request in requests],
        [request.cancelled_at for request in requests],
        [request.outcome.claimed_by for request in requests],
        [request.outcome.claimed_at for request in requests],
        [request.outcome.resolved_by for request in requests],
        [request.outcome.resolved_at for request in requests],
        [None if request.fact.notebook is None else request.fact.notebook.id for request in requests],
        [None if request.fact.cell is None else request.fact.cell.source_id for request in requests],
        [_encode(request.context) for request in requests],
        [_message(keyring, request.request_id, messages.get(request.request_id)) for request in requests],
    )


def _message(keyring: KeyRing, request_id: UUID, message: str | None) -> bytes | None:
    return keyring.encrypt_text(message, context=MESSAGE, row=request_id.bytes) if message else None


async def derive_requests(
    connection: Connection,
    keyring: KeyRing,
    request_ids: Iterable[UUID],
    *,
    students: Container[tuple[str, UUID]],
    messages: Mapping[UUID, str],
) -> set[tuple[str, UUID]]:
    """Derive requests and write those that differ; return the students whose requests changed.

    Args:
        connection: in a transaction.
        keyring: encrypts the messages.
        request_ids: which.
        students: those whose locks the caller holds; requests of others are left alone, since anybody may name a
            stranger's request in a cancellation.
        messages: of requests that are new.
    """
    planned = await plan_requests(connection, request_ids)
    changed = [request for request in planned if request.differs and (request.course_id, request.person_id) in students]
    if changed:
        await save_requests(connection, keyring, changed, messages)
    return {(request.course_id, request.person_id) for request in changed}


async def newest_active(
    connection: Connection, students: Iterable[tuple[str, UUID]]
) -> dict[tuple[str, UUID], HelpRef]:
    """Return each student's newest request that is open or claimed; students without one are left out."""
    wanted = sorted(students)
    rows = await connection.fetch(
        """
        SELECT DISTINCT ON (h.course_id, h.person_id)
               h.course_id, h.person_id, h.request_id, h.requested_at, h.status, h.claimed_by
        FROM unnest($1::text[], $2::uuid[]) AS u(course_id, person_id) JOIN help_requests h USING (course_id, person_id)
        WHERE h.status IN ('open', 'claimed') AND h.requested_at IS NOT NULL
        ORDER BY h.course_id, h.person_id, h.requested_at DESC, h.request_id DESC
        """,
        [course for course, _ in wanted],
        [person for _, person in wanted],
    )
    return {
        (row["course_id"], row["person_id"]): _help_ref(
            row["request_id"], to_text(row["requested_at"]), row["status"], row["claimed_by"]
        )
        for row in rows
    }


def help_ref(request: DerivedRequest) -> HelpRef:
    """Return what a student's row says of an active request."""
    outcome = request.outcome
    return _help_ref(request.request_id, rfc3339(request.fact.at), outcome.status, outcome.claimed_by)


def _help_ref(request_id: UUID, since: str, status: HelpStatus, claimed_by: UUID | None) -> HelpRef:
    return HelpRef(str(request_id), since, status, None if claimed_by is None else str(claimed_by))


async def requests_before(
    connection: Connection, requests: Mapping[UUID, tuple[str, UUID]]
) -> dict[UUID, tuple[str, UUID]]:
    """Return the requests that given ones supersede, each with its student: of every student's the one before.

    Args:
        connection: in a transaction.
        requests: stored ones, each with its student; others are passed over.
    """
    rows = await connection.fetch(
        """
        WITH told AS (
            SELECT e.event_id, e.course_id, e.person_id, lag(e.event_id) OVER (
                       PARTITION BY e.course_id, e.person_id ORDER BY e.received_at, e.occurred_at, e.event_id
                   ) AS before
            FROM (SELECT DISTINCT * FROM unnest($2::text[], $3::uuid[])) AS s(course_id, person_id)
                 JOIN events e USING (course_id, person_id)
            WHERE e.type = 'help_requested' AND e.test_id IS NULL
        )
        SELECT before, course_id, person_id FROM told WHERE event_id = ANY($1::uuid[]) AND before IS NOT NULL
        """,
        list(requests),
        [course for course, _ in requests.values()],
        [person for _, person in requests.values()],
    )
    return {request_id: (course_id, person_id) for request_id, course_id, person_id in rows}


async def requests_after(
    connection: Connection, students: Mapping[tuple[str, UUID], datetime]
) -> dict[UUID, tuple[str, UUID]]:
    """Return the requests that students made at or after given times, each with its student."""
    rows = await connection.fetch(
        """
        SELECT h.request_id, h.course_id, h.person_id
        FROM unnest($1::text[], $2::uuid[], $3::timestamptz[]) AS u(course_id, person_id, at)
             JOIN help_requests h USING (course_id, person_id)
        WHERE h.requested_at >= u.at
        """,
        [course for course, _ in students],
        [person for _, person in students],
        list(students.values()),
    )
    return {request_id: (course_id, person_id) for request_id, course_id, person_id in rows}
