"""What a member of the staff does about a request for help, and all that derives from it, in one transaction."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.help import HelpActionKind, check_action
from cell_monitor_core.derivation.help_reduction import (
    HelpInput,
    StoredRequest,
    active_help,
    expired_until,
    help_state,
    reduce_help,
)
from cell_monitor_core.derivation.reduce import Student, StudentKey
from cell_monitor_core.publications import HelpState, StudentState
from cell_monitor_core.storage.postgres import help_requests, student_states
from cell_monitor_core.storage.postgres.pool import Connection, store_errors

__all__ = ["HelpNotFound", "apply_help_action", "derive_again", "load_request"]


class HelpNotFound(Exception):  # noqa: N818 - named for what it says
    """There is no such request in this course, or not of somebody who is a student of it now."""


async def apply_help_action(
    pool: asyncpg.Pool[asyncpg.Record],
    keyring: KeyRing,
    *,
    course_id: str,
    request_id: UUID,
    action: HelpActionKind,
    person_id: UUID,
) -> tuple[HelpState, StudentState]:
    """Store an action and what derives from it.

    Claiming what one has claimed, releasing what nobody has claimed and resolving what one has resolved changes
    nothing and succeeds: a lost answer may be asked for again. ``course_counters.refresh_courses`` gives the counters
    to publish.

    Returns:
        The request's and its student's absolute states, to be published.

    Raises:
        HelpNotFound: no such request of a present student of this course.
        HelpAlreadyClaimed: another person has claimed it.
        HelpClosed: it is resolved or cancelled.
        StoreUnavailable: nothing was kept.
    """
    with store_errors():
        async with pool.acquire() as connection, connection.transaction():
            found = await connection.fetchrow(
                "SELECT person_id, event_id::text FROM help_requests "
                "WHERE request_id = $1 AND course_id = $2 AND requested_at IS NOT NULL",
                request_id,
                course_id,
            )
            if found is None:
                raise HelpNotFound
            key, event_id = (course_id, found["person_id"]), found["event_id"]
            students = await student_states.lock_students(connection, keyring, [key])
            if key not in students or not students[key].enrolled:
                raise HelpNotFound
            student = students[key]
            given = await load_request(connection, keyring, key, event_id)
            request = given.stored[event_id]
            if check_action(request.request.outcome, action, person_id):
                await help_requests.insert_action(connection, request_id, course_id, action, person_id)
                request = await derive_again(connection, keyring, key, event_id, student, given)
            return help_state(request, student.fold.notebook_names), student.published


async def load_request(connection: Connection, keyring: KeyRing, key: StudentKey, event_id: str) -> HelpInput:
    """Return what one request of a locked student derives from."""
    inputs = await help_requests.load_facts(connection, [key])
    await help_requests.load_requests(connection, keyring, inputs, {key: [event_id]})
    return inputs[key]


async def derive_again(
    connection: Connection, keyring: KeyRing, key: StudentKey, event_id: str, student: Student, given: HelpInput
) -> StoredRequest:
    """Derive and save a request and its student's row after an action was stored; return the request.

    Args:
        connection: in the transaction that holds the student's lock and stored the action.
        keyring: reads and writes texts.
        key: whose request.
        event_id: which.
        student: the locked row; changed in place.
        given: of ``load_request``, before the action.
    """
    request = given.stored[event_id]
    # Read again rather than guessed: the action's time is the database's.
    await help_requests.load_requests(connection, keyring, {key: given}, {key: [event_id]})
    changed = reduce_help(key, given, {event_id}, request.version)
    await help_requests.save_requests(connection, keyring, list(changed.values()))
    student.fold.help = active_help(given, changed)
    student.fold.help_expired_at = max(student.fold.help_expired_at, expired_until(given))
    student.advance(str(key[1]), {})
    await student_states.save_students(connection, keyring, {key: student})
    return changed.get(event_id, request)
