"""What handlers ask for. Authorisation is in the types: a route that names none of them is public by definition.

Who may use each route is written down a second time, by hand, in ``tests/authorisation_test.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from fastapi import Depends, Path, Request, Security
from fastapi.security import HTTPBearer

from cell_monitor_api.access_tokens import bearer_token, last_header, verify
from cell_monitor_api.context import ProcessContext
from cell_monitor_api.exceptions import InsufficientScope, NotFound, PermissionDenied
from cell_monitor_api.services.access import CourseAccess
from cell_monitor_api.services.ingest import Sender
from cell_monitor_core.auth.roles import Permission
from cell_monitor_core.auth.tokens import Claims
from cell_monitor_core.channels import COURSE_ID_PATTERN

__all__ = [
    "AuditReader",
    "Caller",
    "Context",
    "CourseReader",
    "EventSender",
    "Helper",
    "RequestContext",
    "RosterEditor",
    "SameSite",
    "SettingsEditor",
    "SiteAdmin",
    "TestSender",
]

# Only for the OpenAPI document; the header is read below.
_bearer = HTTPBearer(auto_error=False, scheme_name="access token", bearerFormat="JWT")


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request and the process that serves it."""

    request: Request
    process: ProcessContext

    @property
    def client_address(self) -> str:
        """The client's address, as the server or a trusted proxy says."""
        client = self.request.client
        return "unknown" if client is None else client.host


def request_context(request: Request) -> RequestContext:
    """Return the context of a request."""
    return RequestContext(request, request.app.state.context)


Context: TypeAlias = Annotated[RequestContext, Depends(request_context)]


def same_site(request: Request) -> None:
    """Refuse what another site's page has sent: the sign-in cookie must not work for it.

    ``SameSite=Strict`` already withholds the cookie from other sites. In browsers with fetch metadata this check also
    refuses requests from other hosts of the same site.

    Raises:
        PermissionDenied: the browser reports another origin.
    """
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        raise PermissionDenied("this may only be sent by the dashboard itself")


SameSite: TypeAlias = Annotated[None, Depends(same_site)]


def authenticate(context: Context, _shown: Annotated[object, Security(_bearer)] = None) -> Claims:
    """Return the caller's claims.

    Raises:
        InsufficientScope: the token allows nothing at all, so that it does not even read who its holder is.
    """
    token = bearer_token(last_header(context.request.headers, "authorization"))
    claims = verify(context.process.api_verifier, token, None)
    if not claims.permissions:
        raise InsufficientScope("this access token allows nothing: its API key has no scope")
    return claims


Caller: TypeAlias = Annotated[Claims, Depends(authenticate)]


def send_events(context: Context, _shown: Annotated[object, Security(_bearer)] = None) -> Sender:
    """Return who sends events, if their token allows it."""
    token = bearer_token(last_header(context.request.headers, "authorization"))
    return Sender(verify(context.process.ingest_verifier, token, Permission.SEND_EVENTS))


EventSender: TypeAlias = Annotated[Sender, Depends(send_events)]


def send_tests(context: Context, _shown: Annotated[object, Security(_bearer)] = None) -> Sender:
    """Return who sends test events, if their token and the settings allow it."""
    if not context.process.settings.test_mode:
        raise NotFound("there is nothing here")
    token = bearer_token(last_header(context.request.headers, "authorization"))
    return Sender(verify(context.process.ingest_verifier, token, Permission.USE_TEST_MODE))


TestSender: TypeAlias = Annotated[Sender, Depends(send_tests)]


async def administer(context: Context, caller: Caller) -> Claims:
    """Return the claims of an admin of the site."""
    await context.process.access.require_admin(caller)
    return caller


SiteAdmin: TypeAlias = Annotated[Claims, Depends(administer)]


def _in_course(permission: Permission) -> Callable[..., Awaitable[CourseAccess]]:
    async def grant(
        context: Context, caller: Caller, course_id: Annotated[str, Path(pattern=COURSE_ID_PATTERN, max_length=63)]
    ) -> CourseAccess:
        return await context.process.access.require(caller, course_id, permission)

    return grant


read_course: Final = _in_course(Permission.READ_COURSE)
answer_help: Final = _in_course(Permission.ANSWER_HELP)
edit_roster: Final = _in_course(Permission.MANAGE_MEMBERS)
edit_settings: Final = _in_course(Permission.MANAGE_SETTINGS)
read_audit: Final = _in_course(Permission.READ_AUDIT)

CourseReader: TypeAlias = Annotated[CourseAccess, Depends(read_course)]
Helper: TypeAlias = Annotated[CourseAccess, Depends(answer_help)]
RosterEditor: TypeAlias = Annotated[CourseAccess, Depends(edit_roster)]
SettingsEditor: TypeAlias = Annotated[CourseAccess, Depends(edit_settings)]
AuditReader: TypeAlias = Annotated[CourseAccess, Depends(read_audit)]
