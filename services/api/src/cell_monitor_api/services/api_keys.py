"""API keys: made, listed and revoked by admins of the site."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from cell_monitor_api.exceptions import InvalidParameter, NotFound
from cell_monitor_api.models.api_keys import ApiKeyAnswer, ApiKeyList, NewApiKeyAnswer
from cell_monitor_core.auth.audit import Actor
from cell_monitor_core.auth.scopes import ScopeError, parse_scopes
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import api_keys, people
from cell_monitor_core.timestamps import to_text

__all__ = ["ApiKeys"]

_log = structlog.get_logger(__name__)


def _answer(key: api_keys.ApiKey, username: str | None) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "person_id": None if key.person_id is None else str(key.person_id),
        "username": username,
        "scopes": list(key.scopes),
        "created_at": to_text(key.created_at),
        "expires_at": to_text(key.expires_at),
        "revoked_at": to_text(key.revoked_at),
        "last_used_at": to_text(key.last_used_at),
    }


class ApiKeys:
    """Manages keys."""

    def __init__(self, pool: Any, keyring: KeyRing, index: BlindIndex) -> None:
        self._pool = pool
        self._keyring = keyring
        self._index = index

    async def create(
        self, *, name: str, scopes: Sequence[str], lifetime: timedelta, username: str | None, by: Actor
    ) -> NewApiKeyAnswer:
        """Make a key.

        Raises:
            InvalidParameter: a scope that does not exist.
            NotFound: nobody has the user name.
        """
        try:
            checked = parse_scopes(scopes)
        except ScopeError as error:
            raise InvalidParameter(str(error), loc=["body", "scopes"]) from None
        person = None
        if username is not None:
            person = await people.find(self._pool, self._keyring, self._index, username)
            if person is None:
                raise NotFound("nobody has exactly this user name", loc=["body", "username"])
        key, text = await api_keys.create(
            self._pool,
            name=name,
            scopes=checked,
            expires_at=datetime.now(UTC) + lifetime,
            person_id=None if person is None else person.person_id,
            by=by,
        )
        _log.info("api_key_created", key_id=key.key_id, scopes=list(key.scopes))
        return NewApiKeyAnswer(**_answer(key, None if person is None else person.username), key=text)

    async def list_all(self) -> ApiKeyList:
        """Return all keys without their secrets."""
        found = await api_keys.list_all(self._pool)
        owners = {key.person_id for key in found if key.person_id is not None}
        names = await people.names_of(self._pool, self._keyring, owners)
        usernames = {None: None} | {person_id: name.username for person_id, name in names.items()}
        return ApiKeyList([ApiKeyAnswer(**_answer(key, usernames.get(key.person_id))) for key in found])

    async def revoke(self, key_id: str, *, by: Actor) -> None:
        """Make a key stop working; tokens made of it end within seconds.

        Raises:
            NotFound: there is none of that id that still works.
        """
        if not await api_keys.revoke(self._pool, key_id, by=by):
            raise NotFound("there is no such API key, or it was revoked before")
        _log.info("api_key_revoked", key_id=key_id)
