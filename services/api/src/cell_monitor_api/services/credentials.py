"""Credentials that are exchanged for access tokens: one verifier for each scheme of the ``Authorization`` header.

Adding a scheme adds a class here or in a new module, as ``hub_credentials``, a ``Grant`` with its row in ``core.auth.grants``,
and the verifier to the list in ``context``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID, uuid5

from cell_monitor_api.exceptions import ApiKeyInvalid, InsufficientScope, NotFound
from cell_monitor_api.models.auth import JoinedAs
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.scopes import Audience, Scope
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import api_keys, people

__all__ = ["ApiKeyVerifier", "CredentialVerifier", "Proof", "TokenWish", "Word"]

_SERVICES: Final = UUID("5b1b1c1e-6b52-5c0a-9d7c-6f0a3b0a2f11")
"""Namespace of the subjects of keys that belong to nobody."""


@dataclass(frozen=True, slots=True)
class TokenWish:
    """What a token is asked for.

    Attributes:
        audience: the service that it is for.
        act_as: user name of another person whose it shall be.
        server: name of the Jupyter server that asks, by its own word.
    """

    audience: Audience
    act_as: str | None = None
    server: str | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What a credential proves.

    Attributes:
        subject: the person's id or, of a service, an id derived from its credential (a UUID of version 5).
        is_person: whether the subject is a person, who has memberships.
        scopes: of the credential; empty for grants that need none.
        is_admin: whether the holder may be an admin of the site, as far as the grant and the scopes allow it.
        credential: name of what was proven with, see ``Claims.cred``; empty where it is not revoked by itself.
        lifetime_s: seconds that the proof is good for; None where that is not limited.
        server: name of the Jupyter server that holds the credential; None where it is not known.
        only_course: the one course that the token may name; None for all of the subject's.
        generation: of the person's tokens, from the moment in which the credential was theirs and they were an admin; None
            where the token states nothing of a person but the roles, which are read later.
        expires_at: when the credential ends by itself; None where it does not.
        joined: as whom a joined computer sends; None for other credentials.
    """

    subject: UUID
    is_person: bool
    scopes: tuple[str, ...] = ()
    is_admin: bool = False
    credential: str = ""
    lifetime_s: int | None = None
    server: str | None = None
    only_course: str | None = None
    generation: int | None = None
    expires_at: datetime | None = None
    joined: JoinedAs | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """What others than PostgreSQL say of a credential.

    Attributes:
        said: equal where the same was said; empty where nobody else is asked.
        good_for_s: seconds for which it may be believed; None where that is not limited.
    """

    said: str = ""
    good_for_s: int | None = None


class CredentialVerifier(Protocol):
    """Verifies the credentials of one scheme.

    Attributes:
        scheme: first word of the ``Authorization`` header; case does not matter.
        grant: what tokens that are exchanged for such a credential are made by.
    """

    scheme: str
    grant: Grant

    async def ask(self, credential: str, wish: TokenWish) -> Word:
        """Ask others than PostgreSQL, where there are any; ``verify`` then goes by what they said.

        Raises:
            ClientRequestError: as ``verify``.
        """
        ...

    async def verify(self, credential: str, wish: TokenWish) -> Proof:
        """Return what a credential proves.

        Raises:
            ClientRequestError: it proves nothing, with status 401, or does not allow this token, with status 403.
        """
        ...


class ApiKeyVerifier:
    """``Authorization: ApiKey <key>``; see docs/adr/0009 for what such a token may do.

    Args:
        act_as: whether a key with ``people:act_as`` gets tokens of other people.
    """

    scheme = "ApiKey"
    grant = Grant.API_KEY

    def __init__(self, pool: Any, keyring: KeyRing, index: BlindIndex, *, act_as: bool = True) -> None:
        self._pool = pool
        self._allows_act_as = act_as
        self._keyring = keyring
        self._index = index

    async def ask(self, credential: str, wish: TokenWish) -> Word:  # noqa: ARG002
        """Nobody else knows the key."""
        return Word()

    async def verify(self, credential: str, wish: TokenWish) -> Proof:
        """Return the person that a key belongs to or acts as, or the service that it is.

        Raises:
            ApiKeyInvalid: the key is malformed, unknown, expired or revoked.
            InsufficientScope: the key may not act as others, or not for this audience.
            NotFound: nobody has exactly the user name of ``act_as``.
        """
        key = await api_keys.verify(self._pool, credential)
        if key is None:
            raise ApiKeyInvalid("send a valid API key: Authorization: ApiKey <key>")
        name = api_keys.credential_of(key.key_id)
        if wish.act_as is not None:
            person = await self._act_as(key, wish)
            return Proof(
                person.person_id,
                is_person=True,
                scopes=key.scopes,
                credential=name,
                generation=person.token_generation,
                expires_at=key.expires_at,
            )
        if key.person_id is None:
            return Proof(
                uuid5(_SERVICES, key.key_id),
                is_person=False,
                scopes=key.scopes,
                is_admin=True,
                credential=name,
                expires_at=key.expires_at,
            )
        owner = await people.get(self._pool, self._keyring, key.person_id)
        # The key goes with its person (ON DELETE CASCADE); here they went between two statements.
        if owner is None:
            raise ApiKeyInvalid("send a valid API key: Authorization: ApiKey <key>")
        return Proof(
            owner.person_id,
            is_person=True,
            scopes=key.scopes,
            is_admin=owner.is_admin,
            credential=name,
            generation=owner.token_generation,
            expires_at=key.expires_at,
        )

    async def _act_as(self, key: api_keys.ApiKey, wish: TokenWish) -> people.Person:
        assert wish.act_as is not None
        if not self._allows_act_as:
            # A reader of such a key could send as each student, while JupyterHub proves who each one is.
            raise InsufficientScope("no key acts as others here: CELL_MONITOR_API_ACT_AS_KEYS is off")
        if Scope.PEOPLE_ACT_AS not in key.scopes:
            raise InsufficientScope(f"the API key lacks the scope {Scope.PEOPLE_ACT_AS}")
        if wish.audience != Audience.INGEST:
            # Otherwise a person who can read a lab server's key could read as any instructor.
            raise InsufficientScope("with act_as a key gets tokens of the audience ingest only")
        # Exactly this name: somebody may have chosen one that looks like another person's.
        person = await people.find(self._pool, self._keyring, self._index, wish.act_as)
        if person is None:
            raise NotFound("nobody has exactly this user name: add them to a course first", loc=["body", "act_as"])
        return person
