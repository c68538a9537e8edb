"""Requests for help in PostgreSQL: loading what they derive from, saving them, and what staff did.

What a request is and becomes is decided in ``derivation.help``; here it is only read and written. What is shown of requests
is read by ``help_queries``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.facts import decode_fact, fact_key, moment
from cell_monitor_core.derivation.help import (
    HelpAction,
    HelpActionKind,
    HelpContext,
    HelpFact,
    HelpOutcome,
    HelpRequest,
    help_request_id,
)
from cell_monitor_core.derivation.help_reduction import HelpInput, RequestText, StoredRequest
from cell_monitor_core.derivation.reduce import StudentKey
from cell_monitor_core.publications import MAX_ERROR_VALUE
from cell_monitor_core.storage.postgres.event_rows import PAYLOAD, SEQ_IN_ORDER, payload_row
from cell_monitor_core.storage.postgres.pool import Connection, Executor

__all__ = [
    "COLUMNS",
    "ERROR_TEXT",
    "MESSAGE",
    "context_of",
    "insert_action",
    "insert_expiry",
    "load_facts",
    "load_requests",
    "save_requests",
    "stored_request",
]

MESSAGE: Final = "help.message"
ERROR_TEXT: Final = "help.error_text"
"""What a request's ciphertexts are bound to, with the request's id."""

COLUMNS: Final = (
    "r.request_id, r.course_id, r.person_id, r.event_id, r.version, r.status, r.requested_at, r.cancelled_at, "
    "r.claimed_by, r.claimed_at, r.resolved_by, r.resolved_at, r.expired_at, r.context::text AS context, r.message_enc, "
    "r.error_text_enc, r.received_at"
)
"""What ``stored_request`` reads of ``help_requests r``."""

_context = msgspec.json.Decoder(HelpContext)
_encode: Final = msgspec.json.Encoder().encode


def context_of(row: Any) -> HelpContext:
    """Return the context of a row that was selected with ``context::text AS context``."""
    return _context.decode(row["context"])


def stored_request(keyring: KeyRing, row: Any) -> StoredRequest:
    """Return the request of a row that was selected with ``COLUMNS``.

    Raises:
        DecryptionError: see ``KeyRing.decrypt``.
        msgspec.DecodeError: the row is of another version of this software.
    """
    request = HelpRequest(
        request_id=row["request_id"],
        course_id=row["course_id"],
        person_id=row["person_id"],
        event_id=str(row["event_id"]),
        requested_at=row["requested_at"],
        received_at=row["received_at"],
        cancelled_at=row["cancelled_at"],
        outcome=HelpOutcome(
            row["status"],
            row["claimed_by"],
            row["claimed_at"],
            row["resolved_by"],
            row["resolved_at"],
            row["expired_at"],
        ),
        context=context_of(row),
    )
    key = request.request_id.bytes
    message, error = row["message_enc"], row["error_text_enc"]
    text = RequestText(
        None if message is None else keyring.decrypt_text(message, context=MESSAGE, row=key),
        None if error is None else keyring.decrypt_text(error, context=ERROR_TEXT, row=key),
    )
    return StoredRequest(row["version"], request, text)


async def load_facts(connection: Connection, students: Sequence[StudentKey]) -> dict[StudentKey, HelpInput]:
    """Return the help events of students; what else ``HelpInput`` holds is to be loaded by ``load_requests``."""
    found = {student: HelpInput() for student in students}
    rows = await connection.fetch(
        """
        SELECT e.course_id, e.person_id, e.fact::text, (extract(epoch FROM e.received_at) * 1000)::bigint
        FROM unnest($1::text[], $2::uuid[]) AS u(course_id, person_id) JOIN events e USING (course_id, person_id)
        WHERE e.type IN ('help_requested', 'help_cancelled') AND e.test_id IS NULL
        """,
        [course for course, _ in students],
        [person for _, person in students],
    )
    for course_id, person_id, fact, received_at in rows:
        found[course_id, person_id].facts.append(HelpFact(decode_fact(fact), received_at))
    return found


# The error is that of the newest run before the request, aborted ones left out.
_RUNS: Final = f"""
SELECT u.course_id, u.person_id, u.event_id::text, x.event_id AS run_id, x.fact::text AS run, p.payload_enc
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::bigint[])
     AS u(course_id, person_id, event_id, requested_at, seq)
