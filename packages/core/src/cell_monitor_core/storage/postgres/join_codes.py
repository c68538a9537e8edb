"""Codes by which students join a course: ``K7F2-2M9Q-X4DT``, at most one for a course, for a few hours.

The first four characters, the locator, say which course is meant. The other eight are 40 bits of a keyed hash of a random
nonce: only the nonce is stored, so that a copy of the database holds no code, and yet the course's staff can be shown it again.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cell_monitor_core.crypto import BlindIndex
from cell_monitor_core.storage.postgres.pool import Connection, Executor

__all__ = [
    "MAX_LIFETIME",
    "TEXT_CHARS",
    "JoinCode",
    "close",
    "count",
    "course_of",
    "get",
    "locator_of",
    "normalized",
    "open_locator",
    "open_new",
]

MAX_LIFETIME: Final = timedelta(days=1)
TEXT_CHARS: Final = 40
"""A typed code with all its spaces and hyphens is no longer than this."""

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's Base32: without I, L, O and U (https://www.crockford.com/base32.html)."""
_LOCATOR_CHARS: Final = 4
_SECRET_CHARS: Final = 8
_CODE: Final = re.compile(f"[{_ALPHABET}]{{{_LOCATOR_CHARS + _SECRET_CHARS}}}")
# Full-width forms are what Japanese keyboards type; the hyphens are those that word processors make.
_TYPED: Final = str.maketrans(
    {chr(ord(character) + 0xFEE0): character for character in map(chr, range(0x21, 0x7F))}
    | dict.fromkeys(" \t\u3000-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u30fc\uff0d")
)
_MISREAD: Final = str.maketrans({"I": "1", "L": "1", "O": "0"})


@dataclass(frozen=True, slots=True)
class JoinCode:
    """A course's code.

    Attributes:
        code: in three groups of four characters.
        people: how many joined by it.
    """

    code: str
    opened_at: datetime
    expires_at: datetime
    people: int

    def __repr__(self) -> str:
        """Leave the code out of logs and tracebacks."""
        return f"JoinCode(expires_at={self.expires_at!r}, people={self.people!r})"


def normalized(typed: str) -> str | None:
    """Return the twelve characters that somebody typed, None if it is no code.

    Case, spaces, hyphens and full-width forms do not matter, and letters that look like a digit count as that.
    """
    code = typed[:TEXT_CHARS].translate(_TYPED).upper().translate(_MISREAD)
    return code if len(typed) <= TEXT_CHARS and _CODE.fullmatch(code) else None


def locator_of(code: str) -> str:
    """Return the part of a normalized code that says which course is meant."""
    return code[:_LOCATOR_CHARS]


def _code_of(index: BlindIndex, course_id: str, locator: str, nonce: bytes) -> str:
    digest = index.exact("join_code", course_id, locator, nonce.hex())
    return locator + "".join(_ALPHABET[byte % 32] for byte in digest[:_SECRET_CHARS])


def _grouped(code: str) -> str:
    return "-".join(code[start : start + 4] for start in range(0, len(code), 4))


async def open_new(executor: Executor, index: BlindIndex, course_id: str, lifetime: timedelta) -> JoinCode:
    """Give a course a new code, which takes the place of the one before, and return it.

    Raises:
        ValueError: the lifetime is not positive or longer than ``MAX_LIFETIME``.
        asyncpg.ForeignKeyViolationError: no such course.
    """
    if not timedelta() < lifetime <= MAX_LIFETIME:
        raise ValueError(f"a code lives at most {MAX_LIFETIME}, not {lifetime}")
    # Two courses never have the same locator: another one is taken until it is free.
    while True:
        locator = "".join(secrets.choice(_ALPHABET) for _ in range(_LOCATOR_CHARS))
        nonce = secrets.token_bytes(16)
        row = await executor.fetchrow(
            """
            INSERT INTO join_codes (course_id, locator, nonce, expires_at)
            SELECT $1, $2, $3, now() + $4::interval
            WHERE NOT EXISTS (SELECT FROM join_codes WHERE locator = $2)
            ON CONFLICT (course_id) DO UPDATE SET locator = excluded.locator, nonce = excluded.nonce,
                opened_at = now(), expires_at = excluded.expires_at, people = 0
            RETURNING opened_at, expires_at
            """,
            course_id,
            locator,
            nonce,
            lifetime,
        )
        if row is not None:
            code = _grouped(_code_of(index, course_id, locator, nonce))
            return JoinCode(code, row["opened_at"], row["expires_at"], 0)


async def get(executor: Executor, index: BlindIndex, course_id: str) -> JoinCode | None:
    """Return a course's code, None where joining is closed or the code's time is over."""
    row = await executor.fetchrow("SELECT * FROM join_codes WHERE course_id = $1 AND expires_at > now()", course_id)
    if row is None:
        return None
    code = _grouped(_code_of(index, course_id, row["locator"], row["nonce"]))
    return JoinCode(code, row["opened_at"], row["expires_at"], row["people"])


async def close(executor: Executor, course_id: str) -> bool:
    """End a course's code; return False where joining was closed. Who has joined stays."""
    sql = "DELETE FROM join_codes WHERE course_id = $1 RETURNING expires_at > now()"
    return bool(await executor.fetchval(sql, course_id))


async def open_locator(executor: Executor, code: str) -> str | None:
    """Return the first part of a normalized code, None where no code that is open begins so."""
    locator = locator_of(code)
    sql = "SELECT locator FROM join_codes WHERE locator = $1 AND expires_at > now()"
    found: str | None = await executor.fetchval(sql, locator)
    return found


async def course_of(connection: Connection, index: BlindIndex, code: str) -> tuple[str, int] | None:
    """Return the course that a normalized code opens, and how many joined by it; None for a wrong code.

    Locks the code's row until the transaction ends: once ``close`` has returned, nobody gets in.
    """
    row = await connection.fetchrow(
        "SELECT course_id, nonce, people FROM join_codes WHERE locator = $1 AND expires_at > now() FOR UPDATE",
        locator_of(code),
    )
    # Compared even if no course has this locator, so that the response time reveals nothing.
    course_id, nonce = ("", bytes(16)) if row is None else (row["course_id"], row["nonce"])
    right = hmac.compare_digest(_code_of(index, course_id, locator_of(code), nonce), code)
    return None if row is None or not right else (course_id, row["people"])


async def count(connection: Connection, course_id: str) -> None:
    """Count one more who joined by a course's code."""
    await connection.execute("UPDATE join_codes SET people = people + 1 WHERE course_id = $1", course_id)
