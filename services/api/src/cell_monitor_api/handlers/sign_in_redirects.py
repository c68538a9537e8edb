"""Answers of sign-ins that send the browser to another site and back; see ``services.sign_in_round_trips``."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from fastapi import Response

from cell_monitor_api.dependencies import Context
from cell_monitor_api.handlers.auth import set_sign_in_cookie
from cell_monitor_api.services.sessions import SignedIn
from cell_monitor_api.services.sign_in_round_trips import ROUND_TRIP_LIFETIME_S
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.web.errors import ClientRequestError

__all__ = ["comes_back", "failed_page", "kept_by_browser", "leaves", "redirects"]

_MAX_KEPT_CHARS: Final = 1000
_LOCATION: Final = {"Location": {"schema": {"type": "string"}, "description": "Where the browser goes."}}


def redirects(description: str) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses=`` of a route that answers with a redirect."""
    return {303: {"description": description, "headers": _LOCATION}}


def _see_other(location: str) -> Response:
    return Response(status_code=303, headers={"location": location, "cache-control": "no-store"})


def leaves(context: Context, location: str, cookie: str, kept: str) -> Response:
    """Return the answer that sends the browser to the other site, with the cookie that it keeps until it is back."""
    response = _see_other(location)
    context.process.settings.cookies.set(response, cookie, kept, max_age=ROUND_TRIP_LIFETIME_S)
    return response


def kept_by_browser(context: Context, cookie: str) -> str | None:
    """Return what the browser kept; None if that cannot be what ``leaves`` gave it."""
    kept = context.process.settings.cookies.read(context.request, cookie)
    return kept if kept is not None and len(kept) <= _MAX_KEPT_CHARS else None


def failed_page(context: Context, code: str) -> str:
    """Return the address of the dashboard that says why a sign-in failed: `#sign-in-failed=<code>`."""
    return f"{context.process.settings.dashboard_url}#sign-in-failed={code}"


async def comes_back(context: Context, cookie: str, way: str, finishing: Awaitable[SignedIn]) -> Response:
    """Return the answer that sends the browser to the dashboard, signed in or with the reason why not.

    A refusal is entered in the audit log with the way to sign in.
    """
    settings = context.process.settings
    signed_in, failed = None, ""
    try:
        try:
            signed_in = await finishing
        except ClientRequestError as error:
            failed = error.error
            if error.status_code == 401:
                await context.process.refused_sign_ins.add(way, context.client_address)
    except StoreUnavailable:
        failed = "database_unavailable"
    response = _see_other(failed_page(context, failed) if failed else settings.dashboard_url)
    # It served once, whatever came of it.
    settings.cookies.set(response, cookie, "", max_age=0)
    if signed_in is not None:
        set_sign_in_cookie(context, response, signed_in.cookie, int(signed_in.lifetime.total_seconds()))
    return response