CROSS JOIN LATERAL (
    SELECT e.event_id, e.stored_at, e.fact, e.error_name FROM events e
    WHERE e.person_id = u.person_id AND e.course_id = u.course_id AND e.type = 'cell_executed'
      AND e.status IN ('ok', 'error') AND e.test_id IS NULL
      AND (e.happened_at, {SEQ_IN_ORDER}, e.event_id) < (u.requested_at, u.seq, u.event_id)
    ORDER BY e.happened_at DESC, {SEQ_IN_ORDER} DESC, e.event_id DESC LIMIT 1
) x
LEFT JOIN event_payloads p ON x.error_name IS NOT NULL AND p.person_id = u.person_id AND p.event_id = x.event_id
    AND p.stored_at = x.stored_at
"""  # noqa: S608

# The student was there if something of theirs, which may have arrived later, is of the time between the last event that was
# known when the request closed itself and that moment.
_ACTIONS: Final = """
SELECT u.course_id, u.person_id, u.event_id::text, a.action, a.person_id AS acted_by, a.acted_at,
       a.action = 'expire' AND EXISTS (
           SELECT FROM events e
           WHERE e.course_id = u.course_id AND e.person_id = u.person_id AND e.test_id IS NULL
             AND e.happened_at > a.seen_at AND e.happened_at <= a.acted_at
       ) AS refuted
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[]) AS u(course_id, person_id, event_id, request_id)
     JOIN help_actions a ON a.request_id = u.request_id
ORDER BY a.acted_at, a.action_id
"""

_STORED: Final = f"""
SELECT {COLUMNS} FROM help_requests r JOIN unnest($1::text[], $2::uuid[]) AS u(course_id, person_id)
     USING (course_id, person_id)
