"""Requests for help that close themselves: their student left ``EXPIRES_AFTER`` ago.

That the time passed is stored as a fact, the action ``expire`` of ``help_actions``, by one transaction that holds the
student's lock and looks again: of several workers one stores it. ``help_outbox`` has its publication.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.facts import moment
from cell_monitor_core.derivation.help import EXPIRES_AFTER
from cell_monitor_core.derivation.thresholds import Thresholds
from cell_monitor_core.storage.postgres import help_requests, student_states
from cell_monitor_core.storage.postgres.help_actions import derive_again, load_request
from cell_monitor_core.storage.postgres.pool import Connection, store_errors

__all__ = ["DueRequest", "due_requests", "expire_request"]

# The time of the student's last event, as the API received it, that lets a request be closed now.
_DUE: Final = f"""
FROM help_requests r JOIN student_states s USING (course_id, person_id) JOIN courses c USING (course_id)
WHERE r.status IN ('open', 'claimed') AND r.requested_at IS NOT NULL
  AND timestamptz 'epoch' + (s.fold->>'last_received_at')::bigint * interval '1 millisecond'
      + make_interval(secs => coalesce((c.thresholds->>'offline_s')::integer, {Thresholds().offline_s}))
      + $1::interval <= clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class DueRequest:
    """A request that may close itself."""

    course_id: str
    person_id: UUID
    request_id: UUID
    event_id: str


async def due_requests(pool: asyncpg.Pool[asyncpg.Record], *, limit: int) -> list[DueRequest]:
    """Return requests whose students left long enough ago, the oldest first.

    Raises:
        StoreUnavailable: PostgreSQL is unavailable.
    """
    with store_errors():
        rows = await pool.fetch(
            f"SELECT r.course_id, r.person_id, r.request_id, r.event_id::text AS event_id {_DUE} "
            "ORDER BY r.requested_at, r.request_id LIMIT $2",
            EXPIRES_AFTER,
            limit,
        )
    return [DueRequest(**row) for row in rows]


async def expire_request(pool: asyncpg.Pool[asyncpg.Record], keyring: KeyRing, due: DueRequest) -> bool:
    """Close a request if that is still due; return whether it was.

    Raises:
        StoreUnavailable: nothing was kept.
    """
    key = (due.course_id, due.person_id)
    with store_errors():
        async with pool.acquire() as connection, connection.transaction():
            students = await student_states.lock_students(connection, keyring, [key])
            if key not in students or not await _is_due(connection, due.request_id):
                return False
            student = students[key]
            given = await load_request(connection, keyring, key, due.event_id)
            seen_at = await _seen_at(connection, due, moment(student.fold.last_received_at))
            await help_requests.insert_expiry(connection, due.request_id, due.course_id, seen_at)
            request = await derive_again(connection, keyring, key, due.event_id, student, given)
    return request.request.outcome.status == "expired"


async def _is_due(connection: Connection, request_id: UUID) -> bool:
    """Look again, now that the student is locked: another worker or an event may have been faster."""
    sql = f"SELECT EXISTS (SELECT {_DUE} AND r.request_id = $2)"
    return bool(await connection.fetchval(sql, EXPIRES_AFTER, request_id))


async def _seen_at(connection: Connection, due: DueRequest, received_at: datetime) -> datetime:
    """Return the latest time of a stored event, by the API's clock or by its own."""
    latest: datetime = await connection.fetchval(
        "SELECT greatest($3::timestamptz, max(happened_at)) FROM events "
        "WHERE course_id = $1 AND person_id = $2 AND test_id IS NULL",
        due.course_id,
        due.person_id,
        received_at,
    )
    return latest
