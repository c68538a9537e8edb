"""Derived state in PostgreSQL: loading, locking and saving what ``core.derivation`` computes.

The row of ``student_states`` is the lock: whoever changes anything that derives from a student's facts holds it. Locks
are taken in the order (course, person), then the rows of ``course_versions``: two workers cannot wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation import (
    CellFold,
    CellKey,
    Fact,
    HelpActionKind,
    SessionFold,
    StudentFold,
    decode_fact,
    student_state,
)
from cell_monitor_core.publications import CourseState, HelpState, StudentState
from cell_monitor_core.storage.postgres import help_requests, help_states
from cell_monitor_core.storage.postgres.pool import Connection, Executor, store_errors
from cell_monitor_core.storage.postgres.versions import FIRST_VERSION

__all__ = [
    "HelpAlreadyClaimed",
    "HelpClosed",
    "HelpNotFound",
    "LockedStudent",
    "StudentKey",
    "apply_help_action",
    "ensure_students",
    "load_cells",
    "load_histories",
    "load_sessions",
    "lock_students",
    "recent_courses",
    "refresh_courses",
    "save_cells",
    "save_sessions",
    "save_students",
]

StudentKey: TypeAlias = tuple[str, UUID]
"""(course id, person id)."""

_student_fold = msgspec.json.Decoder(StudentFold)
_student_state = msgspec.json.Decoder(StudentState)
_cell_fold = msgspec.json.Decoder(CellFold)
_session_fold = msgspec.json.Decoder(SessionFold)
_encode: Final = msgspec.json.Encoder().encode


class HelpNotFound(Exception):  # noqa: N818 - named for what it says
    """There is no such request in this course."""


class HelpAlreadyClaimed(Exception):  # noqa: N818 - named for what it says
    """Somebody else is on it; ``by`` is the person's id."""

    def __init__(self, by: UUID) -> None:
        super().__init__(f"claimed by {by}")
        self.by = by


class HelpClosed(Exception):  # noqa: N818 - named for what it says
    """The request is resolved or cancelled."""


@dataclass(slots=True)
class LockedStudent:
    """A student's row, locked until the transaction ends."""

    version: int
    fold: StudentFold
    state: StudentState

    def advance(self, student_id: str) -> bool:
        """Take the state that the fold gives now; return whether anything that is shown changed."""
        state = student_state(student_id, self.version, self.fold)
        if state == self.state:
            return False
        self.version += 1
        self.state = msgspec.structs.replace(state, version=self.version)
        return True


async def ensure_students(executor: Executor, students: Sequence[StudentKey]) -> None:
    """Make the rows of students that have none; students of unknown courses get none.

    To be committed before the rows are locked: an insert in the middle of the locks would break their order.
    """
    await executor.execute(
        f"""
        INSERT INTO student_states (course_id, person_id, version, state)
        SELECT c.course_id, u.person_id, {FIRST_VERSION},
               jsonb_build_object('student_id', u.person_id, 'version', {FIRST_VERSION}, 'status', 'waiting')
        FROM unnest($1::text[], $2::uuid[]) AS u(course_id, person_id) JOIN courses c USING (course_id)
        ORDER BY 1, 2
        ON CONFLICT DO NOTHING
        """,  # noqa: S608
        [course for course, _ in students],
        [person for _, person in students],
    )


async def lock_students(connection: Connection, students: Sequence[StudentKey]) -> dict[StudentKey, LockedStudent]:
    """Lock the rows of students until the transaction ends; those without a row are left out.

    Raises:
        msgspec.DecodeError: a stored state is of another version of this software; ``rebuild`` mends it.
    """
    rows = await connection.fetch(
        """
        SELECT s.course_id, s.person_id, s.version, s.fold::text, s.state::text
        FROM student_states s JOIN unnest($1::text[], $2::uuid[]) AS u(course_id, person_id)
             USING (course_id, person_id)
        ORDER BY s.course_id, s.person_id
        FOR UPDATE OF s
        """,
        [course for course, _ in students],
        [person for _, person in students],
    )
    locked = {}
    for course_id, person_id, version, fold, state in rows:
        shown = StudentState(str(person_id), version, "waiting") if state == "{}" else _student_state.decode(state)
        locked[course_id, person_id] = LockedStudent(version, _student_fold.decode(fold), shown)
    return locked


