"""Sign-in with JupyterHub: the browser goes there and comes back with a code."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from cell_monitor_api.dependencies import Context, SameSite
from cell_monitor_api.exceptions import NotFound
from cell_monitor_api.handlers.sign_in_redirects import comes_back, kept_by_browser, leaves, redirects
from cell_monitor_api.services.hub_sign_in import HubSignIn

__all__ = ["ATTEMPT_COOKIE", "router"]

ATTEMPT_COOKIE: Final = "cell_monitor_hub_sign_in"

router = APIRouter(tags=["sign-in"])


def _hub_sign_in(context: Context) -> HubSignIn:
    service = context.process.hub_sign_in
    if service is None:
        raise NotFound("sign-in with JupyterHub is not configured here")
    return service


@router.get("/auth/hub/start", status_code=303, response_class=Response, responses=redirects("To JupyterHub"))
async def start(context: Context, _same_site: SameSite) -> Response:
    """Send the browser to JupyterHub. Where it is sent back to is a setting and no part of any request."""
    location, kept = _hub_sign_in(context).begin()
    return leaves(context, location, ATTEMPT_COOKIE, kept)


@router.get(
    "/auth/hub/callback",
    status_code=303,
    response_class=Response,
    responses=redirects("To the dashboard, signed in or with the reason why not"),
)
async def callback(
    context: Context,
    state: Annotated[str | None, Query(max_length=200)] = None,
    code: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """Sign in who comes back from JupyterHub, and go on to the dashboard, which shows why if that failed.

    The page of a failure has `#sign-in-failed=<code>`, with the code of the error.
    """
    service = _hub_sign_in(context)
    kept = kept_by_browser(context, ATTEMPT_COOKIE)
    return await comes_back(context, ATTEMPT_COOKIE, "hub", service.finish(kept, state, code))
