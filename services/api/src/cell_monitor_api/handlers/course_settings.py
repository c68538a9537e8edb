"""A course's settings: title and thresholds for its instructors; who is a member by which source for admins of the site."""

# ruff: noqa: FAST003 - SettingsEditor takes course_id from the path

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.config import ApiSettings
from cell_monitor_api.context import ProcessContext
from cell_monitor_api.dependencies import Caller, Context, SettingsEditor
from cell_monitor_api.models.course_settings import ChangedSettings, GroupLink, GroupRule, SettingsAnswer
from cell_monitor_api.services.hub_rules import PROPERTY
from cell_monitor_core.auth.audit import Actor

__all__ = ["router"]

router = APIRouter(tags=["course settings"])


async def _settings(process: ProcessContext, course_id: str) -> StructResponse:
    course, links = await process.course_settings.read(course_id)
    properties = await process.course_settings.properties(course_id)
    settings = process.settings
    return StructResponse(
        SettingsAnswer.of(course, links, issuers=settings.group_issuers, rules=_rules(settings), properties=properties)
    )


def _rules(settings: ApiSettings) -> list[GroupRule]:
    """Return the rules that this installation is configured with."""
    rules = []
    if settings.api_hub_url is not None:
        # Only the roster reads properties.
        read = settings.api_hub_token is not None and settings.api_hub_roster_s > 0
        roles = {word: str(role) for word, role in settings.api_hub_roles.items()}
        rules.append(
            GroupRule(settings.api_hub_issuer, settings.api_hub_group_pattern, roles, PROPERTY if read else None)
        )
    if settings.api_oidc_issuer is not None and settings.api_oidc_groups_claim is not None:
        roles = {word: str(role) for word, role in settings.api_oidc_roles.items()}
        rules.append(GroupRule(settings.api_oidc_issuer, settings.api_oidc_group_pattern, roles, None))
    return rules


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
