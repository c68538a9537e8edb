"""API keys: ``cm_<key id>_<secret>``, of which only the SHA-256 of the 256-bit secret is stored.

A secret of full entropy needs no slow hash: there is nothing to guess from a list.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from cell_monitor_core.auth.audit import SYSTEM, Actor, ActorKind, AuditAction
from cell_monitor_core.storage.postgres.audit import entries_from
from cell_monitor_core.storage.postgres.people import asking_admin
from cell_monitor_core.storage.postgres.pool import Executor
from cell_monitor_core.storage.postgres.revocations import REVOKE_ENDED

__all__ = ["ID_LENGTH", "MAX_DAYS", "ApiKey", "NoAdmin", "create", "credential_of", "list_all", "revoke", "verify"]

MAX_DAYS: Final = 730
"""How long a key may live: two years, so that one that is forgotten ends by itself."""

ID_LENGTH: Final = 16

_KEY: Final = re.compile(rf"cm_([0-9a-f]{{{ID_LENGTH}}})_([A-Za-z0-9_-]{{43}})")
_NOTE_USE: Final = f"""
WITH before AS (
    SELECT key_id, last_used_at FROM api_keys
    WHERE key_id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute') FOR NO KEY UPDATE
), used AS (
    UPDATE api_keys k SET last_used_at = now() FROM before b WHERE k.key_id = b.key_id
    RETURNING k.key_id, k.person_id, b.last_used_at AS before
)
INSERT INTO audit_entries (action, actor_kind, actor_id, actor_key_id, key_id)
SELECT '{AuditAction.API_KEY_USED}',
       CASE WHEN person_id IS NULL THEN '{ActorKind.KEY}' ELSE '{ActorKind.PERSON}' END, person_id, key_id, key_id
FROM used WHERE before IS NULL OR (before AT TIME ZONE 'UTC')::date < (now() AT TIME ZONE 'UTC')::date
"""  # noqa: S608 - no values
"""Notes the use of the key ``$1``; the first one of a day (UTC) is entered in the audit log."""
_COLUMNS: Final = "key_id, name, person_id, scopes, created_at, expires_at, revoked_at, last_used_at"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret; ``last_used_at`` is exact to a minute."""

    key_id: str
    name: str
    person_id: UUID | None
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


class NoAdmin(Exception):  # noqa: N818 - says what is the matter
    """Who asks as an admin of the site is none any more."""


def credential_of(key_id: str) -> str:
    """Return the name by which tokens state the key that they came of."""
    return f"key:{key_id}"


def _api_key(row: Any) -> ApiKey:
    return ApiKey(
        key_id=row["key_id"],
        name=row["name"],
        person_id=row["person_id"],
        scopes=tuple(row["scopes"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )


async def create(
    executor: Executor,
    *,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime,
    person_id: UUID | None = None,
    by: Actor = SYSTEM,
) -> tuple[ApiKey, str]:
    """Make a key; return it with its text, which cannot be had a second time.

    Args:
        executor: pool or connection.
        name: a name for people, to distinguish keys.
        scopes: of ``auth.scopes``.
        expires_at: when it stops working.
        person_id: whose identity it carries, None for a service.
        by: who makes it, an admin of the site or an operator.

    Raises:
        NoAdmin: they were an admin when the request began, and are none any more.
    """
    key_id = secrets.token_hex(ID_LENGTH // 2)
    secret = secrets.token_urlsafe(32)
    # Without the name: it may be a person's, and entries stay when that person is erased.
    entry = entries_from(
        "made",
        f"'{AuditAction.API_KEY_CREATED}'",
        7,
        subject="person_id",
        key="key_id",
        details="jsonb_build_object('scopes', to_jsonb(scopes))",
    )
    row = await executor.fetchrow(
        f"WITH {asking_admin(7)}, made AS ("  # noqa: S608
        f"INSERT INTO api_keys (key_id, key_hash, name, person_id, scopes, expires_at) "
        f"SELECT $1, $2, $3, $4, $5, $6 FROM asking RETURNING {_COLUMNS}), recorded AS ({entry}) SELECT * FROM made",
        key_id,
        _hash(secret),
        name,
        person_id,
        list(scopes),
        expires_at,
        *by.columns,
    )
    if row is None:
        raise NoAdmin
    return _api_key(row), f"cm_{key_id}_{secret}"


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def verify(executor: Executor, presented: str) -> ApiKey | None:
    """Return the key whose text was presented, None if it is unknown, wrong, revoked or over; note its use."""
    match = _KEY.fullmatch(presented)
    if match is None:
        return None
    row = await executor.fetchrow(
        f"SELECT {_COLUMNS}, key_hash, "  # noqa: S608
        "last_used_at IS NULL OR last_used_at < now() - interval '1 minute' AS stale "
        "FROM api_keys WHERE key_id = $1 AND revoked_at IS NULL AND expires_at > now()",
        match[1],
    )
    # Compared even if no key was found, so that the response time reveals nothing.
    expected = row["key_hash"] if row is not None else bytes(32)
    if not hmac.compare_digest(expected, _hash(match[2])) or row is None:
        return None
    if row["stale"]:
        # At most one write a minute, however busy the key; the second of two racing writers finds nothing to do.
        await executor.execute(_NOTE_USE, match[1])
    return _api_key(row)


async def list_all(executor: Executor) -> list[ApiKey]:
    """Return all keys, newest first, those revoked or over included."""
    rows = await executor.fetch(f"SELECT {_COLUMNS} FROM api_keys ORDER BY created_at DESC, key_id")  # noqa: S608
    return [_api_key(row) for row in rows]


async def revoke(executor: Executor, key_id: str, *, by: Actor = SYSTEM) -> bool:
    """Make a key and its tokens stop working; return False if there is none of that id or it was revoked before."""
    entry = entries_from("ended", f"'{AuditAction.API_KEY_REVOKED}'", 3, subject="person_id", key="key_id")
    sql = f"""
        WITH ended AS (
            UPDATE api_keys SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL RETURNING key_id, person_id
        ), {REVOKE_ENDED}, recorded AS ({entry})
        SELECT true FROM ended
        """  # noqa: S608 - no values
    return bool(await executor.fetchval(sql, key_id, credential_of(key_id), *by.columns))
