"""Students' derived state in PostgreSQL: rows of students, cells and sessions, locked, loaded and saved.

The row of ``student_states`` is the lock for all changes of state that derives from the student's facts. Locks
are taken in the order (course, person), then the rows of ``course_versions``: two workers cannot wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec
import structlog

from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.derivation.cells import HISTORY_TYPES, CellFold, CellKey, cell_key
from cell_monitor_core.derivation.facts import Fact, decode_fact, fact_key
from cell_monitor_core.derivation.reduce import Student, StudentKey
from cell_monitor_core.derivation.sessions import SessionFold
from cell_monitor_core.derivation.shown_state import with_error_text
from cell_monitor_core.derivation.students import StudentFold
from cell_monitor_core.publications import StudentState
from cell_monitor_core.storage.postgres.memberships import is_student
from cell_monitor_core.storage.postgres.pool import Connection, Executor
from cell_monitor_core.storage.postgres.versions import FIRST_VERSION

__all__ = [
    "ERROR_TEXT",
    "SHOWN",
    "SessionKey",
    "ensure_students",
    "load_first_receipts",
    "load_fold",
    "load_folds",
    "load_histories",
    "lock_students",
    "save_states",
    "save_students",
    "shown_state",
    "shown_states",
    "student_row",
]

ERROR_TEXT: Final = "student_states.error_text"
"""What the ciphertext of a shown error's text is bound to, with ``student_row``."""

SHOWN: Final = "s.course_id, s.person_id, s.version, s.state::text AS state, s.error_text_enc"
"""What ``shown_state`` reads of ``student_states s``."""

SessionKey: TypeAlias = tuple[str, UUID, str]
"""(course id, person id, session id)."""

_log = structlog.get_logger(__name__)

_student_fold = msgspec.json.Decoder(StudentFold)
_student_state = msgspec.json.Decoder(StudentState)
_cell_fold = msgspec.json.Decoder(CellFold)
_session_fold = msgspec.json.Decoder(SessionFold)
_encode: Final = msgspec.json.Encoder().encode

_SAVE_STUDENTS: Final = """
UPDATE student_states s
SET version = u.version, fold = u.fold, state = u.state, error_text_enc = u.error_text_enc, updated_at = now()
FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::jsonb[], $5::jsonb[], $6::bytea[])
     AS u(course_id, person_id, version, fold, state, error_text_enc)
WHERE s.course_id = u.course_id AND s.person_id = u.person_id
"""

# The rows of cells and sessions are written only under the lock of their student's row, so their order does not matter.
_SAVE: Final = f"""
WITH cells AS (
    INSERT INTO cell_states (course_id, person_id, notebook_id, cell_id, fold)
    SELECT * FROM unnest($7::text[], $8::uuid[], $9::text[], $10::text[], $11::jsonb[])
    ON CONFLICT (course_id, person_id, notebook_id, cell_id) DO UPDATE SET fold = excluded.fold
), sessions AS (
    INSERT INTO session_states (course_id, person_id, session_id, fold)
    SELECT * FROM unnest($12::text[], $13::uuid[], $14::uuid[], $15::jsonb[])
    ON CONFLICT (course_id, person_id, session_id) DO UPDATE SET fold = excluded.fold
)
{_SAVE_STUDENTS}
"""  # noqa: S608


def student_row(course_id: str, person_id: UUID) -> bytes:
    """Return the key that a student's ciphertext is bound to."""
    return person_id.bytes + course_id.encode()


def shown_state(keyring: KeyRing | None, row: Any) -> StudentState:
    """Return what is shown of a row that was selected with ``SHOWN``, without a key ring without the error's text.

    Raises:
        msgspec.DecodeError: it is of another version of this software; ``rebuild`` corrects it.
    """
    state = _state_of(row)
    return state if keyring is None else with_error_text(state, _error_text(keyring, row))


def _state_of(row: Any) -> StudentState:
    state = row["state"]
    if state == "{}":
        return StudentState(str(row["person_id"]), row["version"], "waiting")
    return _student_state.decode(state)


