"""The audit log, for admins of the site and, of their courses, for instructors."""

# ruff: noqa: FAST003 - AuditReader takes course_id from the path

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Query, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dependencies import AuditReader, Context, SiteAdmin
from cell_monitor_api.models.audit import AuditList
from cell_monitor_core.auth.audit import AuditAction
from cell_monitor_core.channels import COURSE_ID_PATTERN
from cell_monitor_core.names import MAX_USERNAME_CHARS

__all__ = ["router"]

router = APIRouter(tags=["audit"])

_Actions: TypeAlias = Annotated[
    list[AuditAction] | None, Query(alias="action", max_length=len(AuditAction), description="Repeatable.")
]
_Person: TypeAlias = Annotated[
    str | None,
    Query(min_length=1, max_length=MAX_USERNAME_CHARS, description="User name of who acts or is concerned."),
]
_Since: TypeAlias = Annotated[datetime | None, Query(description="RFC 3339, with time zone")]
_Before: TypeAlias = Annotated[str | None, Query(max_length=100, description="`next_before` of the page before")]
_Limit: TypeAlias = Annotated[int, Query(ge=1, le=200)]


@router.get("/audit", responses=answers(AuditList, "Entries, newest first"))
async def site_audit(
    context: Context,
    _admin: SiteAdmin,
    actions: _Actions = None,
    person: _Person = None,
    course: Annotated[str | None, Query(pattern=COURSE_ID_PATTERN, max_length=63)] = None,
    since: _Since = None,
    until: _Since = None,
    before: _Before = None,
    limit: _Limit = 50,
) -> Response:
    """The audit log of the whole site."""
    page = await context.process.audit_log.page(
        course_id=course, actions=actions or (), person=person, since=since, until=until, before=before, limit=limit
    )
    return StructResponse(page)


@router.get("/courses/{course_id}/audit", responses=answers(AuditList, "Entries of the course, newest first"))
async def course_audit(
    context: Context,
    grant: AuditReader,
    actions: _Actions = None,
    person: _Person = None,
    since: _Since = None,
    until: _Since = None,
    before: _Before = None,
    limit: _Limit = 50,
) -> Response:
    """The part of the audit log that concerns one course."""
    page = await context.process.audit_log.page(
        course_id=grant.course_id,
        actions=actions or (),
        person=person,
        since=since,
        until=until,
        before=before,
        limit=limit,
    )
    return StructResponse(page)
