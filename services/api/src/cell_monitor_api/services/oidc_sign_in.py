"""Sign-in of people through an OpenID Connect provider: the authorization code flow with PKCE (OpenID Connect Core, section 3.1).

What binds the answer to the browser that asked is in ``sign_in_round_trips``. See docs/adr/0027.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

import msgspec
import structlog

from cell_monitor_api.exceptions import (
    NotAuthenticated,
    OidcSignInInvalid,
    OidcSignInRefused,
    OidcTokenExpired,
    OidcTokenUnverified,
    OidcUnavailable,
)
from cell_monitor_api.models.auth import SignInWay
from cell_monitor_api.services.id_tokens import (
    IdTokenInvalid,
    IdTokenOutOfTime,
    IdTokenRules,
    OidcVisitor,
    UnknownKeyId,
)
from cell_monitor_api.services.issuer_people import IssuerPeople
from cell_monitor_api.services.places import Places
from cell_monitor_api.services.sessions import Sessions, SignedIn
from cell_monitor_api.services.sign_in_round_trips import RoundTrip, RoundTrips
from cell_monitor_api.storage.oidc_provider import OidcProvider, ProviderMetadata, ProviderRefusal, ProviderSilence
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_core.telemetry.metrics import SIGN_INS

__all__ = ["OidcClient", "OidcSignIn", "ProviderAnswer"]

_log = structlog.get_logger(__name__)

_MAX_FINISHING: Final = 64
"""Codes that are redeemed at once, of one process."""
_RETRY_S: Final = 5


@dataclass(frozen=True, slots=True)
class OidcClient:
    """This service as a client of the provider.

    Attributes:
        redirect_uri: where the provider sends browsers back; never taken from a request.
        scope: that is asked for, ``openid`` among it.
        lifetime: of a sign-in: the provider is not asked again.
        rules: what id_tokens must say.
        label: name of the provider on the button; None for a general one.
    """

    redirect_uri: str
    scope: str
    lifetime: timedelta
    rules: IdTokenRules
    label: str | None


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """What the browser brings back from the provider; ``issuer`` as of RFC 9207, None where it does not say."""

    state: str | None
    code: str | None = field(repr=False)
    issuer: str | None


class OidcSignIn:
    """Begins sign-ins at the provider, and finishes them.

    Args:
        provider: the provider.
        client: this service at the provider.
        people: takes over what the provider says of people.
        sessions: of signed-in people.
        keyring: encrypts what the browser keeps until it returns.
        clock: seconds since the epoch.

    Attributes:
        way: how the page of the sign-in shows it.
    """

    def __init__(
        self,
        provider: OidcProvider,
        client: OidcClient,
        people: IssuerPeople,
        sessions: Sessions,
        keyring: KeyRing,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.way = SignInWay("oidc", client.label)
        self._provider = provider
        self._client = client
        self._people = people
        self._sessions = sessions
        self._round_trips = RoundTrips(keyring, "oidc_sign_in", clock=clock)
        self._finishing = Places(_MAX_FINISHING, _full)

    async def begin(self) -> tuple[str, str]:
        """Return the address of the provider to go to, and what the browser keeps until it returns.

        Raises:
            OidcUnavailable: the provider does not say where its sign-in page is.
        """
        try:
            metadata = await self._provider.metadata()
        except ProviderSilence as error:
            raise _unavailable(error) from None
        trip, kept = self._round_trips.begin()
        query = {
            "client_id": self._client.rules.client_id,
            "redirect_uri": self._client.redirect_uri,
            "response_type": "code",
            "scope": self._client.scope,
            "state": trip.state,
            "nonce": trip.nonce,
            "code_challenge": trip.challenge,
            "code_challenge_method": "S256",
        }
        if metadata.claims_parameter_supported:
            # Otherwise a provider that keeps to section 5.4 says them to its userinfo endpoint only.
            query["claims"] = self._claims()
        separator = "&" if "?" in metadata.authorization_endpoint else "?"
        return f"{metadata.authorization_endpoint}{separator}{urlencode(query)}", kept

    def _claims(self) -> str:
        rules = self._client.rules
        names = [name for name in (rules.name_claim, rules.groups_claim) if name is not None]
        return msgspec.json.encode({"id_token": dict.fromkeys(names)}).decode()

    async def finish(self, kept: str | None, answer: ProviderAnswer) -> SignedIn:
        """Redeem the code with which the provider sent a browser back, and begin a session.

        Args:
            kept: what ``begin`` gave to this browser.
            answer: what the browser brings.

        Raises:
            OidcSignInInvalid: this browser did not begin this sign-in, or too long ago.
            OidcSignInRefused: the provider refused, or the code is not good, or not any more.
            OidcTokenExpired: the id_token has expired, or is not valid yet.
            OidcTokenUnverified: the id_token proves nothing about this sign-in.
            OidcUnavailable: the provider does not answer, or too many people sign in at this moment.
            StoreUnavailable: PostgreSQL is.
        """
        try:
            with store_errors():
                signed_in = await self._finish(kept, answer)
        except (OidcSignInInvalid, OidcSignInRefused, OidcTokenExpired, OidcTokenUnverified) as error:
            SIGN_INS.labels("oidc", "refused").inc()
            _log.info("sign_in_refused", reason=error.error)
            raise
        SIGN_INS.labels("oidc", "ok").inc()
        return signed_in

    async def _finish(self, kept: str | None, answer: ProviderAnswer) -> SignedIn:
        trip = self._round_trips.returned(kept, answer.state)
        if trip is None:
            raise OidcSignInInvalid("this browser did not begin this sign-in, or too long ago: begin again")
        asked_at = time.monotonic()
        try:
            with self._finishing.one():
                visitor = await self._visitor(trip, answer)
        except ProviderSilence as error:
            raise _unavailable(error) from None
        except ProviderRefusal as refusal:
            # invalid_client: the client's id or secret here is not the provider's.
            _log.warning("oidc_sign_in_refused", reason=str(refusal))
            raise OidcSignInRefused("the provider does not accept this sign-in, or not any more: begin again") from None
        except IdTokenOutOfTime as error:
            _log.warning("oidc_token_refused", reason=str(error))
            raise OidcTokenExpired(
                "the provider's answer is out of time: begin again, and compare the clocks"
            ) from None
        except IdTokenInvalid as error:
            _log.warning("oidc_token_refused", reason=str(error))
            raise OidcTokenUnverified("the provider's answer cannot be verified: begin again") from None
        person_id = await self._people.update(
            visitor.subject, visitor.groups, asked_at=asked_at, display_name=visitor.name
        )
        generation = await self._sessions.generation_of(person_id)
        try:
            return await self._sessions.begin(
                person_id, way="oidc", generation=generation, lifetime=self._client.lifetime
            )
        except NotAuthenticated as error:
            raise OidcSignInRefused(str(error)) from None

    async def _visitor(self, trip: RoundTrip, answer: ProviderAnswer) -> OidcVisitor:
        metadata = await self._provider.metadata()
        expected = self._provider.issuer if metadata.authorization_response_iss_parameter_supported else None
        if answer.issuer not in {expected, self._provider.issuer}:
            # RFC 9207: another provider's answer would send its code to this one.
            raise ProviderRefusal("another issuer answered")
        if not answer.code:
            raise ProviderRefusal("no code")
        token = await self._provider.redeem(answer.code, self._client.redirect_uri, trip.verifier)
        try:
            return self._read(token, await self._provider.keys(), trip, metadata)
        except UnknownKeyId:
            # The provider has changed its keys since they were read.
            return self._read(token, await self._provider.keys(again=True), trip, metadata)

    def _read(
        self, token: str, keys: list[dict[str, object]], trip: RoundTrip, metadata: ProviderMetadata
    ) -> OidcVisitor:
        return self._client.rules.visitor_of(token, keys, trip.nonce, metadata.id_token_signing_alg_values_supported)


def _full() -> OidcUnavailable:
    SIGN_INS.labels("oidc", "rate_limited").inc()
    return OidcUnavailable("many people sign in at this moment: try again", retry_after=_RETRY_S)


def _unavailable(error: ProviderSilence) -> OidcUnavailable:
    _log.warning("oidc_provider_unavailable", reason=str(error))
    return OidcUnavailable("the sign-in service does not answer: try again", retry_after=_RETRY_S)
