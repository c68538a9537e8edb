"""Joining by code: students' computers join; the course's staff opens, shows, renews and closes it."""

# ruff: noqa: FAST003 - RosterEditor takes course_id from the path

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from fastapi import APIRouter, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dependencies import Caller, Context, RosterEditor
from cell_monitor_api.models.joining import Join, JoinCodeAnswer, Joined, Merge, NewJoinCode
from cell_monitor_core.administration.join_codes import JoinCode
from cell_monitor_core.auth.audit import Actor
from cell_monitor_core.timestamps import to_text

__all__ = ["router"]

router = APIRouter(tags=["joining"])


@router.post("/auth/join", status_code=201, responses=answers(Joined, "Joined", status=201))
async def join(context: Context, body: Join) -> Response:
    """Join a course by its code. The secret is then exchanged for tokens: `Authorization: Join <secret>`."""
    joined = await context.process.joining.join(
        body.code.get_secret_value(), body.name, body.secret, context.client_address
    )
    return StructResponse(joined, 201)


@router.get("/courses/{course_id}/join-code", responses=answers(JoinCodeAnswer, "The code, or that there is none"))
async def join_code(context: Context, grant: RosterEditor) -> Response:
    """The course's code."""
    return _answer(context, await context.process.join_codes.state(grant.course_id))


@router.post("/courses/{course_id}/join-code", responses=answers(JoinCodeAnswer, "The new code"))
async def new_join_code(context: Context, grant: RosterEditor, caller: Caller, body: NewJoinCode) -> Response:
    """Open joining, or renew the code: the one before lets nobody in any more."""
    lifetime = timedelta(minutes=body.minutes)
    return _answer(context, await context.process.join_codes.open(grant.course_id, lifetime, by=Actor.of(caller)))


@router.delete("/courses/{course_id}/join-code", status_code=204)
async def close_joining(context: Context, grant: RosterEditor, caller: Caller) -> Response:
    """Close joining. Who has joined stays."""
    await context.process.join_codes.close(grant.course_id, by=Actor.of(caller))
    return Response(status_code=204)


@router.delete("/courses/{course_id}/joined", status_code=204)
async def remove_joined(context: Context, grant: RosterEditor, caller: Caller) -> Response:
    """Close joining, and remove everybody who joined by code."""
    await context.process.join_codes.remove_all(grant.course_id, by=Actor.of(caller))
    context.process.access.forget()
    return Response(status_code=204)


@router.post("/courses/{course_id}/members/{person_id}/merge", status_code=204)
async def merge(context: Context, grant: RosterEditor, caller: Caller, person_id: UUID, body: Merge) -> Response:
    """Merge somebody who joined by code with another student, who is the sender from now on."""
    await context.process.join_codes.merge(grant.course_id, person_id, body.into, by=Actor.of(caller))
    context.process.access.forget()
    return Response(status_code=204)


def _answer(context: Context, code: JoinCode | None) -> Response:
    most = context.process.settings.api_join_people
    if code is None:
        return StructResponse(JoinCodeAnswer(None, None, 0, most))
    return StructResponse(JoinCodeAnswer(code.code, to_text(code.expires_at), code.people, most))
