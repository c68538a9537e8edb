"""People. Names and addresses are encrypted in their columns; how people prove who they are is in ``identities``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from cell_monitor_core.auth.audit import HUB, SYSTEM, Actor, AuditAction
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.foreign_text import shown_name
from cell_monitor_core.storage.postgres import identities
from cell_monitor_core.storage.postgres.audit import entries_from
from cell_monitor_core.storage.postgres.pool import Executor
from cell_monitor_core.storage.postgres.revocations import REVOKE_BEGUN

__all__ = [
    "NewPerson",
    "Person",
    "PersonName",
    "admins_among",
    "asking_admin",
    "belonging_elsewhere",
    "find",
    "get",
    "get_many",
    "is_asking_admin",
    "names_of",
    "search",
    "set_admin",
    "set_admin_by_hub",
    "upsert",
    "upsert_many",
]

USERNAME: Final = "people.username"
DISPLAY_NAME: Final = "people.display_name"
EMAIL: Final = "people.email"
USERNAME_INDEX: Final = "username"

_COLUMNS = "person_id, username_enc, display_name_enc, email_enc, is_admin, created_at, token_generation"


@dataclass(frozen=True, slots=True)
class NewPerson:
    """Somebody to add or to bring up to date; None leaves what is stored as it is."""

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
    token_generation: int


@dataclass(frozen=True, slots=True)
class PersonName:
    """What a dashboard shows of a person."""

    username: str
    display_name: str | None

    @property
    def shown(self) -> str:
        """What the person is called where one text has to do: see ``foreign_text.shown_name``."""
        return shown_name(self.username, self.display_name)


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
        token_generation=row["token_generation"],
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
    """Return the person who has exactly this user name of this installation; None if nobody has.

    Spelling matters, case included: what names a person to a machine must not reach another one.
    """
    person_id = await identities.person_of(executor, index, identities.LOCAL, username)
    return None if person_id is None else await get(executor, keyring, person_id)


async def search(executor: Executor, keyring: KeyRing, index: BlindIndex, username: str) -> list[Person]:
    """Return all people with this user name from any issuer, ignoring case and Unicode form.

    For people who look for somebody and see whom they found; the person of exactly this name, if any, comes first.
    """
    rows = await executor.fetch(
        f"SELECT {_COLUMNS} FROM people WHERE username_hash = $1 ORDER BY created_at, person_id",  # noqa: S608
        index.digest(USERNAME_INDEX, username),
    )
    return sorted((_person(keyring, row) for row in rows), key=lambda person: person.username != username)


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


# One statement, so that nobody is left without an identity where another writer was first with it.
_INSERT = """
WITH new AS (
    SELECT * FROM unnest($2::uuid[], $3::bytea[], $4::bytea[], $5::uuid[], $6::bytea[], $7::bytea[])
        AS new (identity_id, subject_hash, subject_enc, person_id, username_hash, username_enc)
), added AS (
    INSERT INTO identities (identity_id, issuer, subject_hash, subject_enc, person_id)
    SELECT identity_id, $1, subject_hash, subject_enc, person_id FROM new
    ON CONFLICT (issuer, subject_hash) DO NOTHING RETURNING person_id
)
INSERT INTO people (person_id, username_hash, username_enc)
SELECT person_id, username_hash, username_enc FROM new JOIN added USING (person_id)
"""

_UPDATE = """
WITH locked AS (SELECT person_id FROM people WHERE person_id = ANY($1::uuid[]) ORDER BY person_id FOR NO KEY UPDATE)
UPDATE people p SET
    display_name_enc = coalesce(u.display_name_enc, p.display_name_enc),
    email_enc = coalesce(u.email_enc, p.email_enc)
FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS u(person_id, display_name_enc, email_enc)
     JOIN locked USING (person_id)
