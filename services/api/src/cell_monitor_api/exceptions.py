"""Every refusal of the API, with its stable code and status. Alphabetical; docs/dev/contracts.md names them for clients."""

# ruff: noqa: N818 - each is named for what is the matter

from __future__ import annotations

from cell_monitor_core.web.errors import ClientRequestError

__all__ = [
    "ApiKeyInvalid",
    "BodyTooLarge",
    "BodyTooSlow",
    "BrokerUnavailable",
    "CourseExists",
    "CourseForbidden",
    "DatabaseUnavailable",
    "HeadTooLarge",
    "HeadTooSlow",
    "HelpAlreadyClaimed",
    "HelpClosed",
    "HubTokenInvalid",
    "HubUnavailable",
    "InsufficientScope",
    "InvalidBody",
    "InvalidCredentials",
    "InvalidParameter",
    "InvalidRequest",
    "LengthRequired",
    "LogUnavailableError",
    "ManagedElsewhere",
    "MemberProtected",
    "NotAuthenticated",
    "NotFound",
    "OidcSignInInvalid",
    "OidcSignInRefused",
    "OidcTokenExpired",
    "OidcTokenUnverified",
    "OidcUnavailable",
    "PasswordCommon",
    "PasswordNotChangeable",
    "PasswordTooLong",
    "PasswordTooShort",
    "PermissionDenied",
    "PresentPasswordWrong",
    "RateLimited",
    "SignInIdle",
    "SignInLimited",
    "TimeSeriesUnavailable",
    "TokenExpiredError",
    "TooManyEvents",
    "UnsupportedMediaType",
]


class ApiKeyInvalid(ClientRequestError):
    """The API key is malformed, unknown, expired or revoked; the answer does not say which."""

    error = "invalid_api_key"
    status_code = 401


class BodyTooLarge(ClientRequestError):
    """The body, or what it decompresses to, is over the limit."""

    error = "body_too_large"
    status_code = 413


class BodyTooSlow(ClientRequestError):
    """The body is not complete in time."""

    error = "request_timeout"
    status_code = 408


class BrokerUnavailable(ClientRequestError):
    """Redis is unavailable; nothing was changed."""

    error = "broker_unavailable"
    status_code = 503


class CourseExists(ClientRequestError):
    """A course of that id is there already."""

    error = "course_exists"
    status_code = 409


class CourseFull(ClientRequestError):
    """As many people joined by this code as may; the course's staff can make another one."""

    error = "course_full"
    status_code = 409


class CourseForbidden(ClientRequestError):
    """Every event of the request is for a course that the sender is not a member of."""

    error = "course_forbidden"
    status_code = 403


class DatabaseUnavailable(ClientRequestError):
    """PostgreSQL is unavailable or overloaded; nothing was changed."""

    error = "database_unavailable"
    status_code = 503


class HeadTooLarge(ClientRequestError):
    """The request line and headers together are over the limit."""

    error = "head_too_large"
    status_code = 431


class HeadTooSlow(ClientRequestError):
    """The request line and headers are not complete in time."""

    error = "request_timeout"
    status_code = 408


class HelpAlreadyClaimed(ClientRequestError):
    """Another person has claimed this help request."""

    error = "help_already_claimed"
    status_code = 409


class HelpClosed(ClientRequestError):
    """The help request is resolved or was cancelled."""

    error = "help_closed"
    status_code = 409


class HubSignInInvalid(ClientRequestError):
    """The browser that came back from JupyterHub did not begin this sign-in, or too long ago: begin again."""

    error = "hub_sign_in_invalid"
    status_code = 401


class HubSignInRefused(ClientRequestError):
    """JupyterHub refused the sign-in, or does not know the code that the browser brought, or not any more."""

    error = "hub_sign_in_refused"
    status_code = 401


class HubTokenInvalid(ClientRequestError):
    """JupyterHub does not know the token, not yet or no longer, or it is not one of its user's own server."""

    error = "invalid_hub_token"
    status_code = 401


class HubUnavailable(ClientRequestError):
    """JupyterHub cannot be asked whose the token is; try again after ``Retry-After`` seconds."""

    error = "hub_unavailable"
    status_code = 503


class InsufficientScope(ClientRequestError):
    """The token or key lacks a scope that this route needs."""

    error = "insufficient_scope"
    status_code = 403


class InvalidBody(ClientRequestError):
    """The body is not the JSON that the route takes."""

    error = "invalid_body"
    status_code = 400


class InvalidCredentials(ClientRequestError):
    """Unknown user or wrong password; the answer does not say which."""

    error = "invalid_credentials"
    status_code = 401


class InvalidParameter(ClientRequestError):
    """A parameter is well formed, but makes no sense together with the others."""

    error = "invalid_parameter"
    status_code = 422


class InvalidRequest(ClientRequestError):
    """What was sent is not HTTP/1.1."""

    error = "invalid_request"
    status_code = 400


class JoinCodeInvalid(ClientRequestError):
    """The code is wrong, too old or was closed; the answer does not say which."""

    error = "invalid_join_code"
    status_code = 403


class JoinSecretInvalid(ClientRequestError):
    """The computer never joined, was removed, or joining was revoked: join again with the course's code."""

    error = "invalid_join_secret"
    status_code = 401


class JoiningLimited(ClientRequestError):
    """Too many wrong codes from this address or for this course."""

    error = "rate_limited"
    status_code = 429


