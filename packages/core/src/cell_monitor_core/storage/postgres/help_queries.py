"""What is shown of requests for help: to a course's staff, and to the student who asked.

Only what the worker derived is read here; nothing is derived again. Requests of people who are no students of the course now
are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.help_reduction import help_state
from cell_monitor_core.derivation.notebook_names import NotebookNames
from cell_monitor_core.publications import HelpState, HelpStatus, NotebookRef
from cell_monitor_core.storage.postgres import help_requests
from cell_monitor_core.storage.postgres.memberships import is_student
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = [
    "SHOWN",
    "HelpNotice",
    "get",
    "list_active",
    "list_closed",
    "list_of_student",
    "notices_of_person",
    "shown_request",
]

CLOSED_LIMIT: Final = 500
ACTIVE_LIMIT: Final = 1000

_NAMES: Final = (
    "(SELECT s.fold->>'notebook_names' FROM student_states s "
    "WHERE s.course_id = r.course_id AND s.person_id = r.person_id) AS names"
)
SHOWN: Final = f"{help_requests.COLUMNS}, {_NAMES}"
"""What ``shown_request`` reads of ``help_requests r``."""

_RECEIVED: Final = "coalesce(r.received_at, r.requested_at)"
_names = msgspec.json.Decoder(NotebookNames)


def shown_request(keyring: KeyRing, row: Any) -> HelpState:
    """Return what is shown of a request whose row was selected with ``SHOWN``.

    Raises:
        DecryptionError: see ``KeyRing.decrypt``.
        msgspec.DecodeError: the row is of another version of this software.
    """
    names = row["names"]
    return help_state(help_requests.stored_request(keyring, row), None if names is None else _names.decode(names))


async def _list(executor: Executor, keyring: KeyRing, where: str, *arguments: object) -> list[HelpState]:
    sql = (
        f"SELECT {SHOWN} FROM help_requests r "  # noqa: S608
        f"WHERE r.requested_at IS NOT NULL AND {is_student('r')} AND {where}"
    )
    return [shown_request(keyring, row) for row in await executor.fetch(sql, *arguments)]


async def list_active(
    executor: Executor, keyring: KeyRing, course_id: str, *, limit: int = ACTIVE_LIMIT
) -> list[HelpState]:
    """Return a course's requests that are open or claimed, in the order of their receipt, which no claimed wait changes.

    A student has one at most (``derivation.help``), so ``limit`` is reached by no class.
    """
    where = f"r.course_id = $1 AND r.status IN ('open', 'claimed') ORDER BY {_RECEIVED}, r.request_id LIMIT $2"
    return await _list(executor, keyring, where, course_id, limit)


async def list_closed(
    executor: Executor, keyring: KeyRing, course_id: str, *, limit: int = CLOSED_LIMIT
) -> list[HelpState]:
    """Return a course's requests that were resolved, cancelled or closed themselves, the newest request first."""
    where = (
        "r.course_id = $1 AND r.status IN ('resolved', 'cancelled', 'expired') "
        f"ORDER BY {_RECEIVED} DESC, r.request_id DESC LIMIT $2"
    )
    return await _list(executor, keyring, where, course_id, limit)


async def list_of_student(
    executor: Executor, keyring: KeyRing, course_id: str, person_id: UUID, *, limit: int = CLOSED_LIMIT
) -> list[HelpState]:
    """Return one student's requests in a course, newest first, whatever their status."""
    where = f"r.course_id = $1 AND r.person_id = $2 ORDER BY {_RECEIVED} DESC, r.request_id DESC LIMIT $3"
    return await _list(executor, keyring, where, course_id, person_id, limit)


async def get(executor: Executor, keyring: KeyRing, course_id: str, request_id: UUID) -> HelpState | None:
    """Return one request of a course; None if it is not there or another course's."""
    found = await _list(executor, keyring, "r.request_id = $1 AND r.course_id = $2", request_id, course_id)
    return found[0] if found else None


@dataclass(frozen=True, slots=True)
class HelpNotice:
    """The notice to a student about a request.

    Attributes:
        event_id: of the student's own event: the only id by which the sender knows the request.
        notebook: where the student asked.
        by: who claimed or resolved it.
        at: when it took this status.
    """

    event_id: UUID
    course_id: str
    notebook: NotebookRef | None
    status: HelpStatus
    by: UUID | None
    at: datetime


async def notices_of_person(
    executor: Executor,
    person_id: UUID,
    *,
    changed_within: timedelta = timedelta(minutes=10),
    expired_within: timedelta = timedelta(days=7),
    limit: int = 20,
) -> list[HelpNotice]:
    """Return somebody's requests, in all courses of theirs, that are open or claimed or changed lately; newest first.

    What counts is when the request took the status that it has: a next request, which makes ``cancelled_at`` of the one
    before it, does not make a resolution of long ago recent. A request that closed itself while its student was absent is
    among them for longer: they see it when they return. Once the student has asked again it is not.
    """
    rows = await executor.fetch(
        f"""
        SELECT event_id, course_id, status, context::text AS context,
               CASE status WHEN 'claimed' THEN claimed_by WHEN 'resolved' THEN resolved_by END AS by,
               CASE status WHEN 'claimed' THEN claimed_at WHEN 'resolved' THEN resolved_at
                           WHEN 'cancelled' THEN cancelled_at WHEN 'expired' THEN expired_at
                           ELSE requested_at END AS at
        FROM help_requests r
        WHERE person_id = $1 AND requested_at IS NOT NULL AND {is_student("r")}
          AND CASE status WHEN 'open' THEN true WHEN 'claimed' THEN true
                          WHEN 'expired' THEN cancelled_at IS NULL AND expired_at > now() - $3::interval
                          WHEN 'resolved' THEN resolved_at > now() - $2::interval
                          ELSE cancelled_at > now() - $2::interval END
        ORDER BY {_RECEIVED} DESC, event_id DESC LIMIT $4
        """,  # noqa: S608
        person_id,
        changed_within,
        expired_within,
        limit,
    )
    return [
        HelpNotice(
            row["event_id"],
            row["course_id"],
            help_requests.context_of(row).notebook,
            row["status"],
            row["by"],
            row["at"],
        )
        for row in rows
    ]
