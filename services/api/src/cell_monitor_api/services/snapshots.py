"""What the pages of a course show, put together from the worker's states and people's names."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from cell_monitor_api.exceptions import InvalidParameter, NotFound
from cell_monitor_api.models.courses import (
    CourseList,
    CourseListItem,
    CourseSnapshot,
    SnapshotCourse,
    StaffMember,
    Student,
)
from cell_monitor_api.models.students import CourseCells, RunList, StudentDetail
from cell_monitor_core.auth.roles import STAFF_ROLES
from cell_monitor_core.channels import course_channel
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.publications import HelpState, StudentState
from cell_monitor_core.storage.ports import Broker
from cell_monitor_core.storage.postgres import (
    cell_queries,
    course_counters,
    courses,
    help_queries,
    joined_computers,
    memberships,
    people,
    student_queries,
)
from cell_monitor_core.timestamps import to_text

__all__ = ["Snapshots"]

_NAMELESS: Final = people.PersonName(username="", display_name=None)


def _with_name(state: StudentState, name: people.PersonName, *, joined: bool) -> Student:
    return Student(
        **msgspec.structs.asdict(state),
        username=name.username,
        display_name=name.display_name,
        joined=joined,
    )


def _with_names(
    states: Sequence[StudentState], names: Mapping[UUID, people.PersonName], joined: Container[UUID]
) -> list[Student]:
    return [
        _with_name(state, names.get(person_id, _NAMELESS), joined=person_id in joined)
        for state in states
        for person_id in [UUID(state.student_id)]
    ]


class Snapshots:
    """Reads of courses. Whether the caller may see it was decided before."""

    def __init__(self, pool: Any, keyring: KeyRing, broker: Broker) -> None:
        self._pool = pool
        self._keyring = keyring
        self._broker = broker

    async def courses(self, person_id: UUID, *, everything: bool) -> CourseList:
        """Return somebody's courses, or all of them with the roles that they have in some."""
        read = courses.list_all if everything else courses.list_of_person
        return CourseList(
            [
                CourseListItem(
                    course_id=course.course_id,
                    title=course.title,
                    role=course.role,
                    students=course.students,
                    help_open=course.help_open,
                    active=course.active,
                    running=course.running,
                    left=course.left,
                    need_help=course.need_help,
                )
                for course in await read(self._pool, person_id, now=datetime.now(UTC))
            ]
        )

    async def course(self, course_id: str) -> CourseSnapshot:
        """Return all that the live page shows.

        The position is read before the database: whatever is committed in between is in the snapshot and comes once
        more as a publication, which the versions make harmless. The other way round it would be missing from both.

        Raises:
            NotFound: there is no such course.
        """
        position = await self._broker.position(course_channel(course_id))
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            course = await courses.get(connection, course_id)
            if course is None:
                raise NotFound("there is no such course")
            states = await student_queries.course_students(connection, self._keyring, course_id)
            roster = await memberships.roster(connection, course_id)
            help_states = await help_queries.list_active(connection, self._keyring, course_id)
            (counters,) = await course_counters.read_counters(connection, [course_id])
            names = await people.names_of(connection, self._keyring, [member.person_id for member in roster])
            joined = await joined_computers.joined_people(connection, course_id)
        return CourseSnapshot(
            course=SnapshotCourse(course.course_id, course.title, course.thresholds),
            epoch=position.epoch,
            offset=position.offset,
            generated_at=to_text(datetime.now(UTC)),
            students=_with_names(states, names, joined),
            staff=[
                StaffMember(str(member.person_id), name.shown, member.role, name.username)
                for member in roster
                if member.role in STAFF_ROLES
                for name in [names.get(member.person_id, _NAMELESS)]
            ],
            help=help_states,
            counters=counters,
        )

    async def students(self, course_id: str) -> list[Student]:
        """Return every enrolled student's row with their name."""
        states = await student_queries.course_students(self._pool, self._keyring, course_id)
        names = await self._names(state.student_id for state in states)
        joined = await joined_computers.joined_people(self._pool, course_id)
        return _with_names(states, names, joined)

    async def student(self, course_id: str, student_id: UUID) -> StudentDetail:
        """Return one student with their cells and requests for help.

        Raises:
            NotFound: nobody of that id is a student of the course.
        """
        state = await self._student(course_id, student_id)
        names = await self._names([state.student_id])
        cells = await cell_queries.student_cells(self._pool, course_id, student_id)
        joined = await joined_computers.has_joined(self._pool, course_id, student_id)
        requests = await help_queries.list_of_student(self._pool, self._keyring, course_id, student_id)
        return StudentDetail(
            student=_with_name(state, names.get(student_id, _NAMELESS), joined=joined),
            cells=cells,
            help=requests,
        )

    async def runs(self, course_id: str, student_id: UUID, *, before: str | None, limit: int) -> RunList:
        """Return a page of one student's runs, newest first.

        Raises:
            NotFound: nobody of that id is a student of the course.
            InvalidParameter: ``before`` is not a cursor.
        """
        await self._student(course_id, student_id)
        try:
            page = await student_queries.student_runs(
                self._pool, self._keyring, course_id, student_id, before=before, limit=limit
            )
        except ValueError as error:
            raise InvalidParameter(str(error), loc=["query", "before"]) from error
        return RunList(runs=page.runs, next_before=page.next_before)

    async def help(self, course_id: str, *, closed: bool) -> list[HelpState]:
        """Return requests for help: those that are open or claimed, or those that are over."""
        read = help_queries.list_closed if closed else help_queries.list_active
        return await read(self._pool, self._keyring, course_id)

    async def cells(self, course_id: str) -> CourseCells:
        """Return all cells that anybody ran.

        Raises:
            NotFound: there is no such course.
        """
        course = await courses.get(self._pool, course_id)
        if course is None:
            raise NotFound("there is no such course")
        now = datetime.now(UTC)
        return CourseCells(
            await cell_queries.course_cells(self._pool, course_id, thresholds=course.thresholds, now=now)
        )

    async def _student(self, course_id: str, student_id: UUID) -> StudentState:
        state = await student_queries.student(self._pool, self._keyring, course_id, student_id)
        if state is None:
            raise NotFound("there is no such student in this course")
        return state

    async def _names(self, student_ids: Iterable[str]) -> dict[UUID, people.PersonName]:
        return await people.names_of(self._pool, self._keyring, [UUID(student_id) for student_id in student_ids])
