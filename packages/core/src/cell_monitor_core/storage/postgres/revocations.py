"""What ends access tokens before their time: written with the change that causes it, delivered to the services later."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final
from uuid import UUID

from cell_monitor_core.auth.revocations import KEPT_SECONDS, Revocation, of_erased_person
from cell_monitor_core.storage.postgres.pool import Connection, Executor

__all__ = [
    "REVOKE_BEGUN",
    "REVOKE_CHANGED",
    "REVOKE_ENDED",
    "delivered",
    "erase_person",
    "generation_of",
    "pending",
    "prune",
    "revoke_people",
]

REVOKE_BEGUN: Final = """
revoked AS (
    INSERT INTO revocations (subject, generation) SELECT person_id::text, token_generation FROM begun
)
"""
"""Part of a ``WITH`` list: revoke the tokens of people whose new generation ``begun (person_id, token_generation)`` began."""

REVOKE_CHANGED: Final = f"""
locked AS (
    SELECT person_id FROM people WHERE person_id IN (SELECT person_id FROM changed) ORDER BY person_id FOR NO KEY UPDATE
), begun AS (
    UPDATE people p SET token_generation = p.token_generation + 1 FROM locked
    WHERE p.person_id = locked.person_id RETURNING p.person_id, p.token_generation
), {REVOKE_BEGUN}
"""  # noqa: S608 - no values
"""Parts of a ``WITH`` list: begin a new generation of the tokens of the people in ``changed (person_id)``.

In the statement that makes the change, so that neither is ever without the other; rows are locked in the order of their ids.
No stronger than the update needs: entries of the audit log that name these people in other transactions do not wait.
"""

REVOKE_ENDED: Final = "revoked AS (INSERT INTO revocations (subject) SELECT $2 FROM ended)"
"""Part of a ``WITH`` list: revoke the tokens of the credential that is named ``$2``, if ``ended`` has a row."""

_KEPT: Final = timedelta(seconds=KEPT_SECONDS)


async def revoke_people(executor: Executor, person_ids: Iterable[UUID]) -> None:
    """Revoke all tokens of people, who get new ones that state their roles as they are then."""
    sql = f"WITH changed AS (SELECT unnest($1::uuid[]) AS person_id), {REVOKE_CHANGED} SELECT FROM changed"  # noqa: S608
    await executor.execute(sql, list(person_ids))


async def erase_person(executor: Executor, person_id: UUID) -> None:
    """Revoke all tokens of a person who is erased, and delete what names them."""
    await executor.execute(
        "WITH named AS (DELETE FROM revocations WHERE subject = $1) INSERT INTO revocations (subject) VALUES ($2)",
        str(person_id),
        of_erased_person(str(person_id)).subject,
    )


async def generation_of(executor: Executor, person_id: UUID) -> int | None:
    """Return the generation of a person's tokens, None if there is no such person."""
    generation: int | None = await executor.fetchval(
        "SELECT token_generation FROM people WHERE person_id = $1", person_id
    )
    return generation


async def pending(connection: Connection, most: int) -> dict[int, Revocation]:
    """Return revocations that were not delivered, by their ids, and lock them; of two callers each gets others."""
    rows = await connection.fetch(
        "SELECT revocation_id, subject, generation FROM revocations WHERE delivered_at IS NULL "
        "ORDER BY revocation_id LIMIT $1 FOR UPDATE SKIP LOCKED",
        most,
    )
    return {row["revocation_id"]: Revocation(row["subject"], row["generation"]) for row in rows}


async def delivered(connection: Connection, ids: Iterable[int]) -> None:
    """Note that revocations were delivered."""
    await connection.execute(
        "UPDATE revocations SET delivered_at = now() WHERE revocation_id = ANY($1::bigint[])", list(ids)
    )


async def prune(executor: Executor) -> None:
    """Delete those delivered long ago."""
    await executor.execute("DELETE FROM revocations WHERE delivered_at < now() - $1::interval", _KEPT)
