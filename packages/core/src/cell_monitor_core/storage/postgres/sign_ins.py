"""Browser sign-ins: only the hash of the refresh cookie is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from cell_monitor_core.storage.postgres.pool import Connection, Executor
from cell_monitor_core.storage.postgres.revocations import REVOKE_BEGUN, REVOKE_ENDED

__all__ = [
    "LINK_COUNTS",
    "USE_NOTED_EVERY",
    "SignIn",
    "begin",
    "create",
    "credential_of",
    "generation_of",
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
        token_generation: of the person, from the same moment: a token that states it is revoked with the sign-in.
        created_at: when.
        expires_at: when it ends at the latest.
        unused: how long ago it was used, to within ``USE_NOTED_EVERY``.
        by_hub: whether it holds only as long as JupyterHub confirms it, see ``hub_sessions``.
        by_recent_link: whether it began with a link, not longer than ``LINK_COUNTS`` ago.
    """

    person_id: UUID
    token_generation: int
    created_at: datetime
    expires_at: datetime
    unused: timedelta
    by_hub: bool
    by_recent_link: bool


def credential_of(cookie_hash: bytes) -> str:
    """Return the name by which tokens state the sign-in that they came of: half of a hash of 256 random bits."""
    return f"session:{cookie_hash.hex()[:32]}"


async def generation_of(executor: Executor, person_id: UUID) -> int | None:
    """Return how often all sign-ins of a person were ended, None if there is no such person; see ``begin``."""
    generation: int | None = await executor.fetchval(
        "SELECT sign_in_generation FROM people WHERE person_id = $1", person_id
    )
    return generation


async def begin(
    executor: Executor,
    cookie_hash: bytes,
    person_id: UUID,
    expires_at: datetime,
    *,
    generation: int,
    by_link: bool = False,
) -> bool:
    """Store a sign-in whose proof was checked; return False if all sign-ins of the person were ended meanwhile.

    Args:
        executor: a connection or a pool.
        cookie_hash: of its cookie.
        person_id: who signed in.
        expires_at: when it ends at the latest.
        generation: of the person's sign-ins, read not later than what was checked, such as a password's hash.
        by_link: whether it began with a link.
    """
    # The row stays locked until the sign-in is committed: ``revoke_person`` waits, and then finds it.
    sql = """
        WITH person AS (
            SELECT person_id FROM people WHERE person_id = $2 AND sign_in_generation = $5 FOR SHARE
        )
        INSERT INTO sign_ins (cookie_hash, person_id, expires_at, by_link)
        SELECT $1, person_id, $3, $4 FROM person RETURNING true
        """
    return bool(await executor.fetchval(sql, cookie_hash, person_id, expires_at, by_link, generation))


async def create(
    executor: Executor, cookie_hash: bytes, person_id: UUID, expires_at: datetime, *, by_link: bool = False
) -> None:
    """Store a sign-in by the hash of its cookie, whatever was ended meanwhile; ``by_link``: it began with a link."""
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
        SELECT person_id, p.token_generation, s.created_at, expires_at, now() - used_at AS unused,
            EXISTS (SELECT FROM hub_sessions h WHERE h.cookie_hash = s.cookie_hash) AS by_hub,
            by_link AND s.created_at > now() - $2::interval AS by_recent_link
        FROM sign_ins s JOIN people p USING (person_id) WHERE cookie_hash = $1 AND expires_at > now()
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
    """End all of a person's sign-ins and tokens, as after a change of password; return how many sign-ins.

    Those that are under way are not stored any more, see ``begin``. Call it in the transaction of its cause.
    """
    sql = f"""
        WITH begun AS (
            UPDATE people SET token_generation = token_generation + 1, sign_in_generation = sign_in_generation + 1
            WHERE person_id = $1 RETURNING person_id, token_generation
        ), {REVOKE_BEGUN}
        SELECT FROM begun
        """  # noqa: S608 - no values
    await executor.execute(sql, person_id)
    # A statement of its own: it sees a sign-in that was committed while the first one waited for the person's row.
    return len(await executor.fetch("DELETE FROM sign_ins WHERE person_id = $1 RETURNING 1", person_id))


async def prune(executor: Executor) -> int:
    """Delete sign-ins that are over; return how many."""
    return len(await executor.fetch("DELETE FROM sign_ins WHERE expires_at <= now() RETURNING 1"))
