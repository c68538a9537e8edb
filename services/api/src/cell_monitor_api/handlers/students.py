"""Students of a course, their cells and their runs."""

# ruff: noqa: FAST003 - CourseReader and its kin take course_id from the path

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dependencies import Caller, Context, CourseReader
from cell_monitor_api.models.courses import StudentList
from cell_monitor_api.models.students import RunList, StudentDetail
from cell_monitor_core.auth.audit import Actor

__all__ = ["router"]

router = APIRouter(tags=["students"])


@router.get("/courses/{course_id}/students", responses=answers(StudentList, "All students"))
async def list_students(context: Context, grant: CourseReader) -> Response:
    """Every enrolled student's row."""
    return StructResponse(StudentList(await context.process.snapshots.students(grant.course_id)))


@router.get("/courses/{course_id}/students/{student_id}", responses=answers(StudentDetail, "One student"))
async def get_student(context: Context, grant: CourseReader, caller: Caller, student_id: UUID) -> Response:
    """One student with their cells and requests for help; the audit log says who opened them."""
    student = await context.process.snapshots.student(grant.course_id, student_id)
    await context.process.audit_log.work_opened(Actor.of(caller), grant.course_id, student_id)
    return StructResponse(student)


@router.get("/courses/{course_id}/students/{student_id}/runs", responses=answers(RunList, "Runs, newest first"))
async def list_runs(
    context: Context,
    grant: CourseReader,
    caller: Caller,
    student_id: UUID,
    before: Annotated[str | None, Query(max_length=100, description="`next_before` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """One student's runs with code, output and error; the audit log says who opened them."""
    runs = await context.process.snapshots.runs(grant.course_id, student_id, before=before, limit=limit)
    await context.process.audit_log.work_opened(Actor.of(caller), grant.course_id, student_id)
    return StructResponse(runs)