WHERE r.status IN ('open', 'claimed') OR r.request_id = ANY($3::uuid[])
"""  # noqa: S608


class _Error(msgspec.Struct):
    value: str = ""


class _Data(msgspec.Struct):
    error: _Error | None = None


class _Run(msgspec.Struct):
    data: _Data


_run = msgspec.json.Decoder(_Run)


async def load_requests(
    connection: Connection,
    keyring: KeyRing,
    inputs: Mapping[StudentKey, HelpInput],
    wanted: Mapping[StudentKey, Iterable[str]],
) -> None:
    """Complete inputs of ``load_facts`` with what is stored of requests and with what they derive from.

    Args:
        connection: in a transaction that holds the students' locks.
        keyring: reads texts.
        inputs: by student; changed in place.
        wanted: event ids of the requests that are to be derived, by student.
    """
    asked = {
        (student, each.fact.id): fact_key(each.fact)
        for student, given in inputs.items()
        for each in given.facts
        if each.fact.type == "help_requested"
    }
    keys = [
        (student, event_id)
        for student, event_ids in wanted.items()
        for event_id in event_ids
        if (student, event_id) in asked
    ]
    courses = [student[0] for student, _ in keys]
    people = [student[1] for student, _ in keys]
    events = [UUID(event_id) for _, event_id in keys]
    request_ids = [help_request_id(person, event) for person, event in zip(people, events, strict=True)]
    if keys:
        times = [moment(asked[key][0]) for key in keys]
        numbers = [asked[key][1] for key in keys]
        for course, person, event_id, run_id, run, payload in await connection.fetch(
            _RUNS, courses, people, events, times, numbers
        ):
            text = None
            if payload is not None:
                plain = keyring.decrypt(payload, context=PAYLOAD, row=payload_row(person, run_id))
                error = _run.decode(plain).data.error
                text = None if error is None else error.value[:MAX_ERROR_VALUE]
            inputs[course, person].runs[event_id] = (decode_fact(run), text)
        actions: dict[tuple[StudentKey, str], list[HelpAction]] = {}
        for course, person, event_id, action, acted_by, acted_at, refuted in await connection.fetch(
            _ACTIONS, courses, people, events, request_ids
        ):
            done = HelpAction(action, acted_by, acted_at, refuted)
            actions.setdefault(((course, person), event_id), []).append(done)
        for (student, event_id), found in actions.items():
            inputs[student].actions[event_id] = found
    rows = await connection.fetch(
        _STORED, [course for course, _ in inputs], [person for _, person in inputs], request_ids
    )
    for row in rows:
        stored = stored_request(keyring, row)
        inputs[row["course_id"], row["person_id"]].stored[stored.request.event_id] = stored


async def save_requests(connection: Connection, keyring: KeyRing, requests: Sequence[StoredRequest]) -> None:
    """Write requests, new ones or not, with the versions that they have."""
    ordered = sorted(requests, key=lambda stored: stored.request.request_id)
    given = [stored.request for stored in ordered]
    outcomes = [request.outcome for request in given]
    notebooks = [request.context.notebook for request in given]
    cells = [request.context.cell for request in given]
    await connection.execute(
        """
        INSERT INTO help_requests AS h
            (request_id, course_id, person_id, event_id, version, status, requested_at, cancelled_at, claimed_by,
             claimed_at, resolved_by, resolved_at, notebook_id, cell_id, context, message_enc, error_text_enc, expired_at,
             received_at)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::bigint[], $6::text[], $7::timestamptz[],
                             $8::timestamptz[], $9::uuid[], $10::timestamptz[], $11::uuid[], $12::timestamptz[],
                             $13::text[], $14::text[], $15::jsonb[], $16::bytea[], $17::bytea[], $18::timestamptz[],
                             $19::timestamptz[])
        ON CONFLICT (request_id) DO UPDATE SET
            version = excluded.version, status = excluded.status, requested_at = excluded.requested_at,
            cancelled_at = excluded.cancelled_at, claimed_by = excluded.claimed_by, claimed_at = excluded.claimed_at,
            resolved_by = excluded.resolved_by, resolved_at = excluded.resolved_at, notebook_id = excluded.notebook_id,
            cell_id = excluded.cell_id, context = excluded.context, error_text_enc = excluded.error_text_enc,
            expired_at = excluded.expired_at, received_at = excluded.received_at
        """,
        [request.request_id for request in given],
        [request.course_id for request in given],
        [request.person_id for request in given],
        [request.event_id for request in given],
        [stored.version for stored in ordered],
        [outcome.status for outcome in outcomes],
        [request.requested_at for request in given],
        [request.cancelled_at for request in given],
        [outcome.claimed_by for outcome in outcomes],
        [outcome.claimed_at for outcome in outcomes],
        [outcome.resolved_by for outcome in outcomes],
        [outcome.resolved_at for outcome in outcomes],
        [None if notebook is None else notebook.id for notebook in notebooks],
        [None if cell is None else cell.source_id for cell in cells],
        [_encode(request.context) for request in given],
        [_sealed(keyring, stored.text.message, MESSAGE, stored.request.request_id) for stored in ordered],
        [_sealed(keyring, stored.text.error, ERROR_TEXT, stored.request.request_id) for stored in ordered],
        [outcome.expired_at for outcome in outcomes],
        [request.received_at for request in given],
    )


def _sealed(keyring: KeyRing, text: str | None, context: str, request_id: UUID) -> bytes | None:
    return keyring.encrypt_text(text, context=context, row=request_id.bytes) if text else None


_INSERT_ACTION: Final = """
WITH acted AS (
    INSERT INTO help_actions (action_id, request_id, course_id, action, person_id, acted_at, seen_at)
    VALUES (gen_random_uuid(), $1, $2, $3, $4, clock_timestamp(), $5)
    RETURNING action_id, request_id, course_id
)
INSERT INTO help_outbox (action_id, request_id, course_id) SELECT action_id, request_id, course_id FROM acted
"""


async def insert_action(
    executor: Executor, request_id: UUID, course_id: str, action: HelpActionKind, person_id: UUID
) -> None:
    """Store what a member of the staff did about a request: a fact, from which the request's state derives.

    It also adds an entry to ``help_outbox``, so that dashboards are updated even if this process crashes afterwards.
    The caller holds the student's lock: ``clock_timestamp`` then puts actions in the order in which they were
    allowed, which ``now()``, the transaction's beginning, would not.
    """
    await executor.execute(_INSERT_ACTION, request_id, course_id, action, person_id, None)


async def insert_expiry(executor: Executor, request_id: UUID, course_id: str, seen_at: datetime) -> None:
    """Store that a request closes itself: a fact like those of ``insert_action``, by nobody.

    Args:
        executor: in a transaction that holds the student's lock.
        request_id: which request.
        course_id: its course.
        seen_at: not before the time of any stored event of the student: one of a later time refutes this fact.
    """
    await executor.execute(_INSERT_ACTION, request_id, course_id, "expire", None, seen_at)
