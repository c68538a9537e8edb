"""Browser sign-ins: only the hash of the refresh cookie is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from cell_monitor_core.storage.postgres.pool import Connection, Executor
from cell_monitor_core.storage.postgres.revocations import REVOKE_CHANGED, REVOKE_ENDED

__all__ = [
    "LINK_COUNTS",
    "USE_NOTED_EVERY",
    "SignIn",
    "create",
    "credential_of",
    "get",
    "lock",
    "note_use",
    "prune",
    "revoke",
    "revoke_person",
]

LINK_COUNTS: Final = timedelta(hours=1)
"""How long after a sign-in with a link its person may set a password without the present one."""
USE_NOTED_EVERY: Final = timedelta(minutes=5)
"""Time between two writes of the use of a sign-in."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in that was not ended and whose last day has not come.

    Attributes:
        person_id: who signed in.
        created_at: when.
        expires_at: when it ends at the latest.
        unused: how long ago it was used, to within ``USE_NOTED_EVERY``.
        by_hub: whether it holds only as long as JupyterHub confirms it, see ``hub_sessions``.
        by_recent_link: whether it began with a link, not longer than ``LINK_COUNTS`` ago.
    """

    person_id: UUID
    created_at: datetime
    expires_at: datetime
    unused: timedelta
    by_hub: bool
    by_recent_link: bool


def credential_of(cookie_hash: bytes) -> str:
    """Return the name by which tokens state the sign-in that they came of: half of a hash of 256 random bits."""
    return f"session:{cookie_hash.hex()[:32]}"


async def create(
    executor: Executor, cookie_hash: bytes, person_id: UUID, expires_at: datetime, *, by_link: bool = False
) -> None:
    """Store a sign-in by the hash of its cookie; ``by_link``: it began with a link."""
    await executor.execute(
        "INSERT INTO sign_ins (cookie_hash, person_id, expires_at, by_link) VALUES ($1, $2, $3, $4)",
        cookie_hash,
        person_id,
        expires_at,
        by_link,
    )


async def get(executor: Executor, cookie_hash: bytes) -> SignIn | None:
    """Return a sign-in, None if it is unknown, revoked or over."""
    row = await executor.fetchrow(
        """
        SELECT person_id, created_at, expires_at, now() - used_at AS unused,
            EXISTS (SELECT FROM hub_sessions h WHERE h.cookie_hash = s.cookie_hash) AS by_hub,
            by_link AND created_at > now() - $2::interval AS by_recent_link
        FROM sign_ins s WHERE cookie_hash = $1 AND expires_at > now()
        """,
        cookie_hash,
        LINK_COUNTS,
    )
    return None if row is None else SignIn(**row)


async def lock(connection: Connection, person_id: UUID) -> None:
    """Let no other transaction end the sign-ins of a person until this one ends."""
    await connection.execute("SELECT FROM people WHERE person_id = $1 FOR UPDATE", person_id)


async def note_use(executor: Executor, cookie_hash: bytes) -> None:
    """Note that a sign-in is used now. Call it where ``unused`` is longer than ``USE_NOTED_EVERY``."""
    await executor.execute("UPDATE sign_ins SET used_at = now() WHERE cookie_hash = $1", cookie_hash)


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
