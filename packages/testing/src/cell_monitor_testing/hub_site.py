"""A JupyterHub with an API that asks it whose tokens are."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import Final, Self, TypeVar
from uuid import UUID

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from cell_monitor_testing.api_site import ApiSite
from cell_monitor_testing.jupyter_hub import HubProcess

__all__ = ["HubSite", "LivePage"]

T = TypeVar("T")

_ISSUER: Final = "jupyterhub"
_SUBPROTOCOL: Final = Subprotocol("cell-monitor.v1")


class LivePage:
    """The connection of an open page of a course, held by a thread."""

    def __init__(self, gateway: str, token: str, course_id: str) -> None:
        self._gateway = gateway
        self._token = token
        self._channel = f"course:{course_id}"
        self._subscribed = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._socket: ClientConnection | None = None
        self.close_code: int | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._socket is not None:
            self._socket.close()
        self._thread.join(30)

    def subscribed(self) -> bool:
        """Return whether the course is followed."""
        return self._subscribed.is_set()

    def closed(self) -> bool:
        """Return whether the gateway has closed the connection."""
        return self.close_code is not None

    def _follow(self) -> None:
        with connect(self._gateway, subprotocols=[_SUBPROTOCOL], proxy=None) as socket:
            self._socket = socket
            socket.send(json.dumps({"type": "connect", "id": 1, "token": self._token}))
            socket.send(json.dumps({"type": "subscribe", "id": 2, "channel": self._channel}))
            try:
                while True:
                    if json.loads(socket.recv())["type"] == "subscribed":
                        self._subscribed.set()
            except ConnectionClosed as closed:
                self.close_code = closed.rcvd.code if closed.rcvd is not None else 1006


@dataclass(kw_only=True)
class HubSite(ApiSite):
    """A Hub, an API that asks it with its database, and a gateway."""

    hub: HubProcess
    gateway: str

    def exchange(
        self, token: str, audience: str = "ingest", *, scheme: str = "JupyterHub", **wish: str
    ) -> httpx.Response:
        """Ask the API for a token in exchange for a credential."""
        return httpx.post(
            f"{self.api}/api/v1/auth/token",
            json={"audience": audience, **wish},
            headers={"Authorization": f"{scheme} {token}"},
            timeout=30,
            trust_env=False,
        )

    def sign_in(self, browser: httpx.Client) -> httpx.Response:
        """Sign a browser in with the Hub, by the button of the page; return the answer that sends it to the dashboard."""
        answer = browser.get(f"{self.api}/api/v1/auth/hub/start", follow_redirects=False)
        while answer.is_redirect and not answer.headers["location"].startswith(f"{self.api}/#"):
            if answer.headers["location"] == f"{self.api}/":
                return answer
            answer = browser.get(str(answer.url.join(answer.headers["location"])), follow_redirects=False)
        return answer

    def live(self, token: str, course_id: str) -> LivePage:
        """Return the connection of a page that follows a course; use it as ``with``."""
        return LivePage(self.gateway, token, course_id)

    def person(self, subject: str, issuer: str = _ISSUER) -> UUID | None:
        """Return the person of an identity."""
        return self.person_of(issuer, subject)
