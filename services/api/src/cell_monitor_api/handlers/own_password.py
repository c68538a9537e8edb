"""The password of the own account."""

from __future__ import annotations

from fastapi import APIRouter, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dependencies import Context, SameSite
from cell_monitor_api.handlers.auth import COOKIE, DEVICE_COOKIE, read_cookie, signed_in_answer
from cell_monitor_api.models.auth import NewPassword, PasswordState, TokenAnswer

__all__ = ["router"]

router = APIRouter(tags=["sign-in"])


@router.get("/auth/password", responses=answers(PasswordState, "What can be done about the password"))
async def password_state(context: Context, _same_site: SameSite) -> Response:
    """Whether the person who is signed in has a password here, and how they can change it."""
    return StructResponse(await context.process.own_password.state(read_cookie(context, COOKIE)))


@router.post("/auth/password", responses=answers(TokenAnswer, "Changed; a new cookie keeps the person signed in"))
async def change_password(context: Context, _same_site: SameSite, body: NewPassword) -> Response:
    """Set the own password. All other sign-ins of the person, their tokens and unused links end."""
    signed_in = await context.process.own_password.change(
        read_cookie(context, COOKIE),
        None if body.present is None else body.present.get_secret_value(),
        body.new.get_secret_value(),
        address=context.client_address,
        device_cookie=read_cookie(context, DEVICE_COOKIE),
    )
    return signed_in_answer(context, signed_in)
