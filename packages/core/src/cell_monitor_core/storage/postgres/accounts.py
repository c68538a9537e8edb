"""Local accounts: password hashes of people who sign in with a user name of this installation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from cell_monitor_core.crypto import BlindIndex
from cell_monitor_core.storage.postgres import identities
from cell_monitor_core.storage.postgres.people import USERNAME_INDEX
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = [
    "Account",
    "OwnAccount",
    "find",
    "of_person",
    "remove",
    "replace_hash",
    "set_installation_password",
    "set_password",
    "set_passwords",
]


@dataclass(frozen=True, slots=True)
class Account:
    """What a sign-in is checked against.

    Attributes:
        person_id: whose it is.
        password_hash: argon2's own encoded form.
        is_admin: whether they are an admin of the site.
        sign_in_generation: from the same moment as the hash, see ``sign_ins.begin``.
    """

    person_id: UUID
    password_hash: str
    is_admin: bool
    sign_in_generation: int

    def __repr__(self) -> str:
        """Leave the hash out of logs and tracebacks."""
        return f"Account(person_id={self.person_id!r}, is_admin={self.is_admin!r})"


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """What a person can do about their own password.

    Attributes:
        is_local: whether they have a user name of this installation; others sign in elsewhere and have no password here.
        password_hash: argon2's own encoded form, None without a password.
        by_installation: whether the installation keeps the password in its secrets and sets it at each start.
    """

    is_local: bool
    password_hash: str | None
    by_installation: bool

    def __repr__(self) -> str:
        """Leave the hash out of logs and tracebacks."""
        return f"OwnAccount(is_local={self.is_local!r}, by_installation={self.by_installation!r})"


async def find(executor: Executor, index: BlindIndex, username: str) -> Account | None:
    """Return the account that somebody signs in to with a user name, None if there is none or it is ambiguous.

    The account of exactly this name comes first. People also type their names in another case or Unicode form: then the
    account is found if it is the only one whose name folds to the same; between two of them none is chosen.
    """
    rows = await executor.fetch(
        """
        SELECT a.person_id, a.password_hash, p.is_admin, p.sign_in_generation, i.subject_hash = $3 AS exact
        FROM people p JOIN local_accounts a USING (person_id)
             JOIN identities i ON i.person_id = p.person_id AND i.issuer = $2
        WHERE p.username_hash = $1
        """,
        index.digest(USERNAME_INDEX, username),
        identities.LOCAL,
        identities.subject_hash(index, identities.LOCAL, username),
    )
    found = [row for row in rows if row["exact"]] or rows
    if len(found) != 1:
        return None
    row = found[0]
    return Account(row["person_id"], row["password_hash"], row["is_admin"], row["sign_in_generation"])


async def of_person(executor: Executor, person_id: UUID) -> OwnAccount:
    """Return what a person has of an account; nothing of it where there is no such person."""
    row = await executor.fetchrow(
        """
        SELECT EXISTS (SELECT FROM identities WHERE person_id = $1 AND issuer = $2) AS is_local,
            a.password_hash, coalesce(a.by_installation, false) AS by_installation
        FROM (SELECT) one LEFT JOIN local_accounts a ON a.person_id = $1
        """,
        person_id,
        identities.LOCAL,
    )
    assert row is not None  # One row also where there is no such person.
    return OwnAccount(**row)


async def set_passwords(executor: Executor, hashes: Mapping[UUID, str]) -> None:
    """Set the password hashes of people."""
    ordered = sorted(hashes.items())
    await executor.execute(
        """
        INSERT INTO local_accounts (person_id, password_hash) SELECT * FROM unnest($1::uuid[], $2::text[])
        ON CONFLICT (person_id) DO UPDATE SET password_hash = excluded.password_hash, updated_at = now()
        """,
        [person_id for person_id, _ in ordered],
        [password_hash for _, password_hash in ordered],
    )


async def set_password(executor: Executor, person_id: UUID, password_hash: str) -> None:
    """Set one person's password hash."""
    await set_passwords(executor, {person_id: password_hash})


async def replace_hash(executor: Executor, person_id: UUID, *, old: str, new: str) -> bool:
    """Set another hash of the same password; return False if the password was changed or deleted meanwhile."""
    sql = """
        UPDATE local_accounts SET password_hash = $3, updated_at = now()
        WHERE person_id = $1 AND password_hash = $2 RETURNING true
        """
    return bool(await executor.fetchval(sql, person_id, old, new))


async def set_installation_password(executor: Executor, person_id: UUID, password_hash: str) -> None:
    """Set the hash of a password that the installation keeps in its secrets, and that its person cannot change."""
    await set_password(executor, person_id, password_hash)
    await executor.execute("UPDATE local_accounts SET by_installation = true WHERE person_id = $1", person_id)


async def remove(executor: Executor, person_id: UUID) -> bool:
    """Delete a person's password; return False if there was none."""
    sql = "DELETE FROM local_accounts WHERE person_id = $1 RETURNING true"
    return bool(await executor.fetchval(sql, person_id))
