"""Sign-in, tokens, and the keys that verify them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response

from cell_monitor_api.answers import StructResponse, answers
from cell_monitor_api.dependencies import Caller, Context, SameSite
from cell_monitor_api.models.auth import ExchangedToken, LinkLogin, Login, Me, TokenAnswer, TokenRequest
from cell_monitor_api.services.credentials import TokenWish
from cell_monitor_api.services.sessions import SignedIn
from cell_monitor_core.auth.scopes import Audience
from cell_monitor_core.auth.tokens import MAX_TOKEN_BYTES

__all__ = ["COOKIE", "DEVICE_COOKIE", "read_cookie", "router", "set_sign_in_cookie", "signed_in_answer"]

COOKIE = "cell_monitor_sign_in"
DEVICE_COOKIE = "cell_monitor_device"

router = APIRouter(tags=["sign-in"])


def set_sign_in_cookie(context: Context, response: Response, value: str, max_age: int) -> None:
    """Set the cookie that keeps a browser signed in for ``max_age`` seconds; 0 removes it."""
    _set_cookie(context, response, COOKIE, value, max_age)


def _set_cookie(context: Context, response: Response, name: str, value: str, max_age: int) -> None:
    over_tls = context.request.url.scheme == "https"
    cookies = context.process.settings.cookies
    cookies.set(response, name, value, max_age=max_age, same_site="strict", over_tls=over_tls)


def read_cookie(context: Context, name: str) -> str | None:
    """Return what the browser sent of one of these cookies."""
    return context.process.settings.cookies.read(context.request, name)


def signed_in_answer(context: Context, signed_in: SignedIn) -> Response:
    """Return the answer to a sign-in, with the cookies that keep it so and that let this browser through later."""
    response = StructResponse(signed_in.token)
    set_sign_in_cookie(context, response, signed_in.cookie, int(signed_in.lifetime.total_seconds()))
    devices = context.process.devices
    known_s = int(devices.lifetime.total_seconds())
    _set_cookie(context, response, DEVICE_COOKIE, devices.make(signed_in.person_id), known_s)
    return response


@router.post("/auth/login", responses=answers(TokenAnswer, "Signed in; the cookie keeps it so"))
async def sign_in(context: Context, _same_site: SameSite, body: Login) -> Response:
    """Sign in with a local account."""
    signed_in = await context.process.password_sign_in.sign_in(
        body.username,
        body.password.get_secret_value(),
        context.client_address,
        read_cookie(context, DEVICE_COOKIE),
    )
    return signed_in_answer(context, signed_in)


@router.post("/auth/link", responses=answers(TokenAnswer, "Signed in; the cookie keeps it so"))
async def sign_in_with_link(context: Context, _same_site: SameSite, body: LinkLogin) -> Response:
    """Sign in with a link, which works once; not where another person is signed in."""
    signed_in = await context.process.link_sign_in.sign_in(
        body.link.get_secret_value(), context.client_address, read_cookie(context, COOKIE)
    )
    return signed_in_answer(context, signed_in)


@router.post("/auth/refresh", responses=answers(TokenAnswer, "A new token"))
async def refresh(context: Context, _same_site: SameSite) -> Response:
    """Trade the sign-in cookie for a new access token."""
    return StructResponse(await context.process.sessions.refresh(read_cookie(context, COOKIE)))


@router.post("/auth/logout", status_code=204)
async def sign_out(context: Context, _same_site: SameSite) -> Response:
    """Sign out; without a sign-in there is nothing to do."""
    await context.process.sessions.end(read_cookie(context, COOKIE))
    response = Response(status_code=204)
    set_sign_in_cookie(context, response, "", 0)
    return response


@router.post("/auth/logout-everywhere", status_code=204)
async def sign_out_everywhere(context: Context, _same_site: SameSite) -> Response:
    """Sign the person out in every browser, and end the links with which they could sign in."""
    await context.process.sessions.end_everywhere(read_cookie(context, COOKIE))
    response = Response(status_code=204)
    set_sign_in_cookie(context, response, "", 0)
    return response


@router.post("/auth/token", responses=answers(ExchangedToken, "A token for the audience"))
async def exchange(
    context: Context,
    body: TokenRequest,
    authorization: Annotated[str | None, Header(max_length=MAX_TOKEN_BYTES)] = None,
) -> Response:
    """Exchange a credential (`Authorization: ApiKey <key>` or `JupyterHub <token>`) for an access token."""
    wish = TokenWish(Audience(body.audience), body.act_as, body.server)
    return StructResponse(await context.process.exchange.exchange(authorization, wish))


@router.get("/auth/jwks.json", response_model=None)
async def jwks(context: Context) -> Response:
    """The public keys that access tokens are verified with."""
    return Response(
        context.process.signing.public_jwks(),
        media_type="application/json",
        headers={"cache-control": "public, max-age=60"},
    )


@router.get("/me", responses=answers(Me, "The caller"))
async def me(context: Context, caller: Caller) -> Response:
    """Who the caller is, and their courses."""
    return StructResponse(await context.process.sessions.me(caller))
