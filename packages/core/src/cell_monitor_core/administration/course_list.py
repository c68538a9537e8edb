"""The courses of an installation."""

from __future__ import annotations

from typing import Any

from cell_monitor_core.administration.refusals import CourseIdTaken, UnknownCourse, require_readable
from cell_monitor_core.auth.audit import Actor
from cell_monitor_core.storage.postgres import courses
from cell_monitor_core.storage.postgres.courses import Course
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["CourseList", "require_course"]


async def require_course(executor: Executor, course_id: str) -> Course:
    """Return a course.

    Raises:
        UnknownCourse: there is none of that id.
    """
    course = await courses.get(executor, course_id)
    if course is None:
        raise UnknownCourse(course_id)
    return course


class CourseList:
    """Adds courses.

    Args:
        pool: PostgreSQL.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def create(self, course_id: str, title: str, *, by: Actor) -> None:
        """Add a course.

        Raises:
            CourseIdTaken: there is one of that id.
            Unusable: nobody can read the title.
        """
        require_readable(title, field="title")
        if not await courses.create(self._pool, course_id, title, by=by):
            raise CourseIdTaken("a course of that id exists already", field=["course_id"])
