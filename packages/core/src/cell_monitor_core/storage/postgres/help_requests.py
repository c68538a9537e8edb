"""Requests for help as staff and their senders see them, and what staff did about them.

A request's status is derived from events and actions by ``states``; here it is only read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.publications import CellRef, ErrorRef, HelpState, HelpStatus, NotebookRef
from cell_monitor_core.storage.postgres.pool import Executor
from cell_monitor_core.storage.postgres.timestamps import to_text

__all__ = [
    "COLUMNS",
    "HelpAction",
    "HelpNotice",
    "act",
    "get",
    "help_state",
    "list_active",
    "list_closed",
    "list_of_student",
    "notices_of_person",
]

MESSAGE: Final = "help.message"
CLOSED_LIMIT: Final = 500
ACTIVE_LIMIT: Final = 1000

HelpActionKind = Literal["claim", "release", "resolve"]

COLUMNS: Final = (
    "request_id, course_id, person_id, version, status, requested_at, cancelled_at, claimed_by, claimed_at, "
    "resolved_by, resolved_at, context::text AS context, message_enc"
)
"""What ``help_state`` reads of ``help_requests``."""


class _Context(msgspec.Struct, frozen=True):
    notebook: NotebookRef | None = None
    cell: CellRef | None = None
    error: ErrorRef | None = None


_context = msgspec.json.Decoder(_Context)


def help_state(keyring: KeyRing, row: Any) -> HelpState:
    """Return what is shown of a row that was selected with ``COLUMNS``."""
    context = _context.decode(row["context"])
    message = row["message_enc"]
    closed_at = {"resolved": row["resolved_at"], "cancelled": row["cancelled_at"]}.get(row["status"])
    return HelpState(
        request_id=str(row["request_id"]),
        version=row["version"],
        student_id=str(row["person_id"]),
        status=row["status"],
        requested_at=to_text(row["requested_at"]),
        notebook=context.notebook,
        cell=context.cell,
        message=None
        if message is None
        else keyring.decrypt_text(message, context=MESSAGE, row=row["request_id"].bytes),
        error=context.error,
        claimed_by=_id(row["claimed_by"]),
        claimed_at=to_text(row["claimed_at"]),
        closed_at=to_text(closed_at),
        resolved_by=_id(row["resolved_by"]),
    )


def _id(person_id: UUID | None) -> str | None:
    return None if person_id is None else str(person_id)


async def list_active(
    executor: Executor, keyring: KeyRing, course_id: str, *, limit: int = ACTIVE_LIMIT
) -> list[HelpState]:
    """Return a course's requests that are open or claimed, the one that waits longest first.

    A student has one at most (``help_states``); ``limit`` is for what nobody has thought of.
    """
    rows = await executor.fetch(
        f"SELECT {COLUMNS} FROM help_requests "  # noqa: S608
        "WHERE course_id = $1 AND status IN ('open', 'claimed') AND requested_at IS NOT NULL "
        "ORDER BY requested_at, request_id LIMIT $2",
        course_id,
        limit,
    )
    return [help_state(keyring, row) for row in rows]


async def list_closed(
    executor: Executor, keyring: KeyRing, course_id: str, *, limit: int = CLOSED_LIMIT
) -> list[HelpState]:
    """Return a course's requests that were resolved or cancelled, the newest request first."""
    rows = await executor.fetch(
        f"SELECT {COLUMNS} FROM help_requests "  # noqa: S608
        "WHERE course_id = $1 AND status IN ('resolved', 'cancelled') AND requested_at IS NOT NULL "
        "ORDER BY requested_at DESC, request_id DESC LIMIT $2",
        course_id,
        limit,
    )
    return [help_state(keyring, row) for row in rows]


async def list_of_student(
    executor: Executor, keyring: KeyRing, course_id: str, person_id: UUID, *, limit: int = CLOSED_LIMIT
) -> list[HelpState]:
    """Return one student's requests in a course, newest first, whatever their status."""
    rows = await executor.fetch(
        f"SELECT {COLUMNS} FROM help_requests "  # noqa: S608
        "WHERE course_id = $1 AND person_id = $2 AND requested_at IS NOT NULL "
        "ORDER BY requested_at DESC, request_id DESC LIMIT $3",
        course_id,
        person_id,
        limit,
    )
    return [help_state(keyring, row) for row in rows]


async def get(executor: Executor, keyring: KeyRing, course_id: str, request_id: UUID) -> HelpState | None:
    """Return one request of a course; None if it is not there or another course's."""
    row = await executor.fetchrow(
        f"SELECT {COLUMNS} FROM help_requests "  # noqa: S608
        "WHERE request_id = $1 AND course_id = $2 AND requested_at IS NOT NULL",
        request_id,
        course_id,
    )
    return None if row is None else help_state(keyring, row)


@dataclass(frozen=True, slots=True)
class HelpNotice:
    """What a student is told of a request: ``by`` is who claimed or resolved it, ``at`` when it last changed."""

    request_id: UUID
    course_id: str
    status: HelpStatus
    by: UUID | None
    at: datetime


async def notices_of_person(
    executor: Executor, person_id: UUID, *, changed_within: timedelta = timedelta(minutes=10), limit: int = 20
) -> list[HelpNotice]:
    """Return somebody's requests, in all courses, that are open or claimed or changed lately; newest first."""
    rows = await executor.fetch(
        """
        SELECT request_id, course_id, status,
               CASE status WHEN 'claimed' THEN claimed_by WHEN 'resolved' THEN resolved_by END AS by,
               CASE status WHEN 'claimed' THEN claimed_at WHEN 'resolved' THEN resolved_at
                           WHEN 'cancelled' THEN cancelled_at ELSE requested_at END AS at
        FROM help_requests
        WHERE person_id = $1 AND requested_at IS NOT NULL
          AND (status IN ('open', 'claimed') OR greatest(resolved_at, cancelled_at) > now() - $2::interval)
        ORDER BY requested_at DESC, request_id DESC LIMIT $3
        """,
        person_id,
        changed_within,
        limit,
    )
    return [HelpNotice(row["request_id"], row["course_id"], row["status"], row["by"], row["at"]) for row in rows]


@dataclass(frozen=True, slots=True)
class HelpAction:
    """A stored action of staff; ``acted_at`` is PostgreSQL's clock."""

    action_id: UUID
    request_id: UUID
    course_id: str
    action: HelpActionKind
    person_id: UUID
    acted_at: datetime


async def act(
    executor: Executor, request_id: UUID, course_id: str, action: HelpActionKind, person_id: UUID
) -> HelpAction:
    """Store what somebody of the staff did about a request: a fact, from which ``states`` derives the rest.

    With it goes an entry of ``help_outbox``, so that dashboards are told even if this process dies right after.
    The caller holds the request's lock: ``clock_timestamp`` then puts actions in the order in which they were
    allowed, which ``now()``, the transaction's beginning, would not.
    """
    row = await executor.fetchrow(
        """
        WITH acted AS (
            INSERT INTO help_actions (action_id, request_id, course_id, action, person_id, acted_at)
            VALUES (gen_random_uuid(), $1, $2, $3, $4, clock_timestamp())
            RETURNING action_id, request_id, course_id, action, person_id, acted_at
        ), untold AS (
            INSERT INTO help_outbox (action_id, request_id, course_id)
            SELECT action_id, request_id, course_id FROM acted
        )
        SELECT action_id, request_id, course_id, action, person_id, acted_at FROM acted
        """,
        request_id,
        course_id,
        action,
        person_id,
    )
    assert row is not None
    return HelpAction(**row)
