"""People. Names and addresses are encrypted in their columns and found by keyed hash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = [
    "NewPerson",
    "Person",
    "PersonName",
    "belonging_elsewhere",
    "find",
    "get",
    "get_many",
    "names_of",
    "set_admin",
    "upsert",
    "upsert_many",
]

USERNAME: Final = "people.username"
DISPLAY_NAME: Final = "people.display_name"
EMAIL: Final = "people.email"
USERNAME_INDEX: Final = "username"

_COLUMNS = "person_id, username_enc, display_name_enc, email_enc, is_admin, created_at"


@dataclass(frozen=True, slots=True)
class NewPerson:
    """Somebody to add or bring up to date; None leaves what is stored as it is."""

    username: str
    display_name: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """A person, decrypted."""

    person_id: UUID
    username: str
    display_name: str | None
    email: str | None
    is_admin: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PersonName:
    """What a dashboard shows of a person."""

    username: str
    display_name: str | None


def _open(keyring: KeyRing, blob: bytes | None, context: str, person_id: UUID) -> str | None:
    return None if blob is None else keyring.decrypt_text(blob, context=context, row=person_id.bytes)


def _person(keyring: KeyRing, row: Any) -> Person:
    person_id = row["person_id"]
    return Person(
        person_id=person_id,
        username=keyring.decrypt_text(row["username_enc"], context=USERNAME, row=person_id.bytes),
        display_name=_open(keyring, row["display_name_enc"], DISPLAY_NAME, person_id),
        email=_open(keyring, row["email_enc"], EMAIL, person_id),
        is_admin=row["is_admin"],
        created_at=row["created_at"],
    )


async def get(executor: Executor, keyring: KeyRing, person_id: UUID) -> Person | None:
    """Return a person, None if there is none of that id."""
    row = await executor.fetchrow(f"SELECT {_COLUMNS} FROM people WHERE person_id = $1", person_id)  # noqa: S608
    return None if row is None else _person(keyring, row)


async def get_many(executor: Executor, keyring: KeyRing, person_ids: Iterable[UUID]) -> list[Person]:
    """Return many people in no particular order; ids of nobody are left out."""
    rows = await executor.fetch(
        f"SELECT {_COLUMNS} FROM people WHERE person_id = ANY($1::uuid[])",  # noqa: S608
        list(person_ids),
    )
    return [_person(keyring, row) for row in rows]


async def find(executor: Executor, keyring: KeyRing, index: BlindIndex, username: str) -> Person | None:
    """Return the person of a user name, whatever its case; None if there is none."""
    row = await executor.fetchrow(
        f"SELECT {_COLUMNS} FROM people WHERE username_hash = $1",  # noqa: S608
        index.digest(USERNAME_INDEX, username),
    )
    return None if row is None else _person(keyring, row)


async def names_of(executor: Executor, keyring: KeyRing, person_ids: Iterable[UUID]) -> dict[UUID, PersonName]:
    """Return the names of many people; ids of nobody are left out."""
    rows = await executor.fetch(
        "SELECT person_id, username_enc, display_name_enc FROM people WHERE person_id = ANY($1::uuid[])",
        list(person_ids),
    )
    return {
        row["person_id"]: PersonName(
            keyring.decrypt_text(row["username_enc"], context=USERNAME, row=row["person_id"].bytes),
            _open(keyring, row["display_name_enc"], DISPLAY_NAME, row["person_id"]),
        )
        for row in rows
    }


_INSERT = """
INSERT INTO people (person_id, username_hash, username_enc)
SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::bytea[])
ON CONFLICT (username_hash) DO NOTHING
"""

_UPDATE = """
WITH locked AS (SELECT person_id FROM people WHERE person_id = ANY($1::uuid[]) ORDER BY username_hash FOR UPDATE)
UPDATE people p SET
    display_name_enc = coalesce(u.display_name_enc, p.display_name_enc),
    email_enc = coalesce(u.email_enc, p.email_enc)
FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS u(person_id, display_name_enc, email_enc)
     JOIN locked USING (person_id)
WHERE p.person_id = u.person_id
"""


async def upsert_many(
    executor: Executor, keyring: KeyRing, index: BlindIndex, people: Sequence[NewPerson]
) -> list[UUID]:
    """Add people that are new, bring the others up to date; return their ids in the order given.

    A user name that appears twice, in whatever case, is one person; what is given later wins. A known person keeps
    the spelling under which it was first stored.
    """
    hashes = [index.digest(USERNAME_INDEX, person.username) for person in people]
    merged: dict[bytes, NewPerson] = {}
    for digest, person in zip(hashes, people, strict=True):
        before = merged.get(digest, person)
        merged[digest] = NewPerson(
            before.username, person.display_name or before.display_name, person.email or before.email
        )
    # In the order of the key, so that two such statements never wait for each other.
    ordered = sorted(merged.items())
    new_ids = [uuid4() for _ in ordered]
    await executor.execute(
        _INSERT,
        new_ids,
        [digest for digest, _ in ordered],
        [
            keyring.encrypt_text(person.username, context=USERNAME, row=person_id.bytes)
            for person_id, (_, person) in zip(new_ids, ordered, strict=True)
        ],
    )
    # Values are bound to the person's id, which is known only now for a person who was there before.
    rows = await executor.fetch(
        "SELECT username_hash, person_id FROM people WHERE username_hash = ANY($1::bytea[])", list(merged)
    )
    ids = {row["username_hash"]: row["person_id"] for row in rows}
    named = [(ids[digest], person) for digest, person in ordered if person.display_name or person.email]
    if named:
        await executor.execute(
            _UPDATE,
            [person_id for person_id, _ in named],
            [_seal(keyring, person.display_name, DISPLAY_NAME, person_id) for person_id, person in named],
            [_seal(keyring, person.email, EMAIL, person_id) for person_id, person in named],
        )
    return [ids[digest] for digest in hashes]


def _seal(keyring: KeyRing, text: str | None, context: str, person_id: UUID) -> bytes | None:
    return keyring.encrypt_text(text, context=context, row=person_id.bytes) if text else None


async def upsert(
    executor: Executor,
    keyring: KeyRing,
    index: BlindIndex,
    *,
    username: str,
    display_name: str | None = None,
    email: str | None = None,
) -> UUID:
    """Add a person, or bring the one of that user name up to date; return the id."""
    return (await upsert_many(executor, keyring, index, [NewPerson(username, display_name, email)]))[0]


async def belonging_elsewhere(
    executor: Executor, index: BlindIndex, usernames: Sequence[str], course_id: str
) -> list[bool]:
    """Tell of each user name whether its person is an admin of the site or belongs to another course as well.

    Such a person is not a single course's to rename or to give a password. A name that nobody has counts as False.
    """
    hashes = [index.digest(USERNAME_INDEX, username) for username in usernames]
    rows = await executor.fetch(
        """
        SELECT username_hash FROM people p
        WHERE username_hash = ANY($1::bytea[])
          AND (is_admin OR EXISTS (SELECT FROM memberships m WHERE m.person_id = p.person_id AND m.course_id <> $2))
        """,
        hashes,
        course_id,
    )
    elsewhere = {row["username_hash"] for row in rows}
    return [digest in elsewhere for digest in hashes]


async def set_admin(executor: Executor, person_id: UUID, *, is_admin: bool) -> bool:
    """Make somebody a site's admin, or no longer; return False if there is no such person."""
    sql = "UPDATE people SET is_admin = $2 WHERE person_id = $1 RETURNING true"
    return bool(await executor.fetchval(sql, person_id, is_admin))