WHERE p.person_id = u.person_id
"""


async def upsert_many(
    executor: Executor,
    keyring: KeyRing,
    index: BlindIndex,
    people: Sequence[NewPerson],
    *,
    issuer: str = identities.LOCAL,
) -> list[UUID]:
    """Add people who are new to an issuer, bring the others up to date; return their ids in the order given.

    Somebody is known by exactly their user name at that issuer. A name that appears twice is one person; what is given
    later wins.
    """
    merged: dict[str, NewPerson] = {}
    for person in people:
        before = merged.get(person.username, person)
        merged[person.username] = NewPerson(
            person.username, person.display_name or before.display_name, person.email or before.email
        )
    known = await identities.people_of(executor, index, issuer, list(merged))
    new = [name for name in merged if name not in known]
    if new:
        await _add(executor, keyring, index, issuer, new)
        # Another writer may have been first with some of them.
        known |= await identities.people_of(executor, index, issuer, new)
    named = [(known[name], person) for name, person in merged.items() if person.display_name or person.email]
    if named:
        # Values are bound to the person's id, which is known only now for a person who was there before.
        await executor.execute(
            _UPDATE,
            [person_id for person_id, _ in named],
            [_seal(keyring, person.display_name, DISPLAY_NAME, person_id) for person_id, person in named],
            [_seal(keyring, person.email, EMAIL, person_id) for person_id, person in named],
        )
    return [known[person.username] for person in people]


async def _add(executor: Executor, keyring: KeyRing, index: BlindIndex, issuer: str, usernames: Sequence[str]) -> None:
    """Add people with their identity, those whom another writer has added meanwhile excepted."""
    # In the order of the key, so that two such statements never wait for each other.
    ordered = sorted((identities.subject_hash(index, issuer, name), name) for name in usernames)
    identity_ids, person_ids = [uuid4() for _ in ordered], [uuid4() for _ in ordered]
    await executor.execute(
        _INSERT,
        issuer,
        identity_ids,
        [digest for digest, _ in ordered],
        [
            keyring.encrypt_text(name, context=identities.SUBJECT, row=identity_id.bytes)
            for identity_id, (_, name) in zip(identity_ids, ordered, strict=True)
        ],
        person_ids,
        [index.digest(USERNAME_INDEX, name) for _, name in ordered],
        [
            keyring.encrypt_text(name, context=USERNAME, row=person_id.bytes)
            for person_id, (_, name) in zip(person_ids, ordered, strict=True)
        ],
    )


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
    issuer: str = identities.LOCAL,
) -> UUID:
    """Add a person, or bring the one of that user name at that issuer up to date; return the id."""
    return (await upsert_many(executor, keyring, index, [NewPerson(username, display_name, email)], issuer=issuer))[0]


async def belonging_elsewhere(
    executor: Executor, index: BlindIndex, usernames: Sequence[str], course_id: str, issuer: str = identities.LOCAL
) -> list[bool]:
    """Return of each of an issuer's user names whether its person belongs to more than this course.

    That is somebody who is an admin of the site, is a member of another course by any source, or signs in with another
    issuer as well. Such a person is not a single course's to rename. A name that nobody has
    counts as False.
    """
    known = await identities.people_of(executor, index, issuer, usernames)
    rows = await executor.fetch(
        """
        SELECT person_id FROM people p
        WHERE person_id = ANY($1::uuid[])
          AND (is_admin
               OR EXISTS (SELECT FROM memberships m
                          WHERE m.person_id = p.person_id AND m.course_id <> $2 AND m.role IS NOT NULL)
               OR EXISTS (SELECT FROM identities i WHERE i.person_id = p.person_id AND i.issuer <> $3))
        """,
        list(known.values()),
        course_id,
        issuer,
    )
    elsewhere = {row["person_id"] for row in rows}
    return [known.get(username) in elsewhere for username in usernames]


async def set_admin(executor: Executor, person_id: UUID, *, is_admin: bool, by: Actor = SYSTEM) -> bool:
    """Make somebody a site's admin, or no longer; return False if there is no such person."""
    sql = f"""
        WITH before AS (
            SELECT person_id, is_admin FROM people WHERE person_id = $1 FOR NO KEY UPDATE
        ), begun AS (
            UPDATE people p SET is_admin = $2, admin_by_hub = false, token_generation = p.token_generation + 1
            FROM before b WHERE p.person_id = b.person_id
            RETURNING p.person_id, p.token_generation, p.is_admin, b.is_admin AS was_admin
        ), {REVOKE_BEGUN}, recorded AS ({_entry_of_admin("begun WHERE is_admin <> was_admin")})
        SELECT true FROM begun
        """  # noqa: S608 - no values
    return bool(await executor.fetchval(sql, person_id, is_admin, *by.columns))


def asking_admin(actor: int) -> str:
    """Return part of a ``WITH`` list: ``asking`` has a row if who asks as an admin of the site is one at this moment.

    An operator, for one, is neither a person nor a key: then it has one. Nothing is locked: what an admin gave stays when
    they are dismissed, so that a dismissal which is committed at the same time may as well count as later.

    Args:
        actor: number of the first of three parameters, ``Actor.columns``; only the other two are used here.
    """
    person, key = f"${actor + 1}::uuid", f"${actor + 2}::text"
    return f"""
        asking AS (
            SELECT WHERE ({person} IS NULL OR EXISTS (SELECT FROM people WHERE person_id = {person} AND is_admin))
              AND ({key} IS NULL OR EXISTS (SELECT FROM api_keys WHERE key_id = {key} AND revoked_at IS NULL))
        )
        """  # noqa: S608 - no values


async def admins_among(executor: Executor, person_ids: Sequence[UUID]) -> set[UUID]:
    """Return which of these people are admins of the site at this moment."""
    rows = await executor.fetch("SELECT person_id FROM people WHERE person_id = ANY($1) AND is_admin", list(person_ids))
    return {row["person_id"] for row in rows}


async def is_asking_admin(executor: Executor, by: Actor) -> bool:
    """Return whether who asks as an admin of the site is one at this moment, see ``asking_admin``."""
    sql = f"WITH {asking_admin(0)} SELECT true FROM asking"  # noqa: S608 - no values
    return bool(await executor.fetchval(sql, by.person_id, by.key_id))


async def set_admin_by_hub(executor: Executor, person_id: UUID, *, is_admin: bool) -> bool:
    """Let somebody be a site's admin as JupyterHub says; whom an operator made one stays one. Return whether that changed."""
    sql = f"""
        WITH begun AS (
            UPDATE people SET is_admin = $2, admin_by_hub = $2, token_generation = token_generation + 1
            WHERE person_id = $1 AND is_admin <> $2 AND ($2 OR admin_by_hub)
            RETURNING person_id, token_generation
        ), {REVOKE_BEGUN}, recorded AS ({_entry_of_admin("begun")})
        SELECT true FROM begun
        """  # noqa: S608 - no values
    return bool(await executor.fetchval(sql, person_id, is_admin, *HUB.columns))


def _entry_of_admin(rows: str) -> str:
    """Return SQL that enters in the audit log that the people of ``rows`` became admins, with ``$2``, or are it no longer."""
    action = f"CASE WHEN $2 THEN '{AuditAction.SITE_ADMIN_GRANTED}' ELSE '{AuditAction.SITE_ADMIN_REVOKED}' END"
    return entries_from(rows, action, 3, subject="person_id")
