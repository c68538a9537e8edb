"""Requests for help: the list, and what staff do about them."""

# ruff: noqa: FAST003 - CourseReader and its kin take course_id from the path

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dependencies import Context, CourseReader, Helper
from cell_monitor_api.models.students import HelpAnswer, HelpList

__all__ = ["router"]

router = APIRouter(tags=["help"])


@router.get("/courses/{course_id}/help", responses=answers(HelpList, "Requests for help"))
async def list_help(
    context: Context, grant: CourseReader, status: Annotated[Literal["active", "closed"], Query()] = "active"
) -> Response:
    """Requests that are open or claimed, the longest wait first; or those that are over, the newest first."""
    return StructResponse(HelpList(await context.process.snapshots.help(grant.course_id, closed=status == "closed")))


@router.post("/courses/{course_id}/help/{request_id}/claim", responses=answers(HelpAnswer, "Claimed"))
async def claim(context: Context, grant: Helper, request_id: UUID) -> Response:
    """Take a request: "I'm on it"."""
    return StructResponse(await context.process.help_desk.act(grant.course_id, request_id, "claim", grant.person_id))


@router.post("/courses/{course_id}/help/{request_id}/release", responses=answers(HelpAnswer, "Open again"))
async def release(context: Context, grant: Helper, request_id: UUID) -> Response:
    """Give a request back to the others."""
    return StructResponse(await context.process.help_desk.act(grant.course_id, request_id, "release", grant.person_id))


@router.post("/courses/{course_id}/help/{request_id}/resolve", responses=answers(HelpAnswer, "Resolved"))
async def resolve(context: Context, grant: Helper, request_id: UUID) -> Response:
    """Close a request: the student has been helped."""
    return StructResponse(await context.process.help_desk.act(grant.course_id, request_id, "resolve", grant.person_id))
