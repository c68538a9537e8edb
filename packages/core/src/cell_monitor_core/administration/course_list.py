"""The courses of an installation."""

from __future__ import annotations

from typing import Any

from cell_monitor_core.administration.refusals import CourseIdTaken
from cell_monitor_core.auth.audit import Actor
from cell_monitor_core.storage.postgres import courses

__all__ = ["CourseList"]


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
        """
        if not await courses.create(self._pool, course_id, title, by=by):
            raise CourseIdTaken("a course of that id exists already", field=["course_id"])
