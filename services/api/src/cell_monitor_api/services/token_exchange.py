"""Credentials are exchanged for short access tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cell_monitor_api.exceptions import InsufficientScope, NotAuthenticated
from cell_monitor_api.models.auth import TokenAnswer
from cell_monitor_api.services.credentials import CredentialVerifier, TokenWish
from cell_monitor_api.services.signing import courses_that_fit
from cell_monitor_core.auth.grants import GRANTS, allowed_by
from cell_monitor_core.auth.roles import Permission
from cell_monitor_core.auth.scopes import Audience, Scope
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.storage.postgres import memberships, revocations
from cell_monitor_core.telemetry.metrics import SIGN_INS
from cell_monitor_core.web.errors import ClientRequestError

__all__ = ["TokenExchange"]

_MAX_CREDENTIAL: Final = 500

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
    """

    def __init__(self, pool: Any, issuer: TokenIssuer, verifiers: Sequence[CredentialVerifier]) -> None:
        self._pool = pool
        self._issuer = issuer
        self._verifiers = {verifier.scheme.lower(): verifier for verifier in verifiers}

    async def exchange(self, authorization: str | None, wish: TokenWish) -> TokenAnswer:
        """Return the token that is wished for.

        Raises:
            NotAuthenticated: no credential, or one of a scheme that is not accepted.
            InsufficientScope: the credential allows nothing at the audience.
            ClientRequestError: the credential's verifier refuses it.
        """
        scheme, _, credential = (authorization or "").strip(" \t").partition(" ")
        verifier = self._verifiers.get(scheme.lower())
        if verifier is None:
            known = " or ".join(f"Authorization: {each.scheme} <credential>" for each in self._verifiers.values())
            raise NotAuthenticated(f"send {known}")
        grant = verifier.grant
        try:
            proof = await verifier.verify(credential.strip(" \t")[:_MAX_CREDENTIAL], wish)
        except ClientRequestError as error:
            # Where nobody could be asked, nothing is known of the credential.
            if error.status_code < 500:
                SIGN_INS.labels(grant, "refused" if error.status_code == 401 else "ok").inc()
            raise
        SIGN_INS.labels(grant, "ok").inc()
        carried = tuple(scope for scope in _USEFUL[wish.audience] if scope in proof.scopes)
        permissions = allowed_by(grant, carried)
        if wish.audience not in GRANTS[grant].audiences or not permissions:
            raise InsufficientScope(f"this credential allows nothing at the audience {wish.audience}")
        generation = proof.generation
        if generation is None and proof.is_person:
            # Before the roles: one that is lost in between is stated by a token that is revoked already.
            generation = await revocations.generation_of(self._pool, proof.subject)
        roles = await memberships.roles_of(self._pool, proof.subject) if proof.is_person else {}
        if proof.only_course is not None:
            roles = {course_id: role for course_id, role in roles.items() if course_id == proof.only_course}
        token, expires_in = self._issuer.issue(
            grant=grant,
            person_id=proof.subject,
            audience=(wish.audience,),
            courses=courses_that_fit(roles),
            scopes=carried,
            admin=proof.is_admin and Permission.ADMINISTER in permissions,
            generation=generation or 0,
            credential=proof.credential,
            lifetime=proof.lifetime_s,
            server=proof.server,
        )
        return TokenAnswer(token, expires_in)
