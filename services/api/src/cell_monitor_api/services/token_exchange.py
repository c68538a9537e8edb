"""API keys are traded for short tokens; see docs/adr/0009 for what such a token may do."""

from __future__ import annotations

import re
from typing import Any, Final
from uuid import UUID, uuid5

from cell_monitor_api.exceptions import ApiKeyInvalid, InsufficientScope, NotFound
from cell_monitor_api.models.auth import TokenAnswer
from cell_monitor_api.services.signing import courses_that_fit
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.scopes import Scope
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import api_keys, memberships, people
from cell_monitor_core.telemetry.metrics import SIGN_INS

__all__ = ["TokenExchange"]

_SERVICES: Final = UUID("5b1b1c1e-6b52-5c0a-9d7c-6f0a3b0a2f11")
"""Namespace of the subjects of keys that belong to nobody."""

_USEFUL: Final[dict[str, tuple[str, ...]]] = {
    "ingest": (Scope.EVENTS_WRITE, Scope.TEST_WRITE),
    "api": (Scope.ROSTER_WRITE, Scope.COURSES_READ, Scope.ADMIN),
    "gateway": (Scope.TEST_WRITE, Scope.COURSES_READ, Scope.ADMIN),
}
"""Scopes that mean something to an audience; a token carries no others."""

_SCHEME: Final = re.compile(r"apikey +(\S{1,200})", re.IGNORECASE)


class TokenExchange:
    """Issues tokens for API keys."""

    def __init__(self, pool: Any, keyring: KeyRing, index: BlindIndex, issuer: TokenIssuer) -> None:
        self._pool = pool
        self._keyring = keyring
        self._index = index
        self._issuer = issuer

    async def exchange(self, authorization: str | None, audience: str, act_as: str | None) -> TokenAnswer:
        """Return a token for an audience.

        Raises:
            ApiKeyInvalid: no key, or one that is not valid.
            InsufficientScope: the key has no scope for the audience, or may not act as others.
            NotFound: nobody has the user name of ``act_as``.
        """
        match = _SCHEME.fullmatch((authorization or "").strip(" \t"))
        key = None if match is None else await api_keys.verify(self._pool, match[1])
        SIGN_INS.labels("api_key", "refused" if key is None else "ok").inc()
        if key is None:
            raise ApiKeyInvalid("send a valid API key: Authorization: ApiKey <key>")
        carried = tuple(scope for scope in _USEFUL[audience] if scope in key.scopes)
        person: people.Person | None = None
        if act_as is not None:
            person = await self._act_as(key, audience, act_as)
        elif key.person_id is not None:
            person = await people.get(self._pool, self._keyring, key.person_id)
        if not carried:
            raise InsufficientScope(f"the API key has no scope for the audience {audience}")
        if person is None:
            subject, roles, admin = uuid5(_SERVICES, key.key_id), {}, Scope.ADMIN in carried
        else:
            subject = person.person_id
            roles = await memberships.roles_of(self._pool, person.person_id)
            admin = act_as is None and person.is_admin and Scope.ADMIN in carried
        token, expires_in = self._issuer.issue(
            grant=Grant.API_KEY,
            person_id=subject,
            audience=(audience,),
            courses=courses_that_fit(roles),
            scopes=carried,
            admin=admin,
        )
        return TokenAnswer(token, expires_in)

    async def _act_as(self, key: api_keys.ApiKey, audience: str, username: str) -> people.Person:
        if Scope.PEOPLE_ACT_AS not in key.scopes:
            raise InsufficientScope(f"the API key lacks the scope {Scope.PEOPLE_ACT_AS}")
        if audience != "ingest":
            # Whoever reads a lab server's key could otherwise read as any instructor.
            raise InsufficientScope("with act_as a key gets tokens of the audience ingest only")
        person = await people.find(self._pool, self._keyring, self._index, username)
        if person is None:
            raise NotFound("nobody has this user name: add them to a course first", loc=["body", "act_as"])
        return person