async def load_cells(connection: Connection, cells: Sequence[tuple[StudentKey, CellKey]]) -> list[CellFold | None]:
    """Return the stored folds of cells, in the order asked for."""
    rows = await connection.fetch(
        """
        SELECT k.i, c.fold::text
        FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY
             AS k(course_id, person_id, notebook_id, cell_id, i)
             JOIN cell_states c USING (course_id, person_id, notebook_id, cell_id)
        """,
        *_cell_columns(cells),
    )
    found: list[CellFold | None] = [None] * len(cells)
    for index, fold in rows:
        found[index - 1] = _cell_fold.decode(fold)
    return found


def _cell_columns(cells: Iterable[tuple[StudentKey, CellKey]]) -> tuple[list[str], list[UUID], list[str], list[str]]:
    courses, people, notebooks, ids = [], [], [], []
    for (course, person), (notebook, cell) in cells:
        courses.append(course)
        people.append(person)
        notebooks.append(notebook)
        ids.append(cell)
    return courses, people, notebooks, ids


async def load_histories(connection: Connection, cells: Sequence[tuple[StudentKey, CellKey]]) -> list[list[Fact]]:
    """Return all stored runs of cells, each in the canonical order, in the order asked for."""
    rows = await connection.fetch(
        """
        SELECT k.i, e.fact::text
        FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY
             AS k(course_id, person_id, notebook_id, cell_id, i)
             JOIN events e USING (course_id, person_id, notebook_id, cell_id)
        WHERE e.type IN ('cell_execution_started', 'cell_executed') AND e.test_id IS NULL
        ORDER BY k.i, e.occurred_at, e.event_id
        """,
        *_cell_columns(cells),
    )
    histories: list[list[Fact]] = [[] for _ in cells]
    for index, fact in rows:
        histories[index - 1].append(decode_fact(fact))
    return histories


async def save_cells(connection: Connection, cells: Mapping[tuple[StudentKey, CellKey], CellFold]) -> None:
    """Write folds of cells, new ones or not."""
    await connection.execute(
        """
        INSERT INTO cell_states (course_id, person_id, notebook_id, cell_id, fold)
        SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::jsonb[])
        ON CONFLICT (course_id, person_id, notebook_id, cell_id) DO UPDATE SET fold = excluded.fold
        """,
        *_cell_columns(cells),
        [_encode(fold) for fold in cells.values()],
    )


async def load_sessions(connection: Connection, sessions: Sequence[tuple[StudentKey, str]]) -> list[SessionFold | None]:
    """Return the stored folds of sessions, in the order asked for."""
    rows = await connection.fetch(
        """
        SELECT k.i, s.fold::text
        FROM unnest($1::text[], $2::uuid[], $3::uuid[]) WITH ORDINALITY AS k(course_id, person_id, session_id, i)
             JOIN session_states s USING (course_id, person_id, session_id)
        """,
        [student[0] for student, _ in sessions],
        [student[1] for student, _ in sessions],
        [session for _, session in sessions],
    )
    found: list[SessionFold | None] = [None] * len(sessions)
    for index, fold in rows:
        found[index - 1] = _session_fold.decode(fold)
    return found


async def save_sessions(connection: Connection, sessions: Mapping[tuple[StudentKey, str], SessionFold]) -> None:
    """Write folds of sessions, new ones or not."""
    await connection.execute(
        """
        INSERT INTO session_states (course_id, person_id, session_id, fold)
        SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::jsonb[])
        ON CONFLICT (course_id, person_id, session_id) DO UPDATE SET fold = excluded.fold
        """,
        [student[0] for student, _ in sessions],
        [student[1] for student, _ in sessions],
        [session for _, session in sessions],
        [_encode(fold) for fold in sessions.values()],
    )


async def save_students(connection: Connection, students: Mapping[StudentKey, LockedStudent]) -> None:
    """Write locked rows."""
    await connection.execute(
        """
        UPDATE student_states s
        SET version = u.version, fold = u.fold, state = u.state, updated_at = now()
        FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::jsonb[], $5::jsonb[])
             AS u(course_id, person_id, version, fold, state)
        WHERE s.course_id = u.course_id AND s.person_id = u.person_id
        """,
        [course for course, _ in students],
        [person for _, person in students],
        [student.version for student in students.values()],
        [_encode(student.fold) for student in students.values()],
        [_encode(student.state) for student in students.values()],
    )


_BUMP = f"""
INSERT INTO course_versions AS v (course_id, version)
SELECT c.course_id, {FIRST_VERSION} FROM courses c WHERE c.course_id = ANY($1::text[]) ORDER BY 1
ON CONFLICT (course_id) DO UPDATE SET version = v.version + 1
RETURNING course_id, version
"""  # noqa: S608

