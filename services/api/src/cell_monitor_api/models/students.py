"""Answers about one student, the help list, cells and activity."""

from __future__ import annotations

from typing import Literal

import msgspec

from cell_monitor_api.models.courses import Student
from cell_monitor_core.publications import HelpState
from cell_monitor_core.storage.postgres.cell_queries import CourseCell, StudentCell
from cell_monitor_core.storage.postgres.student_queries import Run

__all__ = [
    "Activity",
    "ActivityPoint",
    "CourseCells",
    "HelpAnswer",
    "HelpList",
    "RunList",
    "StudentDetail",
]


class StudentDetail(msgspec.Struct, frozen=True):
    """One student with their cells, at most the 2,000 that ran last, and requests for help, at most 500."""

    student: Student
    cells: list[StudentCell]
    help: list[HelpState]


class RunList(msgspec.Struct, frozen=True):
    """Runs, newest first; ``next_before`` asks for the page after this one."""

    runs: list[Run]
    next_before: str | None


class HelpList(msgspec.Struct, frozen=True):
    """Requests for help."""

    help: list[HelpState]


class HelpAnswer(msgspec.Struct, frozen=True):
    """The request after the action; ``published`` is false if the publication failed and will be retried."""

    help: HelpState
    published: bool = True


class CourseCells(msgspec.Struct, frozen=True):
    """The cells of a course that anybody ran, at most the 2,000 that most students ran."""

    cells: list[CourseCell]


class ActivityPoint(msgspec.Struct, frozen=True):
    """Counts of one bucket of time; ``at`` is its beginning (RFC 3339)."""

    at: str
    events: int
    executions: int
    errors: int
    students: int


class Activity(msgspec.Struct, frozen=True):
    """Activity over time, empty buckets included, oldest first."""

    source: Literal["postgresql", "influxdb"]
    buckets: list[ActivityPoint]
