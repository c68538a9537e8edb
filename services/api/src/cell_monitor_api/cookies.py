"""Names and attributes of all cookies, by where browsers reach the dashboard (RFC 6265bis, section 4.1.3: prefixes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["CookieScope"]

_USED_BELOW: Final = "/api/v1/auth"
"""All cookies are for routes below this path."""


@dataclass(frozen=True, slots=True)
class CookieScope:
    """Where cookies of this installation are sent to.

    Attributes:
        prefix: ``__Host-`` on an https origin of its own, ``__Secure-`` below a path that shares its origin with others,
            nothing on plain http: browsers refuse these prefixes there.
        path: to which the cookies are sent: all with ``__Host-``, as its rule demands; the shared path; on plain http only the
            routes that need them, because programs at other ports of the same host receive them, too.
        secure: whether cookies are sent over TLS only, whatever a request says.
    """

    prefix: str
    path: str
    secure: bool

    @classmethod
    def of(cls, public_url: str | None) -> Self:
        """Return the scope of cookies for the dashboard's address; without one it may be plain http at any host."""
        parts = urlsplit(public_url or "http://")
        path = parts.path.rstrip("/")
        if parts.scheme != "https":
            return cls("", f"{path}{_USED_BELOW}", secure=False)
        return cls("__Secure-" if path else "__Host-", path or "/", secure=True)

    def name(self, base: str) -> str:
        """Return the full name of a cookie."""
        return f"{self.prefix}{base}"

    def read(self, request: Request, base: str) -> str | None:
        """Return what a browser sent of a cookie."""
        return request.cookies.get(self.name(base))

    def set(
        self,
        response: Response,
        base: str,
        value: str,
        *,
        max_age: int,
        same_site: Literal["lax", "strict"] = "lax",
        over_tls: bool = False,
    ) -> None:
        """Set a cookie that scripts cannot read.

        Args:
            response: takes it.
            base: its name without the prefix.
            value: its value.
            max_age: seconds for which a browser keeps it; 0 removes it.
            same_site: ``lax`` where it must come along when another site sends the browser back here.
            over_tls: whether the request came over TLS, as the server or a believed proxy says.
        """
        response.set_cookie(
            self.name(base),
            value,
            max_age=max_age,
            path=self.path,
            secure=self.secure or over_tls,
            httponly=True,
            samesite=same_site,
        )