_COUNTERS = """
SELECT m.course_id, count(*) AS students,
       count(*) FILTER (WHERE coalesce(s.state->>'status', 'waiting') <> 'waiting') AS started,
       coalesce(sum((s.state->>'runs')::bigint), 0)::bigint AS runs,
       coalesce(sum((s.state->>'errors')::bigint), 0)::bigint AS errors
FROM memberships m LEFT JOIN student_states s USING (course_id, person_id)
WHERE m.course_id = ANY($1::text[]) AND m.role = 'student'
GROUP BY m.course_id
"""

_HELP_OPEN = """
SELECT course_id, count(*) FROM help_requests
WHERE course_id = ANY($1::text[]) AND status IN ('open', 'claimed') AND requested_at IS NOT NULL
GROUP BY course_id
"""


async def refresh_courses(connection: Connection, course_ids: Iterable[str]) -> list[CourseState]:
    """Give courses their next version and return their counters, ready to be published.

    Runs in the caller's transaction, or in one of its own. The version's row is locked before anything is counted, so
    that a higher version never shows less than a lower one.
    """
    wanted = sorted(set(course_ids))
    if not wanted:
        return []
    async with connection.transaction():
        versions = {row[0]: row[1] for row in await connection.fetch(_BUMP, wanted)}
        counts = {row["course_id"]: row for row in await connection.fetch(_COUNTERS, wanted)}
        waiting = {row[0]: row[1] for row in await connection.fetch(_HELP_OPEN, wanted)}
    states = []
    for course_id, version in sorted(versions.items()):
        row = counts.get(course_id)
        students, started, runs, errors = (0, 0, 0, 0) if row is None else tuple(row)[1:]
        states.append(CourseState(course_id, version, students, started, runs, errors, waiting.get(course_id, 0)))
    return states


async def recent_courses(executor: Executor, seconds: float) -> dict[str, datetime]:
    """Return when any student's state last changed, of the courses where that was within the last seconds."""
    rows = await executor.fetch(
        "SELECT course_id, max(updated_at) FROM student_states "
        "WHERE updated_at > now() - make_interval(secs => $1) GROUP BY course_id",
        seconds,
    )
    return {row[0]: row[1] for row in rows}


async def apply_help_action(
    pool: asyncpg.Pool[asyncpg.Record],
    keyring: KeyRing,
    *,
    course_id: str,
    request_id: UUID,
    action: HelpActionKind,
    person_id: UUID,
) -> tuple[HelpState, StudentState]:
    """Store what one of the staff does about a request, and all that derives from it, in one transaction.

    Claiming what one has claimed, releasing what nobody has claimed and resolving what one has resolved changes
    nothing and succeeds: a lost answer may be asked for again. ``refresh_courses`` gives the counters to publish.

    Returns:
        The request's and its student's absolute states, to be published.

    Raises:
        HelpNotFound: no such request in this course.
        HelpAlreadyClaimed: somebody else is on it.
        HelpClosed: it is resolved or cancelled.
        StoreUnavailable: nothing was kept.
    """
    with store_errors():
        async with pool.acquire() as connection, connection.transaction():
            student_id = await connection.fetchval(
                "SELECT person_id FROM help_requests "
                "WHERE request_id = $1 AND course_id = $2 AND requested_at IS NOT NULL",
                request_id,
                course_id,
            )
            if student_id is None:
                raise HelpNotFound
            key = (course_id, student_id)
            student = (await lock_students(connection, [key]))[key]
            if not await _is_done(connection, request_id, action, person_id):
                await help_requests.act(connection, request_id, course_id, action, person_id)
                await help_states.derive_requests(connection, keyring, [request_id], students={key}, messages={})
                student.fold.help = (await help_states.newest_active(connection, [key])).get(key)
                student.advance(str(student_id))
                await save_students(connection, {key: student})
            state = await help_requests.get(connection, keyring, course_id, request_id)
            assert state is not None
            return state, student.state


async def _is_done(connection: Connection, request_id: UUID, action: HelpActionKind, person_id: UUID) -> bool:
    """Tell whether an action would change nothing; raise where it may not be taken."""
    row = await connection.fetchrow(
        "SELECT status, claimed_by, resolved_by FROM help_requests WHERE request_id = $1", request_id
    )
    assert row is not None
    if row["status"] == "resolved" and action == "resolve" and row["resolved_by"] == person_id:
        return True
    if row["status"] in {"resolved", "cancelled"}:
        raise HelpClosed
    if action == "claim" and row["claimed_by"] is not None:
        if row["claimed_by"] != person_id:
            raise HelpAlreadyClaimed(row["claimed_by"])
        return True
    return action == "release" and row["claimed_by"] is None
