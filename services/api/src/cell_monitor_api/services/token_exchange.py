"""Credentials are exchanged for short access tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

import msgspec
import structlog

from cell_monitor_api.exceptions import InsufficientScope, NotAuthenticated
from cell_monitor_api.models.auth import ExchangedToken
from cell_monitor_api.services.credentials import CredentialVerifier, TokenWish, Word
from cell_monitor_api.services.known_senders import KnownSenders, Standing
from cell_monitor_api.services.signing import courses_that_fit
from cell_monitor_core.auth.grants import GRANTS, allowed_by
from cell_monitor_core.auth.roles import Permission
from cell_monitor_core.auth.scopes import Audience, Scope
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.storage.ports import PostgresUnavailable
from cell_monitor_core.storage.postgres import memberships, revocations
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_core.telemetry.metrics import SIGN_INS
from cell_monitor_core.web.errors import ClientRequestError

__all__ = ["TokenExchange"]

_log = structlog.get_logger(__name__)

_MAX_CREDENTIAL: Final = 500
_BUDGET_S: Final = 1.0
"""So long PostgreSQL is waited for where the sender is known."""
_PAUSE_S: Final = 5.0
"""So long it is not asked about known senders after it did not answer."""

_USEFUL: Final[dict[Audience, tuple[Scope, ...]]] = {
    Audience.INGEST: (Scope.EVENTS_WRITE, Scope.TEST_WRITE),
    Audience.API: (Scope.ROSTER_WRITE, Scope.COURSES_READ, Scope.ADMIN),
    Audience.GATEWAY: (Scope.TEST_WRITE, Scope.COURSES_READ, Scope.ADMIN),
}
"""Scopes that mean something to an audience; a token carries no others."""


class TokenExchange:
    """Issues tokens for credentials.

    Args:
        pool: PostgreSQL.
        issuer: signs the tokens.
        verifiers: one for each scheme of the ``Authorization`` header that is accepted.
        known: the senders whose tokens are renewed while PostgreSQL does not answer.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        pool: Any,
        issuer: TokenIssuer,
        verifiers: Sequence[CredentialVerifier],
        known: KnownSenders,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._pool = pool
        self._issuer = issuer
        self._verifiers = {verifier.scheme.lower(): verifier for verifier in verifiers}
        self._known = known
        self._clock = clock
        self._paused_until = float("-inf")

    async def exchange(self, authorization: str | None, wish: TokenWish) -> ExchangedToken:
        """Return the token that is wished for.

        Raises:
            NotAuthenticated: no credential, or one of a scheme that is not accepted.
            InsufficientScope: the credential allows nothing at the audience.
            ClientRequestError: the credential's verifier refuses it.
            PostgresUnavailable: PostgreSQL does not answer, and the sender is not known.
        """
        scheme, _, credential = (authorization or "").strip(" \t").partition(" ")
        verifier = self._verifiers.get(scheme.lower())
        if verifier is None:
            known = " or ".join(f"Authorization: {each.scheme} <credential>" for each in self._verifiers.values())
            raise NotAuthenticated(f"send {known}")
        credential = credential.strip(" \t")[:_MAX_CREDENTIAL]
        try:
            standing, lifetime_s = await self._standing(verifier, credential, wish)
        except ClientRequestError as error:
            # Where nobody could be asked, nothing is known of the credential.
            if error.status_code < 500:
                SIGN_INS.labels(verifier.grant, "refused" if error.status_code == 401 else "ok").inc()
            raise
        SIGN_INS.labels(verifier.grant, "ok").inc()
        return self._token(verifier, wish, standing, lifetime_s)

    async def _standing(
        self, verifier: CredentialVerifier, credential: str, wish: TokenWish
    ) -> tuple[Standing, int | None]:
        """Return what the token may state, and for how long."""
        if wish.audience != Audience.INGEST:
            confirmed = await self._confirm(verifier, credential, wish, Word())
            return confirmed, confirmed.proof.lifetime_s
        word = await verifier.ask(credential, wish)
        name = self._known.name(verifier.scheme, credential, wish)
        known = self._known_as(name, word)
        if known is not None and self._clock() < self._paused_until:
            return known
        asked_at = self._clock()
        # A task of its own: a query that is cancelled waits for a server that may not answer, a known sender does not.
        asking = asyncio.create_task(self._confirm(verifier, credential, wish, word), name="token-exchange")
        try:
            await asyncio.wait((asking,), timeout=_BUDGET_S if known is not None else None)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        try:
            if not asking.done():
                asking.cancel()
                asking.add_done_callback(_retrieve)
                raise PostgresUnavailable("PostgreSQL: no answer in time")
            confirmed = asking.result()
        except PostgresUnavailable as error:
            # Again: the sender may have been revoked meanwhile.
            known = self._known_as(name, word)
            if known is None:
                raise
            self._paused_until = self._clock() + _PAUSE_S
            _log.warning("token_renewed_without_postgresql", reason=str(error))
            return known
        except ClientRequestError:
            self._known.forget(name)
            raise
        self._known.remember(name, confirmed, asked_at)
        return confirmed, confirmed.proof.lifetime_s

    def _known_as(self, name: bytes, word: Word) -> tuple[Standing, int] | None:
        """Return what is known of a sender of whom others say now what they said then."""
        found = self._known.find(name)
        if found is None or found[0].word.said != word.said:
            return None
        standing, lifetime_s = found
        return standing, lifetime_s if word.good_for_s is None else min(lifetime_s, word.good_for_s)

    async def _confirm(self, verifier: CredentialVerifier, credential: str, wish: TokenWish, word: Word) -> Standing:
        with store_errors():
            proof = await verifier.verify(credential, wish)
            generation = proof.generation
            if generation is None and proof.is_person:
                # Before the roles: one that is lost in between is stated by a token that is revoked already.
                generation = await revocations.generation_of(self._pool, proof.subject)
            roles = await memberships.roles_of(self._pool, proof.subject) if proof.is_person else {}
        if proof.only_course is not None:
            roles = {course_id: role for course_id, role in roles.items() if course_id == proof.only_course}
        return Standing(proof, roles, generation or 0, word)

    def _token(
        self, verifier: CredentialVerifier, wish: TokenWish, standing: Standing, lifetime_s: int | None
    ) -> ExchangedToken:
        grant, proof = verifier.grant, standing.proof
        carried = tuple(scope for scope in _USEFUL[wish.audience] if scope in proof.scopes)
        permissions = allowed_by(grant, carried)
        if wish.audience not in GRANTS[grant].audiences or not permissions:
            raise InsufficientScope(f"this credential allows nothing at the audience {wish.audience}")
        token, expires_in = self._issuer.issue(
            grant=grant,
            person_id=proof.subject,
            audience=(wish.audience,),
            courses=courses_that_fit(standing.roles),
            scopes=carried,
            admin=proof.is_admin and Permission.ADMINISTER in permissions,
            generation=standing.generation,
            credential=proof.credential,
            lifetime=lifetime_s,
            server=proof.server,
        )
        return ExchangedToken(token, expires_in, joined=msgspec.UNSET if proof.joined is None else proof.joined)


def _retrieve(asking: asyncio.Task[Standing]) -> None:
    """Take note of how a task ended that nobody waits for."""
    if not asking.cancelled():
        asking.exception()