class LengthRequired(ClientRequestError):
    """The request has neither a Content-Length nor a chunked body."""

    error = "length_required"
    status_code = 411


class LogUnavailableError(ClientRequestError):
    """The event queue took none of the events; send them again after ``Retry-After`` seconds."""

    error = "log_unavailable"
    status_code = 503


class ManagedElsewhere(ClientRequestError):
    """The person is a member by another source than this installation's roster; only that source can remove them."""

    error = "managed_elsewhere"
    status_code = 409


class MemberProtected(ClientRequestError):
    """Only an admin of the site can end or lower this role, or the source that gave it: it is an instructor's, the caller's own, or an admin's of the site."""

    error = "member_protected"
    status_code = 403


class NotAuthenticated(ClientRequestError):
    """No token, or one that is not valid here."""

    error = "not_authenticated"
    status_code = 401


class NotFound(ClientRequestError):
    """There is no such thing, or none that the caller may know of."""

    error = "not_found"
    status_code = 404


class OidcSignInInvalid(ClientRequestError):
    """The browser that came back from the OpenID Connect provider did not begin this sign-in, or too long ago: begin again."""

    error = "oidc_sign_in_invalid"
    status_code = 401


class OidcSignInRefused(ClientRequestError):
    """The provider refused the sign-in, or does not know the code that the browser brought, or not any more."""

    error = "oidc_sign_in_refused"
    status_code = 401


class OidcTokenExpired(ClientRequestError):
    """The provider's id_token has expired or is not valid yet: begin again; if it stays, compare the clocks."""

    error = "oidc_token_expired"
    status_code = 401


class OidcTokenUnverified(ClientRequestError):
    """The provider's id_token is not signed by it, not for this service, or not of this sign-in; the log says which."""

    error = "oidc_token_unverified"
    status_code = 401


class OidcUnavailable(ClientRequestError):
    """The OpenID Connect provider does not answer; try again after ``Retry-After`` seconds."""

    error = "oidc_unavailable"
    status_code = 503


class PasswordCommon(ClientRequestError):
    """The new password is a common one or the person's name, which are guessed first."""

    error = "password_common"
    status_code = 422


class PasswordNotChangeable(ClientRequestError):
    """The person has no password here, cannot change it, or needs a link that signs in before they can set one."""

    error = "password_not_changeable"
    status_code = 409


class PasswordTooLong(ClientRequestError):
    """The new password has too many characters."""

    error = "password_too_long"
    status_code = 422


class PasswordTooShort(ClientRequestError):
    """The new password has too few characters."""

    error = "password_too_short"
    status_code = 422


class PermissionDenied(ClientRequestError):
    """The caller may see the course, but their role does not allow this."""

    error = "permission_denied"
    status_code = 403


class PresentPasswordWrong(ClientRequestError):
    """The present password, which a change needs, is wrong or missing."""

    error = "present_password_wrong"
    status_code = 403


class RateLimited(ClientRequestError):
    """More events than the sender's bucket holds; send them again after ``Retry-After`` seconds."""

    error = "rate_limited"
    status_code = 429


class SignInIdle(NotAuthenticated):
    """The sign-in has ended because no page used it for some time: sign in again."""

    error = "sign_in_idle"


class SignInLimited(ClientRequestError):
    """Too many failed sign-ins on this account, from this address or with this browser."""

    error = "rate_limited"
    status_code = 429


class SignInLinkEnded(ClientRequestError):
    """The link was ended before anybody signed in with it; by what is not known."""

    error = "sign_in_link_ended"
    status_code = 401


class SignInLinkEndedByChange(SignInLinkEnded):
    """The link was ended unused when its person changed their password."""

    error = "sign_in_link_ended_password_changed"


class SignInLinkEndedByReset(SignInLinkEnded):
    """The link was ended unused when an operator reset the password, which also printed a newer link."""

    error = "sign_in_link_ended_password_reset"


class SignInLinkEndedBySignOut(SignInLinkEnded):
    """The link was ended unused when its person signed out everywhere."""

    error = "sign_in_link_ended_signed_out"


class SignInLinkOfAnother(ClientRequestError):
    """The browser is signed in as another person than the link's, which can still be used."""

    error = "sign_in_link_of_another"
    status_code = 409


class SignInLinkExpired(ClientRequestError):
    """Nobody used the link in time; it is known for a day after that."""

    error = "sign_in_link_expired"
    status_code = 401


class SignInLinkInvalid(ClientRequestError):
    """The link is unknown: it is incomplete, or over for more than a day."""

    error = "invalid_sign_in_link"
    status_code = 401


class SignInLinkUsed(ClientRequestError):
    """The link signed somebody in before."""

    error = "sign_in_link_used"
    status_code = 401


class TimeSeriesUnavailable(ClientRequestError):
    """The time-series store is unavailable; everything else works."""

    error = "timeseries_unavailable"
    status_code = 503


class TokenExpiredError(ClientRequestError):
    """The token was valid, but its time is over: fetch a new one."""

    error = "token_expired"
    status_code = 401


class TooManyEvents(ClientRequestError):
    """More events in one request than allowed: split the batch."""

    error = "too_many_events"
    status_code = 413


class UnsupportedMediaType(ClientRequestError):
    """The body is not JSON in UTF-8, or is encoded in another way than gzip."""

    error = "unsupported_media_type"
    status_code = 415
