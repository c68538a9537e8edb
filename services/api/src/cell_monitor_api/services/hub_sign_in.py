"""Sign-in of people through JupyterHub: OAuth 2.0's authorization code grant with PKCE (RFC 6749, RFC 7636).

What binds the answer to the browser that asked is in ``sign_in_round_trips``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

import structlog

from cell_monitor_api.exceptions import HubSignInInvalid, HubSignInRefused, HubUnavailable, NotAuthenticated
from cell_monitor_api.models.auth import SignInWay
from cell_monitor_api.services.hub_people import HubPeople
from cell_monitor_api.services.hub_requests import counted_request
from cell_monitor_api.services.hub_rules import HubVisitor, NotAVisitor, visitor_of
from cell_monitor_api.services.hub_sessions import HubSessions
from cell_monitor_api.services.places import Places
from cell_monitor_api.services.sessions import Sessions, SignedIn
from cell_monitor_api.services.sign_in_round_trips import RoundTrips
from cell_monitor_api.storage.hub_api import GrantedToken, HubApi, HubRefusal, HubSilence
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_core.telemetry.metrics import SIGN_INS

__all__ = ["HubClient", "HubSignIn"]

_log = structlog.get_logger(__name__)

_MAX_FINISHING: Final = 64
"""Codes that are redeemed at once, of one process."""
_RETRY_S: Final = 5


@dataclass(frozen=True, slots=True)
class HubClient:
    """This service as a client of the Hub.

    Attributes:
        authorize_url: the Hub's page that begins a sign-in, as browsers reach it.
        client_id: ``service-`` and the name of the service at the Hub.
        secret: the service's token at the Hub.
        redirect_uri: where the Hub sends browsers back; never taken from a request.
        scope: that the token of a user who may use this service carries.
    """

    authorize_url: str
    client_id: str
    secret: str = field(repr=False)
    redirect_uri: str
    scope: str


class HubSignIn:
    """Begins sign-ins at the Hub, and finishes them.

    Args:
        hub: the Hub's API.
        client: this service at the Hub.
        people: takes over what the Hub says of its users.
        sessions: of signed-in people.
        hub_sessions: asks the Hub again later.
        keyring: encrypts what the browser keeps until it returns.
        clock: seconds since the epoch.

    Attributes:
        way: how the page of the sign-in shows it.
    """

    way: Final = SignInWay("jupyterhub")

    def __init__(
        self,
        hub: HubApi,
        client: HubClient,
        people: HubPeople,
        sessions: Sessions,
        hub_sessions: HubSessions,
        keyring: KeyRing,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hub = hub
        self._client = client
        self._people = people
        self._sessions = sessions
        self._hub_sessions = hub_sessions
        self._round_trips = RoundTrips(keyring, "hub_sign_in", clock=clock)
        self._finishing = Places(_MAX_FINISHING, _full)

    def begin(self) -> tuple[str, str]:
        """Return the address of the Hub to go to, and what the browser keeps until it returns."""
        trip, kept = self._round_trips.begin()
        query = urlencode(
            {
                "client_id": self._client.client_id,
                "redirect_uri": self._client.redirect_uri,
                "response_type": "code",
                "state": trip.state,
                "code_challenge": trip.challenge,
                "code_challenge_method": "S256",
            }
        )
        return f"{self._client.authorize_url}?{query}", kept

    async def finish(self, kept: str | None, state: str | None, code: str | None) -> SignedIn:
        """Redeem the code with which the Hub sent a browser back, and begin a session.

        Args:
            kept: what ``begin`` gave to this browser.
            state: of the Hub's answer.
            code: of the Hub's answer; None if it refused.

        Raises:
            HubSignInInvalid: this browser did not begin this sign-in, or too long ago.
            HubSignInRefused: the Hub refused, or the code is not good, or not any more.
            HubUnavailable: the Hub does not answer, or too many people sign in at this moment.
            StoreUnavailable: PostgreSQL is.
        """
        try:
            with store_errors():
                signed_in = await self._finish(kept, state, code)
        except (HubSignInInvalid, HubSignInRefused):
            SIGN_INS.labels("hub", "refused").inc()
            _log.info("sign_in_refused")
            raise
        SIGN_INS.labels("hub", "ok").inc()
        return signed_in

    async def _finish(self, kept: str | None, state: str | None, code: str | None) -> SignedIn:
        trip = self._round_trips.returned(kept, state)
        if trip is None:
            raise HubSignInInvalid("this browser did not begin this sign-in, or too long ago: begin again")
        if not code:
            raise HubSignInRefused("JupyterHub did not allow the sign-in")
        with self._finishing.one():
            asked_at = time.monotonic()
            granted, visitor = await self._redeem(code, trip.verifier)
        person_id = await self._people.visit(visitor, asked_at=asked_at)
        generation = await self._sessions.generation_of(person_id)
        try:
            return await self._sessions.begin(
                person_id,
                way="hub",
                generation=generation,
                lifetime=timedelta(seconds=max(1, granted.expires_in)),
                with_it=lambda connection, digest: self._hub_sessions.add(
                    connection, digest, person_id, granted.access_token
                ),
            )
        except NotAuthenticated as error:
            raise HubSignInRefused(str(error)) from None

    async def _redeem(self, code: str, verifier: str) -> tuple[GrantedToken, HubVisitor]:
        try:
            with counted_request():
                granted = await self._hub.redeem(
                    {
                        "grant_type": "authorization_code",
                        "client_id": self._client.client_id,
                        "client_secret": self._client.secret,
                        "code": code,
                        "redirect_uri": self._client.redirect_uri,
                        "code_verifier": verifier,
                    }
                )
                visitor = visitor_of(await self._hub.owner_of(granted.access_token), self._client.scope)
        except HubRefusal as refusal:
            # invalid_client: the secret here is not the service's token at the Hub.
            _log.warning("hub_sign_in_refused", reason=str(refusal))
            raise HubSignInRefused("JupyterHub does not accept this sign-in, or not any more: begin again") from None
        except NotAVisitor as error:
            raise HubSignInRefused(str(error)) from None
        except HubSilence:
            raise HubUnavailable("JupyterHub does not answer: try again", retry_after=_RETRY_S) from None
        return granted, visitor


def _full() -> HubUnavailable:
    SIGN_INS.labels("hub", "rate_limited").inc()
    return HubUnavailable("many people sign in at this moment: try again", retry_after=_RETRY_S)
