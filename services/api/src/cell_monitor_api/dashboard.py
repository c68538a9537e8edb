"""The built dashboard, served at ``/`` from the API's own origin when a directory is set.

One origin means that the refresh cookie can be ``SameSite=Strict`` and that no CORS is needed. Any path without a file
gets ``index.html``, because the dashboard's routes exist only in the browser.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from cell_monitor_core.web.health import HEALTH_PATHS

__all__ = ["SECURITY_HEADERS", "DashboardFiles", "content_security_policy", "websocket_url"]

SECURITY_HEADERS: dict[str, str] = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

_HASHED_ASSETS = "assets/"
"""Vite writes the files whose names carry a hash of their content here: they never change."""

_NOT_PAGES = ("/api/", *sorted(HEALTH_PATHS))


def websocket_url(gateway_url: str) -> str:
    """Return the gateway's address with a WebSocket scheme; a path alone means the API's own origin."""
    if gateway_url.startswith("http://"):
        return "ws://" + gateway_url.removeprefix("http://")
    if gateway_url.startswith("https://"):
        return "wss://" + gateway_url.removeprefix("https://")
    return gateway_url


def content_security_policy(gateway_url: str) -> str:
    """Return the policy: everything from our own origin, no inline script, and the gateway's WebSocket."""
    parts = urlsplit(websocket_url(gateway_url))
    gateway = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            "manifest-src 'self'",
            f"connect-src 'self'{gateway}",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


class DashboardFiles:
    """ASGI application for every path that no route of the API has taken.

    Args:
        directory: the dashboard's build; must hold ``index.html``.
        gateway_url: what the page may open a WebSocket to.
        not_found: answers the paths that belong to the API.

    Raises:
        ValueError: the directory has no ``index.html``.
    """

    def __init__(self, directory: Path, *, gateway_url: str, not_found: ASGIApp) -> None:
        if not (directory / "index.html").is_file():
            raise ValueError(
                f"CELL_MONITOR_DASHBOARD_DIR {str(directory)!r} holds no index.html: build the dashboard first"
            )
        self._files = StaticFiles(directory=directory)
        self._index = directory / "index.html"
        self._not_found = not_found
        self._headers = {**SECURITY_HEADERS, "content-security-policy": content_security_policy(gateway_url)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"]
        if scope["type"] != "http" or (path + "/").startswith(_NOT_PAGES) or path.startswith("/api"):
            await self._not_found(scope, receive, send)
            return
        if scope["method"] not in {"GET", "HEAD"}:
            raise HTTPException(405, headers={"allow": "GET, HEAD"})
        response = await self._response(path.lstrip("/"), scope)
        response.headers.update(self._headers)
        await response(scope, receive, send)

    async def _response(self, path: str, scope: Scope) -> Response:
        relative = posixpath.normpath(path) if path else "index.html"
        try:
            # The page is always sent whole. A 304 goes by a file's time and size: in an image built reproducibly all
            # versions have the same, and the browser would keep the old page, which refers to scripts that no longer exist.
            response: Response = (
                FileResponse(self._index)
                if relative == "index.html"
                else await self._files.get_response(relative, scope)
            )
        except HTTPException as error:
            if error.status_code != 404 or path.startswith(_HASHED_ASSETS):
                # A missing asset must not come back as HTML with 200: the browser would keep it for a script.
                raise
            response = FileResponse(self._index)
            relative = "index.html"
        hashed = relative.startswith(_HASHED_ASSETS) and response.status_code in {200, 304}
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if hashed else "no-cache"
        return response
