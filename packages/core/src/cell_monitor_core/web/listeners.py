"""Listeners of one process: each port answers the requests that its clients may send, and no others.

A network policy or a proxy in front bounds who reaches a port, not what is asked for there. With ports of their own,
students' servers reach no sign-in page, and nobody outside reaches probes and metrics, whatever a proxy forwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from cell_monitor_core.web.errors import ClientRequestError, error_response
from cell_monitor_core.web.health import HEALTH_PATHS

__all__ = ["Listeners", "OnlyPaths", "inside_of", "outside_of"]


class Listeners:
    """ASGI application that hands a request to the application of the port at which it arrived.

    Args:
        app: serves all other ports, and the lifespan.
        by_port: the application of each other port. The server must name its port in the scope, as uvicorn does.
    """

    def __init__(self, app: ASGIApp, by_port: Mapping[int, ASGIApp]) -> None:
        self.app: Final = app
        self._by_port = dict(by_port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, connection or lifespan."""
        server = scope.get("server")
        app = self.app if server is None else self._by_port.get(server[1], self.app)
        await app(scope, receive, send)


class OnlyPaths:
    """ASGI application of which only some paths exist: others answer 404, and refuse a WebSocket.

    Args:
        app: serves the paths that exist, and the lifespan.
        allows: whether a path exists.
    """

    def __init__(self, app: ASGIApp, allows: Callable[[str], bool]) -> None:
        self._app = app
        self._allows = allows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, connection or lifespan."""
        if scope["type"] == "lifespan" or self._allows(scope["path"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            # Before it was accepted: the server answers the handshake with 403.
            await send({"type": "websocket.close"})
        else:
            status, headers, body = error_response(_NotServedError("this path is not served at this port"))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})


class _NotServedError(ClientRequestError):
    error = "not_found"
    status_code = 404


def inside_of(app: ASGIApp) -> OnlyPaths:
    """Return what a listener for the internal network serves: an application's probes and metrics."""
    return OnlyPaths(app, HEALTH_PATHS.__contains__)


def outside_of(app: ASGIApp) -> OnlyPaths:
    """Return what the other listeners of an application with such a listener serve: all else."""
    return OnlyPaths(app, lambda path: path not in HEALTH_PATHS)
