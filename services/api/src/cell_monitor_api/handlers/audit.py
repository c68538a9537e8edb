"""The audit log, for admins of the site and, of their courses, for instructors."""

# ruff: noqa: FAST003 - AuditReader takes course_id from the path

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Query, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dependencies import AuditReader, Context, SiteAdmin
from cell_monitor_api.models.audit import AuditList
from cell_monitor_api.services.audit_log import AuditQuestion
from cell_monitor_core.auth.audit import AuditAction
from cell_monitor_core.channels import COURSE_ID_PATTERN
from cell_monitor_core.names import MAX_USERNAME_CHARS

__all__ = ["router"]

router = APIRouter(tags=["audit"])


def _asked(
    actions: Annotated[
        list[AuditAction] | None, Query(alias="action", max_length=len(AuditAction), description="Repeatable.")
    ] = None,
    person: Annotated[
        str | None,
        Query(min_length=1, max_length=MAX_USERNAME_CHARS, description="User name of who acts or is concerned."),
    ] = None,
    since: Annotated[datetime | None, Query(description="RFC 3339, with time zone")] = None,
    until: Annotated[datetime | None, Query(description="RFC 3339, with time zone")] = None,
    before: Annotated[str | None, Query(max_length=100, description="`next_before` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> AuditQuestion:
    return AuditQuestion(actions or (), person, since, until, before, limit)


_Asked: TypeAlias = Annotated[AuditQuestion, Depends(_asked)]


@router.get("/audit", responses=answers(AuditList, "Entries, newest first"))
async def site_audit(
    context: Context,
    _admin: SiteAdmin,
    asked: _Asked,
    course: Annotated[str | None, Query(pattern=COURSE_ID_PATTERN, max_length=63)] = None,
) -> Response:
    """The audit log of the whole site."""
    return StructResponse(await context.process.audit_log.page(course, asked))


@router.get("/courses/{course_id}/audit", responses=answers(AuditList, "Entries of the course, newest first"))
async def course_audit(context: Context, grant: AuditReader, asked: _Asked) -> Response:
    """The part of the audit log that concerns one course."""
    return StructResponse(await context.process.audit_log.page(grant.course_id, asked))
