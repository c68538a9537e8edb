"""Sign-in with JupyterHub: the browser goes there and comes back with a code."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response

from cell_monitor_api.dependencies import Context, SameSite
from cell_monitor_api.exceptions import NotFound
from cell_monitor_api.handlers.auth import set_sign_in_cookie
from cell_monitor_api.services.hub_sign_in import ATTEMPT_LIFETIME_S, HubSignIn
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.web.errors import ClientRequestError

__all__ = ["ATTEMPT_COOKIE", "router"]

ATTEMPT_COOKIE: Final = "cell_monitor_hub_sign_in"
_MAX_ATTEMPT_CHARS: Final = 1000

router = APIRouter(tags=["sign-in"])

_LOCATION: Final = {"Location": {"schema": {"type": "string"}, "description": "Where the browser goes."}}


def _redirects(description: str) -> dict[int | str, dict[str, Any]]:
    return {303: {"description": description, "headers": _LOCATION}}


def _hub_sign_in(context: Context) -> HubSignIn:
    service = context.process.hub_sign_in
    if service is None:
        raise NotFound("sign-in with JupyterHub is not configured here")
    return service


def _see_other(location: str) -> Response:
    return Response(status_code=303, headers={"location": location, "cache-control": "no-store"})


@router.get("/auth/hub/start", status_code=303, response_class=Response, responses=_redirects("To JupyterHub"))
async def start(context: Context, _same_site: SameSite) -> Response:
    """Send the browser to JupyterHub. Where it is sent back to is a setting and no part of any request."""
    location, kept = _hub_sign_in(context).begin()
    response = _see_other(location)
    context.process.settings.cookies.set(response, ATTEMPT_COOKIE, kept, max_age=ATTEMPT_LIFETIME_S)
    return response


@router.get(
    "/auth/hub/callback",
    status_code=303,
    response_class=Response,
    responses=_redirects("To the dashboard, signed in or with the reason why not"),
)
async def callback(
    context: Context,
    state: Annotated[str | None, Query(max_length=200)] = None,
    code: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """Sign in who comes back from JupyterHub, and go on to the dashboard, which shows why if that failed.

    The page of a failure has `#sign-in-failed=<code>`, with the code of the error.
    """
    service, settings = _hub_sign_in(context), context.process.settings
    kept = context.request.cookies.get(settings.cookies.name(ATTEMPT_COOKIE), "")
    signed_in, failed = None, ""
    try:
        signed_in = await service.finish(kept if len(kept) <= _MAX_ATTEMPT_CHARS else None, state, code)
    except ClientRequestError as error:
        failed = error.error
    except StoreUnavailable:
        failed = "database_unavailable"
    response = _see_other(f"{settings.dashboard_url}#sign-in-failed={failed}" if failed else settings.dashboard_url)
    # It served once, whatever came of it.
    settings.cookies.set(response, ATTEMPT_COOKIE, "", max_age=0)
    if signed_in is not None:
        set_sign_in_cookie(context, response, signed_in.cookie, int(signed_in.lifetime.total_seconds()))
    return response
