"""A course's settings: title and thresholds for its instructors; who is a member by which source for admins of the site."""

# ruff: noqa: FAST003 - SettingsEditor takes course_id from the path

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.context import ProcessContext
from cell_monitor_api.dependencies import Caller, Context, SettingsEditor
from cell_monitor_api.models.course_settings import ChangedSettings, GroupLink, SettingsAnswer
from cell_monitor_core.auth.audit import Actor

__all__ = ["router"]

router = APIRouter(tags=["course settings"])


async def _settings(process: ProcessContext, course_id: str) -> StructResponse:
    course, links = await process.course_settings.read(course_id)
    return StructResponse(SettingsAnswer.of(course, links, process.settings.group_issuers))


@router.get("/courses/{course_id}/settings", responses=answers(SettingsAnswer, "The course's settings"))
async def read_settings(context: Context, grant: SettingsEditor) -> Response:
    """A course's settings, with the bounds and defaults of its thresholds."""
    return await _settings(context.process, grant.course_id)


@router.patch("/courses/{course_id}/settings", responses=answers(SettingsAnswer, "The settings as stored"))
async def change_settings(context: Context, grant: SettingsEditor, caller: Caller, body: ChangedSettings) -> Response:
    """Change settings, all that are given or none. Only an admin of the site changes the ruling source."""
    process = context.process
    await process.course_settings.change(grant.course_id, body.change(), authority=grant.authority, by=Actor.of(caller))
    process.access.forget()
    return await _settings(process, grant.course_id)


@router.post("/courses/{course_id}/group-links", responses=answers(SettingsAnswer, "The settings as stored"))
async def link_group(context: Context, grant: SettingsEditor, caller: Caller, body: GroupLink) -> Response:
    """Let the members of a group have a role in the course, from the issuer's next word on. For admins of the site."""
    link = body.of_course(grant.course_id)
    await context.process.course_settings.link_group(link, authority=grant.authority, by=Actor.of(caller))
    return await _settings(context.process, grant.course_id)


@router.delete("/courses/{course_id}/group-links", responses=answers(SettingsAnswer, "The settings as stored"))
async def unlink_group(
    context: Context, grant: SettingsEditor, caller: Caller, link: Annotated[GroupLink, Query()]
) -> Response:
    """Remove a link. Who is a member by it is so until the issuer's next word. For admins of the site."""
    await context.process.course_settings.unlink_group(
        link.of_course(grant.course_id), authority=grant.authority, by=Actor.of(caller)
    )
    return await _settings(context.process, grant.course_id)
