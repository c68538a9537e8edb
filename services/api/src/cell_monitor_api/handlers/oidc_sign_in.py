"""Sign-in with an OpenID Connect provider: the browser goes there and comes back with a code."""

from __future__ import annotations

from html import escape
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response

from cell_monitor_api.dependencies import Context, SameSite
from cell_monitor_api.exceptions import NotFound, OidcUnavailable
from cell_monitor_api.handlers.sign_in_redirects import comes_back, failed_page, kept_by_browser, leaves, redirects
from cell_monitor_api.services.oidc_sign_in import OidcSignIn, ProviderAnswer

__all__ = ["ATTEMPT_COOKIE", "router"]

ATTEMPT_COOKIE: Final = "cell_monitor_oidc_sign_in"

router = APIRouter(tags=["sign-in"])

_UNAVAILABLE: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        "description": "The provider does not answer: a page that goes on to the dashboard",
        "content": {"text/html": {}},
    }
}
_UNAVAILABLE_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={page}">
<title>Cell Monitor</title>
<p>The sign-in service does not answer. <a href="{page}">Back to Cell Monitor</a></p>
<p lang="ja">認証サービスが応答しません。<a href="{page}">Cell Monitor に戻る</a></p>
</html>
"""


def _oidc_sign_in(context: Context) -> OidcSignIn:
    service = context.process.oidc_sign_in
    if service is None:
        raise NotFound("sign-in with OpenID Connect is not configured here")
    return service


def _unavailable(context: Context, error: OidcUnavailable) -> Response:
    """Return a page for a person: the dashboard explains in their language, and has the other ways to sign in."""
    page = escape(failed_page(context, error.error))
    policy = "default-src 'none'; frame-ancestors 'none'"
    headers = {**error.headers, "cache-control": "no-store", "content-security-policy": policy}
    return Response(_UNAVAILABLE_PAGE.format(page=page), 503, headers, "text/html; charset=utf-8")


@router.get(
    "/auth/oidc/start",
    status_code=303,
    response_class=Response,
    responses=redirects("To the provider") | _UNAVAILABLE,
)
async def start(context: Context, _same_site: SameSite) -> Response:
    """Send the browser to the OpenID Connect provider. Where it is sent back to is a setting and no part of any request."""
    try:
        location, kept = await _oidc_sign_in(context).begin()
    except OidcUnavailable as error:
        return _unavailable(context, error)
    return leaves(context, location, ATTEMPT_COOKIE, kept)


@router.get(
    "/auth/oidc/callback",
    status_code=303,
    response_class=Response,
    responses=redirects("To the dashboard, signed in or with the reason why not"),
)
async def callback(
    context: Context,
    state: Annotated[str | None, Query(max_length=200)] = None,
    code: Annotated[str | None, Query(max_length=4096)] = None,
    iss: Annotated[str | None, Query(max_length=512, description="Issuer (RFC 9207).")] = None,
) -> Response:
    """Sign in who comes back from the provider, and go on to the dashboard, which shows why if that failed.

    The page of a failure has `#sign-in-failed=<code>`, with the code of the error.
    """
    service = _oidc_sign_in(context)
    kept = kept_by_browser(context, ATTEMPT_COOKIE)
    answer = ProviderAnswer(state=state, code=code, issuer=iss)
    return await comes_back(context, ATTEMPT_COOKIE, "oidc", service.finish(kept, answer))
