"""Computers that joined a course by its code: each holds a secret and sends events of one person in that course.

Only the SHA-256 of a secret is stored: with 256 bits chosen at random there is nothing to guess from a list.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from cell_monitor_core.auth.audit import SYSTEM, Actor
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import identities, memberships, people
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.storage.postgres.pool import Connection, Executor
from cell_monitor_core.storage.postgres.revocations import REVOKE_CHANGED

__all__ = [
    "ISSUER",
    "SECRET_PATTERN",
    "Computer",
    "add",
    "credential_of",
    "find",
    "has_joined",
    "joined_people",
    "move",
    "remove_member",
    "revoke",
    "revoke_all",
]

ISSUER: Final = "join"
"""Issuer of those who joined by a code; a subject is a computer's id, never a name that somebody typed."""
SECRET_PATTERN: Final = r"^[A-Za-z0-9_-]{43}$"  # noqa: S105 - the form of one
"""32 random bytes in base64url, made by the computer itself."""
_SECRET: Final = re.compile(SECRET_PATTERN)
_ID_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_CHARS: Final = 12
_JOINED: Final = "FROM memberships WHERE course_id = $1 AND source = $2 AND role IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Computer:
    """A computer that may send.

    Attributes:
        computer_id: twelve characters; the subject of its identity.
        course_id: the course whose events it may send.
        person_id: whose events they are.
        token_generation: of that person, from the same moment: a token that states it is revoked when ``move`` is committed.
    """

    computer_id: str
    course_id: str
    person_id: UUID
    token_generation: int


def credential_of(computer_id: str) -> str:
    """Return the name by which tokens state the computer that they came of."""
    return f"join:{computer_id}"


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _id_of(secret: str) -> str:
    digest = hashlib.sha256(b"computer id\0" + secret.encode()).digest()
    return "".join(_ID_ALPHABET[byte % 32] for byte in digest[:_ID_CHARS])


async def find(executor: Executor, secret: str) -> Computer | None:
    """Return the computer that holds a secret, None if there is none or it may send no more."""
    if not _SECRET.fullmatch(secret):
        return None
    row = await executor.fetchrow(
        """
        SELECT computer_id, course_id, person_id, token_generation, secret_hash
        FROM joined_computers JOIN people USING (person_id)
        WHERE computer_id = $1 AND revoked_at IS NULL
        """,
        _id_of(secret),
    )
    # Found by the id, which is no secret, and compared even if there is none: the response time reveals nothing.
    expected = bytes(32) if row is None else row["secret_hash"]
    if not hmac.compare_digest(expected, _hash(secret)) or row is None:
        return None
    return Computer(row["computer_id"], row["course_id"], row["person_id"], row["token_generation"])


async def add(
    connection: Connection, keyring: KeyRing, index: BlindIndex, *, course_id: str, name: str, secret: str
) -> Computer | None:
    """Add a computer with a new person of this name, a student of the course; None if its id is taken.

    The person is always a new one: whatever name is given, nobody else's row is reached.

    Raises:
        ValueError: the secret is malformed.
    """
    if not _SECRET.fullmatch(secret):
        raise ValueError("a secret is 32 bytes in base64url")
    computer_id = _id_of(secret)
    taken = await connection.fetchval("SELECT true FROM joined_computers WHERE computer_id = $1", computer_id)
    if taken or await identities.person_of(connection, index, ISSUER, computer_id) is not None:
        return None
    newcomer = people.NewPerson(computer_id, name)
    (person_id,) = await people.upsert_many(connection, keyring, index, [newcomer], issuer=ISSUER)
    await connection.execute(
        "INSERT INTO joined_computers (computer_id, secret_hash, course_id, person_id) VALUES ($1, $2, $3, $4)",
        computer_id,
        _hash(secret),
        course_id,
        person_id,
    )
    await memberships.upsert_many(
        connection, course_id, {person_id: "student"}, source=Source.JOIN, by=Actor.person(person_id)
    )
    return await find(connection, secret)


async def joined_people(executor: Executor, course_id: str) -> set[UUID]:
    """Return the members of a course who joined by code."""
    rows = await executor.fetch(f"SELECT person_id {_JOINED}", course_id, Source.JOIN)
    return {row["person_id"] for row in rows}


async def has_joined(executor: Executor, course_id: str, person_id: UUID) -> bool:
    """Return whether somebody is a member of a course who joined by code."""
    sql = f"SELECT true {_JOINED} AND person_id = $3"
    return bool(await executor.fetchval(sql, course_id, Source.JOIN, person_id))


async def remove_member(connection: Connection, course_id: str, person_id: UUID, *, by: Actor = SYSTEM) -> bool:
    """End what this installation says of a member, by its roster and by joining, and what their computers may send.

    Returns:
        False if it said nothing of them.
    """
    removed = [
        await memberships.remove(connection, course_id, person_id, source=source, by=by)
        for source in (Source.ROSTER, Source.JOIN)
    ]
    await revoke(connection, course_id, person_id)
    return any(removed)


async def revoke(executor: Executor, course_id: str, person_id: UUID) -> int:
    """End what a person's computers may send in a course, with the tokens that they hold; return how many computers."""
    return len(await executor.fetch(_REVOKE, course_id, person_id))


async def revoke_all(executor: Executor, course_id: str) -> int:
    """End what all computers that joined a course may send, with the tokens that they hold; return how many computers."""
    return len(await executor.fetch(_REVOKE, course_id, None))


_REVOKE: Final = """
WITH ended AS (
    UPDATE joined_computers SET revoked_at = now()
    WHERE course_id = $1 AND ($2::uuid IS NULL OR person_id = $2) AND revoked_at IS NULL RETURNING computer_id
), revoked AS (
    INSERT INTO revocations (subject) SELECT 'join:' || computer_id FROM ended
)
SELECT computer_id FROM ended
"""


async def move(connection: Connection, course_id: str, from_person: UUID, to_person: UUID) -> int:
    """Let the computers of a person in a course send as another person from now on; return how many.

    Their tokens end: the next ones are the other person's. What they sent before stays the first person's.
    """
    moved = await connection.fetch(
        f"""
        WITH moved AS (
            UPDATE joined_computers SET person_id = $3
            WHERE course_id = $1 AND person_id = $2 AND revoked_at IS NULL RETURNING computer_id
        ), changed AS (
            SELECT $2::uuid AS person_id WHERE EXISTS (SELECT FROM moved)
        ), {REVOKE_CHANGED}
        SELECT computer_id FROM moved
        """,  # noqa: S608 - no values
        course_id,
        from_person,
        to_person,
    )
    return len(moved)
