"""Actions of staff of which open dashboards may not have been notified yet; see docs/adr/0010.

``help_requests.insert_action`` writes an entry with each action, in its transaction. The worker deletes it after the publication.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
import structlog

from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.publications import HelpState, StudentState
from cell_monitor_core.storage.postgres import help_queries, student_states
from cell_monitor_core.storage.postgres.memberships import is_student
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["UntoldActions", "delete", "read"]

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class UntoldActions:
    """One course's entries, and the absolute states that are to be published for them."""

    course_id: str
    action_ids: list[UUID] = field(default_factory=list)
    help: list[HelpState] = field(default_factory=list)
    students: list[StudentState] = field(default_factory=list)


async def read(executor: Executor, keyring: KeyRing, *, limit: int) -> list[UntoldActions]:
    """Return what waits, course by course.

    Entries come without states where the request is gone, unreadable, or of somebody who is no student of the course now.

    Args:
        executor: which connection.
        keyring: reads the requests' messages.
        limit: most entries.
    """
    entries = await executor.fetch("SELECT action_id, request_id, course_id FROM help_outbox LIMIT $1", limit)
    if not entries:
        return []
    courses: dict[str, UntoldActions] = {}
    for action_id, _, course_id in entries:
        courses.setdefault(course_id, UntoldActions(course_id)).action_ids.append(action_id)
    rows = await executor.fetch(
        f"""
        SELECT {help_queries.SHOWN} FROM help_requests r
        WHERE r.request_id = ANY($1::uuid[]) AND r.requested_at IS NOT NULL AND {is_student("r")}
        """,  # noqa: S608
        list({entry["request_id"] for entry in entries}),
    )
    students: set[tuple[str, UUID]] = set()
    for row in rows:
        course = courses.get(row["course_id"])
        if course is None:
            continue
        try:
            course.help.append(help_queries.shown_request(keyring, row))
        except (DecryptionError, msgspec.DecodeError) as error:
            # A snapshot cannot show it either; trying again would not help.
            _log.error("help_state_unreadable", request_id=str(row["request_id"]), reason=str(error))
        else:
            students.add((row["course_id"], row["person_id"]))
    for (course_id, _), state in (await student_states.shown_states(executor, keyring, sorted(students))).items():
        courses[course_id].students.append(state)
    return list(courses.values())


async def delete(executor: Executor, action_ids: Iterable[UUID]) -> None:
    """Delete entries whose states are published."""
    await executor.execute("DELETE FROM help_outbox WHERE action_id = ANY($1::uuid[])", list(action_ids))