def _error_text(keyring: KeyRing, row: Any) -> str | None:
    blob = row["error_text_enc"]
    if blob is None:
        return None
    course_id, person_id = row["course_id"], row["person_id"]
    try:
        return keyring.decrypt_text(blob, context=ERROR_TEXT, row=student_row(course_id, person_id))
    except DecryptionError as error:
        # The class of the error is shown all the same, and no event waits for a key.
        _log.warning("error_text_unreadable", course_id=course_id, student_id=str(person_id), reason=str(error))
        return None


async def shown_states(
    executor: Executor, keyring: KeyRing, students: Sequence[StudentKey]
) -> dict[StudentKey, StudentState]:
    """Return what is shown of students; those who are none now, or whose row is missing or unreadable, are left out."""
    rows = await executor.fetch(
        f"SELECT {SHOWN} FROM student_states s "  # noqa: S608
        f"JOIN unnest($1::text[], $2::uuid[]) AS u(course_id, person_id) USING (course_id, person_id) "
        f"WHERE {is_student('s')}",
        [course_id for course_id, _ in students],
        [person_id for _, person_id in students],
    )
    shown = {}
    for row in rows:
        try:
            shown[row["course_id"], row["person_id"]] = shown_state(keyring, row)
        except msgspec.DecodeError as error:
            _log.error("student_state_unreadable", student_id=str(row["person_id"]), reason=str(error))
    return shown


async def ensure_students(executor: Executor, students: Sequence[StudentKey]) -> None:
    """Make the rows of students that have none; where the course or the person does not exist, none is made.

    To be committed before the rows are locked: an insert in the middle of the locks would break their order.
    """
    await executor.execute(
        f"""
        INSERT INTO student_states (course_id, person_id, version, state)
        SELECT course_id, person_id, {FIRST_VERSION},
               jsonb_build_object('student_id', person_id, 'version', {FIRST_VERSION}, 'status', 'waiting')
        FROM unnest($1::text[], $2::uuid[]) AS u(course_id, person_id) JOIN courses c USING (course_id)
             JOIN people p USING (person_id)
        ORDER BY 1, 2
        ON CONFLICT DO NOTHING
        """,  # noqa: S608
        [course for course, _ in students],
        [person for _, person in students],
    )


async def lock_students(
    connection: Connection, keyring: KeyRing, students: Sequence[StudentKey]
) -> dict[StudentKey, Student]:
    """Lock the rows of students until the transaction ends; those without a row are left out.

    Raises:
        msgspec.DecodeError: a stored state is of another version of this software; ``rebuild`` corrects it.
    """
    rows = await connection.fetch(
        f"""
        SELECT {SHOWN}, s.fold::text, {is_student("s")} AS enrolled
        FROM student_states s JOIN unnest($1::text[], $2::uuid[]) AS u(course_id, person_id)
             USING (course_id, person_id)
        ORDER BY s.course_id, s.person_id
        FOR UPDATE OF s
        """,  # noqa: S608
        [course for course, _ in students],
        [person for _, person in students],
    )
    return {
        (row["course_id"], row["person_id"]): Student(
            row["version"],
            _student_fold.decode(row["fold"]),
            _state_of(row),
            _error_text(keyring, row),
            row["error_text_enc"],
            enrolled=row["enrolled"],
        )
        for row in rows
    }


async def load_fold(executor: Executor, course_id: str, person_id: UUID) -> StudentFold:
    """Return a student's stored fold, which names notebooks and cells as they are called now; an empty one without a row."""
    fold = await executor.fetchval(
        "SELECT fold::text FROM student_states WHERE course_id = $1 AND person_id = $2", course_id, person_id
    )
    return StudentFold() if fold is None else _student_fold.decode(fold)


async def load_folds(
    connection: Connection, cells: Sequence[tuple[StudentKey, CellKey]], sessions: Sequence[tuple[StudentKey, str]]
) -> tuple[list[CellFold | None], list[SessionFold | None]]:
    """Return the stored folds of cells and of sessions, each in the order asked for; one statement."""
    rows = await connection.fetch(
        """
        SELECT true, k.i, c.fold::text
        FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY
             AS k(course_id, person_id, notebook_id, cell_id, i)
             JOIN cell_states c USING (course_id, person_id, notebook_id, cell_id)
        UNION ALL
        SELECT false, k.i, s.fold::text
        FROM unnest($5::text[], $6::uuid[], $7::uuid[]) WITH ORDINALITY AS k(course_id, person_id, session_id, i)
             JOIN session_states s USING (course_id, person_id, session_id)
        """,
        *_cell_columns(cells),
        *_session_columns(sessions),
    )
    cell_folds: list[CellFold | None] = [None] * len(cells)
    session_folds: list[SessionFold | None] = [None] * len(sessions)
    for of_cell, index, fold in rows:
        if of_cell:
            cell_folds[index - 1] = _cell_fold.decode(fold)
        else:
            session_folds[index - 1] = _session_fold.decode(fold)
    return cell_folds, session_folds


