"""How people prove who they are: an identity is (issuer, exact subject) and belongs to one person.

Subjects are compared byte for byte, by a keyed hash. Nothing is folded: names that differ in case
or in a Unicode form are different subjects, as they are different accounts at many issuers (docs/adr/0015).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres.pool import Connection, Executor

__all__ = [
    "HUB",
    "LOCAL",
    "SUBJECT",
    "Identity",
    "add_many",
    "backfill_local",
    "count_pending",
    "issuers_of",
    "of_person",
    "people_of",
    "person_of",
    "subject_hash",
]

LOCAL: Final = "local"
"""Issuer of the user names of this installation."""
HUB: Final = "jupyterhub"
"""Issuer of a JupyterHub's users, unless the API's settings name another."""
SUBJECT: Final = "identities.subject"
_USERNAME: Final = "people.username"
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Identity:
    """One way in which a person proves who they are."""

    issuer: str
    subject: str


def subject_hash(index: BlindIndex, issuer: str, subject: str) -> bytes:
    """Return the keyed hash by which an identity is found; issuer and kind are part of what is hashed."""
    return index.exact("identity", issuer, subject)


async def people_of(executor: Executor, index: BlindIndex, issuer: str, subjects: Sequence[str]) -> dict[str, UUID]:
    """Return the person of each of an issuer's subjects; subjects that nobody has are left out."""
    hashes = {subject_hash(index, issuer, subject): subject for subject in subjects}
    rows = await executor.fetch(
        "SELECT subject_hash, person_id FROM identities WHERE issuer = $1 AND subject_hash = ANY($2::bytea[])",
        issuer,
        list(hashes),
    )
    return {hashes[row["subject_hash"]]: row["person_id"] for row in rows}


async def person_of(executor: Executor, index: BlindIndex, issuer: str, subject: str) -> UUID | None:
    """Return the person of an identity, None if nobody has it."""
    return (await people_of(executor, index, issuer, [subject])).get(subject)


async def of_person(executor: Executor, keyring: KeyRing, person_id: UUID) -> list[Identity]:
    """Return a person's identities, in the order of their issuers.

    Raises:
        DecryptionError: a subject cannot be read with this key ring.
    """
    rows = await executor.fetch(
        "SELECT identity_id, issuer, subject_enc FROM identities WHERE person_id = $1 ORDER BY issuer, identity_id",
        person_id,
    )
    return [
        Identity(row["issuer"], keyring.decrypt_text(row["subject_enc"], context=SUBJECT, row=row["identity_id"].bytes))
        for row in rows
    ]


async def issuers_of(executor: Executor, person_ids: Iterable[UUID]) -> dict[UUID, list[str]]:
    """Return where each person signs in, in alphabetical order."""
    rows = await executor.fetch(
        """
        SELECT person_id, array_agg(DISTINCT issuer ORDER BY issuer) AS issuers FROM identities
        WHERE person_id = ANY($1::uuid[]) GROUP BY person_id
        """,
        list(person_ids),
    )
    return {row["person_id"]: list(row["issuers"]) for row in rows}


async def add_many(
    executor: Executor, keyring: KeyRing, index: BlindIndex, issuer: str, subjects: Sequence[tuple[UUID, str]]
) -> int:
    """Give people an identity of an issuer, as (person id, subject); identities that exist stay as they are.

    Returns:
        How many were added.

    Raises:
        asyncpg.ForeignKeyViolationError: no such person.
    """
    # In the order of the key, so that two such statements never wait for each other.
    ordered = sorted((subject_hash(index, issuer, subject), person_id, subject) for person_id, subject in subjects)
    identity_ids = [uuid4() for _ in ordered]
    rows = await executor.fetch(
        """
        INSERT INTO identities (identity_id, issuer, subject_hash, subject_enc, person_id)
        SELECT new.identity_id, $1, new.subject_hash, new.subject_enc, new.person_id
        FROM unnest($2::uuid[], $3::bytea[], $4::bytea[], $5::uuid[])
             AS new (identity_id, subject_hash, subject_enc, person_id)
        ON CONFLICT (issuer, subject_hash) DO NOTHING RETURNING 1
        """,
        issuer,
        identity_ids,
        [digest for digest, _, _ in ordered],
        [
            keyring.encrypt_text(subject, context=SUBJECT, row=identity_id.bytes)
            for identity_id, (_, _, subject) in zip(identity_ids, ordered, strict=True)
        ],
        [person_id for _, person_id, _ in ordered],
    )
    return len(rows)


async def count_pending(executor: Executor) -> int:
    """Return how many people of a schema before 0005 still lack their local identity."""
    return int(await executor.fetchval("SELECT count(*) FROM people WHERE identity_pending"))


async def backfill_local(connection: Connection, keyring: KeyRing, index: BlindIndex) -> int:
    """Give the people of a schema before 0005 the local identity of their stored user name; return how many.

    It may be stopped at any moment and run again.

    Raises:
        DecryptionError: a user name cannot be read with this key ring.
    """
    done = 0
    while rows := await connection.fetch(
        "SELECT person_id, username_enc FROM people WHERE identity_pending ORDER BY person_id LIMIT $1", _BATCH
    ):
        names = [
            (row["person_id"], keyring.decrypt_text(row["username_enc"], context=_USERNAME, row=row["person_id"].bytes))
            for row in rows
        ]
        async with connection.transaction():
            await add_many(connection, keyring, index, LOCAL, names)
            await connection.execute(
                "UPDATE people SET identity_pending = false WHERE person_id = ANY($1::uuid[])",
                [person_id for person_id, _ in names],
            )
        done += len(names)
    return done
