"""Browser sign-ins: only the hash of the refresh cookie is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cell_monitor_core.storage.postgres.pool import Executor
from cell_monitor_core.storage.postgres.revocations import REVOKE_CHANGED, REVOKE_ENDED

__all__ = ["SignIn", "create", "credential_of", "get", "prune", "revoke", "revoke_person"]


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in that still holds; ``by_hub``: as long as JupyterHub confirms it, see ``hub_sessions``."""

    person_id: UUID
    created_at: datetime
    expires_at: datetime
    by_hub: bool


def credential_of(cookie_hash: bytes) -> str:
    """Return the name by which tokens state the sign-in that they came of: half of a hash of 256 random bits."""
    return f"session:{cookie_hash.hex()[:32]}"


async def create(executor: Executor, cookie_hash: bytes, person_id: UUID, expires_at: datetime) -> None:
    """Store a sign-in by the hash of its cookie."""
    await executor.execute(
        "INSERT INTO sign_ins (cookie_hash, person_id, expires_at) VALUES ($1, $2, $3)",
        cookie_hash,
        person_id,
        expires_at,
    )


async def get(executor: Executor, cookie_hash: bytes) -> SignIn | None:
    """Return a sign-in, None if it is unknown, revoked or over."""
    row = await executor.fetchrow(
        "SELECT person_id, created_at, expires_at, "
        "EXISTS (SELECT FROM hub_sessions h WHERE h.cookie_hash = s.cookie_hash) AS by_hub "
        "FROM sign_ins s WHERE cookie_hash = $1 AND expires_at > now()",
        cookie_hash,
    )
    return None if row is None else SignIn(**row)


async def revoke(executor: Executor, cookie_hash: bytes) -> bool:
    """End one sign-in and the tokens that came of it; return False if it was not there."""
    sql = f"""
        WITH ended AS (DELETE FROM sign_ins WHERE cookie_hash = $1 RETURNING true), {REVOKE_ENDED}
        SELECT true FROM ended
        """  # noqa: S608 - no values
    return bool(await executor.fetchval(sql, cookie_hash, credential_of(cookie_hash)))


async def revoke_person(executor: Executor, person_id: UUID) -> int:
    """End all of a person's sign-ins and tokens, as after a change of password; return how many sign-ins."""
    sql = f"""
        WITH changed AS (SELECT $1::uuid AS person_id), {REVOKE_CHANGED}
        DELETE FROM sign_ins WHERE person_id = $1 RETURNING 1
        """  # noqa: S608 - no values
    return len(await executor.fetch(sql, person_id))


async def prune(executor: Executor) -> int:
    """Delete sign-ins that are over; return how many."""
    return len(await executor.fetch("DELETE FROM sign_ins WHERE expires_at <= now() RETURNING 1"))