async def load_first_receipts(executor: Executor, sessions: Sequence[SessionKey]) -> dict[SessionKey, int]:
    """Return when the API first received something of sessions, milliseconds since the epoch; unknown ones are left out."""
    rows = await executor.fetch(
        """
        SELECT course_id, person_id, session_id::text, (s.fold->>'first')::bigint
        FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS u(course_id, person_id, session_id)
             JOIN session_states s USING (course_id, person_id, session_id)
        WHERE (s.fold->>'first')::bigint > 0
        """,
        [course for course, _, _ in sessions],
        [person for _, person, _ in sessions],
        [session for _, _, session in sessions],
    )
    return {(course, person, session): first for course, person, session, first in rows}


def _cell_columns(cells: Iterable[tuple[StudentKey, CellKey]]) -> tuple[list[str], list[UUID], list[str], list[str]]:
    courses, people, notebooks, ids = [], [], [], []
    for (course, person), (notebook, cell) in cells:
        courses.append(course)
        people.append(person)
        notebooks.append(notebook)
        ids.append(cell)
    return courses, people, notebooks, ids


def _session_columns(sessions: Iterable[tuple[StudentKey, str]]) -> tuple[list[str], list[UUID], list[str]]:
    courses, people, ids = [], [], []
    for (course, person), session in sessions:
        courses.append(course)
        people.append(person)
        ids.append(session)
    return courses, people, ids


async def load_histories(connection: Connection, cells: Sequence[tuple[StudentKey, CellKey]]) -> list[list[Fact]]:
    """Return all stored runs of cells, each in the canonical order, in the order asked for."""
    rows = await connection.fetch(
        """
        SELECT k.i, e.fact::text
        FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY
             AS k(course_id, person_id, notebook_id, cell_id, i)
             JOIN events e USING (course_id, person_id, notebook_id, cell_id)
        WHERE e.type = ANY($5::text[]) AND e.test_id IS NULL
        """,
        *_cell_columns(cells),
        HISTORY_TYPES,
    )
    histories: list[list[Fact]] = [[] for _ in cells]
    for index, text in rows:
        fact = decode_fact(text)
        if cell_key(fact) is not None:
            histories[index - 1].append(fact)
    for facts in histories:
        facts.sort(key=fact_key)
    return histories


async def save_students(connection: Connection, keyring: KeyRing, students: Mapping[StudentKey, Student]) -> None:
    """Write locked rows of students. The API has no right to more (``roles.py``)."""
    await connection.execute(_SAVE_STUDENTS, *_student_columns(keyring, students))


async def save_states(
    connection: Connection,
    keyring: KeyRing,
    students: Mapping[StudentKey, Student],
    cells: Mapping[tuple[StudentKey, CellKey], CellFold],
    sessions: Mapping[tuple[StudentKey, str], SessionFold],
) -> None:
    """Write locked rows of students, and folds of their cells and sessions, new ones or not; one statement."""
    await connection.execute(
        _SAVE,
        *_student_columns(keyring, students),
        *_cell_columns(cells),
        [_encode(fold) for fold in cells.values()],
        *_session_columns(sessions),
        [_encode(fold) for fold in sessions.values()],
    )


def _student_columns(keyring: KeyRing, students: Mapping[StudentKey, Student]) -> tuple[list[Any], ...]:
    return (
        [course for course, _ in students],
        [person for _, person in students],
        [student.version for student in students.values()],
        [_encode(student.fold) for student in students.values()],
        [_encode(student.state) for student in students.values()],
        [_sealed(keyring, key, student) for key, student in students.items()],
    )


def _sealed(keyring: KeyRing, key: StudentKey, student: Student) -> bytes | None:
    if student.sealed is not None or not student.error_text:
        return student.sealed
    return keyring.encrypt_text(student.error_text, context=ERROR_TEXT, row=student_row(*key))
