"""Browser sign-ins: only the hash of the refresh cookie is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["SignIn", "create", "get", "prune", "revoke", "revoke_person"]


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in that still holds."""

    person_id: UUID
    created_at: datetime
    expires_at: datetime


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
        "SELECT person_id, created_at, expires_at FROM sign_ins WHERE cookie_hash = $1 AND expires_at > now()",
        cookie_hash,
    )
    return None if row is None else SignIn(**row)


async def revoke(executor: Executor, cookie_hash: bytes) -> bool:
    """End one sign-in; return False if it was not there."""
    sql = "DELETE FROM sign_ins WHERE cookie_hash = $1 RETURNING true"
    return bool(await executor.fetchval(sql, cookie_hash))


async def revoke_person(executor: Executor, person_id: UUID) -> int:
    """End all of a person's sign-ins, as after a change of password; return how many."""
    return len(await executor.fetch("DELETE FROM sign_ins WHERE person_id = $1 RETURNING 1", person_id))


async def prune(executor: Executor) -> int:
    """Delete sign-ins that are over; return how many."""
    return len(await executor.fetch("DELETE FROM sign_ins WHERE expires_at <= now() RETURNING 1"))
