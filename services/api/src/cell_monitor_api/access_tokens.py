"""The access token of a request: read from its header and verified, for the fast path and for FastAPI's dependencies."""

from __future__ import annotations

from starlette.datastructures import Headers

from cell_monitor_api.exceptions import InsufficientScope, NotAuthenticated, TokenExpiredError
from cell_monitor_core.auth.roles import Permission
from cell_monitor_core.auth.tokens import Claims, TokenExpired, TokenInvalid, TokenVerifier

__all__ = ["bearer_token", "last_header", "verify"]


def last_header(headers: Headers, name: str) -> str | None:
    """Return a header's value; where it comes twice, the last."""
    values = headers.getlist(name)
    return values[-1] if values else None


def bearer_token(authorization: str | None) -> str:
    """Return the token of an ``Authorization`` header.

    Raises:
        NotAuthenticated: there is none.
    """
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip(" \t")
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated("send an access token: Authorization: Bearer <token>")
    return token


def verify(verifier: TokenVerifier, token: str, permission: Permission | None) -> Claims:
    """Return the claims of a token that is valid here and whose grant allows something (None: anything).

    Raises:
        NotAuthenticated, TokenExpiredError, InsufficientScope: it is not.
    """
    try:
        claims = verifier.verify(token)
    except TokenExpired:
        raise TokenExpiredError("the access token has expired: fetch a new one") from None
    except TokenInvalid:
        raise NotAuthenticated("the access token is not valid here") from None
    if permission is not None and not claims.allows(permission):
        raise InsufficientScope(f"the access token does not allow this ({permission})")
    return claims
