"""Courses: the list, the live page's snapshot, members, cells, activity."""

# ruff: noqa: FAST003 - CourseReader and its kin take course_id from the path

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dependencies import Caller, Context, CourseReader, RosterEditor, SiteAdmin
from cell_monitor_api.models.courses import (
    CourseAnswer,
    CourseList,
    CourseMember,
    CourseMembers,
    CourseRefusals,
    CourseSnapshot,
    MemberAnswer,
    MemberList,
    NewCourse,
    NewMembers,
)
from cell_monitor_api.models.students import Activity, CourseCells
from cell_monitor_core.administration.roster import MemberChange
from cell_monitor_core.auth.audit import Actor

__all__ = ["router"]

router = APIRouter(tags=["courses"])


@router.get("/courses", responses=answers(CourseList, "The caller's courses"))
async def list_courses(context: Context, caller: Caller) -> Response:
    """The caller's courses; all of them for an admin."""
    process = context.process
    everything = await process.access.sees_all_courses(caller)
    return StructResponse(await process.snapshots.courses(UUID(caller.sub), everything=everything))


@router.post("/courses", status_code=201, responses=answers(CourseAnswer, "Added", status=201))
async def create_course(context: Context, admin: SiteAdmin, body: NewCourse) -> Response:
    """Add a course."""
    await context.process.course_list.create(body.course_id, body.title, by=Actor.of(admin))
    context.process.access.forget()
    return StructResponse(CourseAnswer(body.course_id, body.title), 201)


@router.get("/courses/{course_id}/members", responses=answers(CourseMembers, "Everybody who belongs to the course"))
async def list_members(context: Context, grant: RosterEditor) -> Response:
    """Who belongs to a course, and by which source."""
    listed = await context.process.roster.members(grant.course_id)
    members = [
        CourseMember(
            person_id=str(member.person.person_id),
            username=member.person.username,
            display_name=member.person.display_name,
            role=member.role,
            sources={str(source): role for source, role in member.sources.items()},
            site_admin=member.person.is_admin,
            issuers=member.issuers,
        )
        for member in listed
    ]
    return StructResponse(
        CourseMembers(members, context.process.roster.issuers, context.process.settings.student_issuer)
    )


@router.put("/courses/{course_id}/members", responses=answers(MemberList, "The members as stored"))
async def put_members(context: Context, grant: RosterEditor, caller: Caller, body: NewMembers) -> Response:
    """Add members, or bring them up to date; nobody is removed. Only an admin of the site gives a role of the staff."""
    changes = [MemberChange(member.username, member.role, member.display_name) for member in body.members]
    stored = await context.process.roster.put_members(
        grant.course_id, changes, authority=grant.authority, by=Actor.of(caller), issuer=body.issuer
    )
    context.process.access.forget()
    members = [MemberAnswer(str(one.person_id), one.username, one.role, one.effective_role) for one in stored]
    return StructResponse(MemberList(members))


@router.delete("/courses/{course_id}/members/{person_id}", status_code=204)
async def remove_member(context: Context, grant: RosterEditor, caller: Caller, person_id: UUID) -> Response:
    """Take somebody off a course. What they did there stays stored, and their other courses stay theirs."""
    await context.process.roster.remove_member(
        grant.course_id, person_id, authority=grant.authority, by=Actor.of(caller)
    )
    context.process.access.forget()
    return Response(status_code=204)


@router.get("/courses/{course_id}/state", responses=answers(CourseSnapshot, "All that the live page shows"))
async def course_state(context: Context, grant: CourseReader) -> Response:
    """A course's snapshot, and the position from which to follow it."""
    return StructResponse(await context.process.snapshots.course(grant.course_id))


@router.get("/courses/{course_id}/refusals", responses=answers(CourseRefusals, "Whose work is not recorded"))
async def course_refusals(context: Context, grant: CourseReader) -> Response:
    """How many people's events of this course were refused within the last minutes, and why."""
    return StructResponse(await context.process.refusals.read(grant.course_id))


@router.get("/courses/{course_id}/cells", responses=answers(CourseCells, "All cells that anybody ran"))
async def course_cells(context: Context, grant: CourseReader) -> Response:
    """A course's cells, each over all students."""
    return StructResponse(await context.process.snapshots.cells(grant.course_id))


@router.get("/courses/{course_id}/activity", responses=answers(Activity, "Counts over time"))
async def course_activity(
    context: Context,
    grant: CourseReader,
    start: Annotated[datetime, Query(description="RFC 3339, with time zone")],
    stop: Annotated[datetime, Query(description="RFC 3339, with time zone")],
    every: Annotated[int, Query(ge=10, le=86_400, description="Seconds of a bucket")],
) -> Response:
    """Events, runs, errors and active students in buckets of time."""
    return StructResponse(await context.process.activity.read(grant.course_id, start=start, stop=stop, every_s=every))
