"""Names and attributes of cookies, by where browsers reach the dashboard (RFC 6265bis, section 4.1.3: prefixes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from starlette.responses import Response

__all__ = ["CookieScope"]


@dataclass(frozen=True, slots=True)
class CookieScope:
    """Where cookies of this installation are sent to.

    Attributes:
        prefix: ``__Host-`` on an https origin of its own, ``__Secure-`` below a path that shares its origin with others,
            nothing on plain http: browsers refuse these prefixes there.
        path: of the pages and the API.
        secure: whether the cookie is sent over TLS only.
    """

    prefix: str
    path: str
    secure: bool

    @classmethod
    def of(cls, public_url: str) -> Self:
        """Return the scope of cookies for the dashboard's address."""
        parts = urlsplit(public_url)
        path = parts.path.rstrip("/") or "/"
        if parts.scheme != "https":
            return cls("", path, secure=False)
        return cls("__Host-" if path == "/" else "__Secure-", path, secure=True)

    def name(self, base: str) -> str:
        """Return the full name of a cookie."""
        return f"{self.prefix}{base}"

    def set(self, response: Response, base: str, value: str, *, max_age: int) -> None:
        """Set a cookie that scripts cannot read, and that comes along when another site sends the browser back here."""
        response.set_cookie(
            self.name(base), value, max_age=max_age, path=self.path, secure=self.secure, httponly=True, samesite="lax"
        )
