"""Actions of staff that open dashboards may not have been told yet; see docs/adr/0010.

``help_requests.act`` writes an entry with each action, in its transaction. Whoever publishes the states deletes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import msgspec
import structlog

from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.publications import HelpState, StudentState
from cell_monitor_core.storage.postgres import help_requests
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["UntoldActions", "delete", "read"]

_log = structlog.get_logger(__name__)
_student_state: Final = msgspec.json.Decoder(StudentState)


@dataclass(slots=True)
class UntoldActions:
    """One course's entries, and the absolute states that are to be published for them."""

    course_id: str
    action_ids: list[UUID] = field(default_factory=list)
    help: list[HelpState] = field(default_factory=list)
    students: list[StudentState] = field(default_factory=list)


async def read(executor: Executor, keyring: KeyRing, *, limit: int) -> list[UntoldActions]:
    """Return what waits, course by course; entries whose request is gone or unreadable come without states.

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
        SELECT {help_requests.COLUMNS},
               (SELECT s.state::text FROM student_states s
                WHERE s.course_id = r.course_id AND s.person_id = r.person_id) AS student_state
        FROM help_requests r WHERE request_id = ANY($1::uuid[]) AND requested_at IS NOT NULL
        """,  # noqa: S608
        list({entry["request_id"] for entry in entries}),
    )
    students: dict[tuple[str, UUID], StudentState] = {}
    for row in rows:
        course = courses.get(row["course_id"])
        if course is None:
            continue
        try:
            course.help.append(help_requests.help_state(keyring, row))
            if row["student_state"] not in (None, "{}"):
                students[row["course_id"], row["person_id"]] = _student_state.decode(row["student_state"])
        except (DecryptionError, msgspec.DecodeError) as error:
            # A snapshot cannot show it either: to try again for ever would tell nobody.
            _log.error("help_state_unreadable", request_id=str(row["request_id"]), reason=str(error))
    for (course_id, _), state in students.items():
        courses[course_id].students.append(state)
    return list(courses.values())


async def delete(executor: Executor, action_ids: Iterable[UUID]) -> None:
    """Delete entries whose states are published."""
    await executor.execute("DELETE FROM help_outbox WHERE action_id = ANY($1::uuid[])", list(action_ids))
