"""API keys: made, listed and revoked by admins of the site and operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from cell_monitor_core.administration.refusals import NotPermitted, Unknown, Unusable, require_readable
from cell_monitor_core.auth.audit import Actor
from cell_monitor_core.auth.scopes import ScopeError, parse_scopes
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import api_keys, people
from cell_monitor_core.storage.postgres.api_keys import ApiKey

__all__ = ["ApiKeys", "ListedKey"]


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key without its secret.

    Attributes:
        username: of the person whose identity it carries, None for a service.
    """

    key: ApiKey
    username: str | None


class ApiKeys:
    """Manages keys.

    Args:
        executor: PostgreSQL.
        keyring: decrypts names.
        index: finds people by their names.
    """

    def __init__(self, executor: Any, keyring: KeyRing, index: BlindIndex) -> None:
        self._executor = executor
        self._keyring = keyring
        self._index = index

    async def create(
        self,
        *,
        name: str,
        scopes: Sequence[str],
        lifetime: timedelta,
        owner: str | UUID | None = None,
        by: Actor,
    ) -> tuple[ListedKey, str]:
        """Make a key; return it with its text, which cannot be had a second time.

        Args:
            name: a name for people, to distinguish keys.
            scopes: of ``auth.scopes``; each is stored once.
            lifetime: how long the key works, ``MAX_DAYS`` at most.
            owner: whose identity it carries, None for a service: an id, or a user name of this installation, spelled
                exactly.
            by: who makes it: an admin of the site, or an operator.

        Raises:
            NotPermitted: they are no admin any more.
            Unusable: a scope that does not exist, a lifetime that is not within the limits, or a name that nobody can read.
            Unknown: nobody has the user name or id.
        """
        require_readable(name, field="name")
        try:
            checked = parse_scopes(scopes)
        except ScopeError as error:
            raise Unusable(str(error), field=["scopes"]) from None
        if not timedelta() < lifetime <= timedelta(days=api_keys.MAX_DAYS):
            raise Unusable(f"a key works for {api_keys.MAX_DAYS} days at most", field=["expires_in_days"])
        person = None if owner is None else await self._person(owner)
        try:
            key, text = await api_keys.create(
                self._executor,
                name=name,
                scopes=checked,
                expires_at=datetime.now(UTC) + lifetime,
                person_id=None if person is None else person.person_id,
                by=by,
            )
        except api_keys.NoAdmin:
            raise NotPermitted("only an admin of the site may do this") from None
        return ListedKey(key, None if person is None else person.username), text

    async def list_all(self) -> list[ListedKey]:
        """Return all keys, newest first, those revoked or over included."""
        found = await api_keys.list_all(self._executor)
        owners = {key.person_id for key in found if key.person_id is not None}
        names = await people.names_of(self._executor, self._keyring, owners)
        usernames = {None: None} | {person_id: name.username for person_id, name in names.items()}
        return [ListedKey(key, usernames.get(key.person_id)) for key in found]

    async def usable(self, key_id: str) -> ApiKey:
        """Return the key of an id that ``revoke`` revokes.

        Raises:
            Unknown: there is none of that id, or it was revoked before.
        """
        for key in await api_keys.list_all(self._executor):
            if key.key_id == key_id and key.revoked_at is None:
                return key
        raise Unknown("there is no such API key, or it was revoked before")

    async def revoke(self, key_id: str, *, by: Actor) -> None:
        """Make a key stop working; tokens made of it end within seconds.

        Raises:
            Unknown: there is none of that id, or it was revoked before.
        """
        if not await api_keys.revoke(self._executor, key_id, by=by):
            raise Unknown("there is no such API key, or it was revoked before")

    async def _person(self, owner: str | UUID) -> people.Person:
        if isinstance(owner, UUID):
            person = await people.get(self._executor, self._keyring, owner)
        else:
            person = await people.find(self._executor, self._keyring, self._index, owner)
        if person is None:
            raise Unknown("nobody has exactly this user name", field=["username"])
        return person
