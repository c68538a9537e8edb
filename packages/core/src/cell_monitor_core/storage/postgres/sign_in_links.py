"""Links that sign a person in once: ``<link id>_<secret>``, of which only the SHA-256 of the 256-bit secret is stored.

A secret of full entropy needs no slow hash: there is nothing to guess from a list.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, StrEnum, auto
from typing import Final
from uuid import UUID

from cell_monitor_core.auth.audit import SYSTEM, Actor, AuditAction
from cell_monitor_core.storage.postgres import audit
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = [
    "MAX_LIFETIME",
    "EndedBy",
    "LinkUse",
    "Refusal",
    "RefusedLink",
    "create",
    "end_of_use",
    "revoke_person",
    "use",
]

MAX_LIFETIME: Final = timedelta(days=1)
_KEPT: Final = timedelta(days=1)
"""How long a link stays stored after its end, so that a second use is distinguished from an invalid link."""

_LINK: Final = re.compile(r"([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class LinkUse:
    """Whose link was used; ``sign_in_generation`` is from the moment of the use, see ``sign_ins.begin``."""

    person_id: UUID
    sign_in_generation: int


class Refusal(Enum):
    """Why a link signs nobody in."""

    USED = auto()
    """It signed somebody in."""
    ENDED = auto()
    """It was ended before anybody signed in with it."""
    EXPIRED = auto()
    """Nobody used it in time."""
    OF_ANOTHER = auto()
    """It is not that of the person who alone may use it here. It can still be used."""
    INVALID = auto()
    """Unknown, malformed, or over for so long that it is not stored any more."""


class EndedBy(StrEnum):
    """The act that ended a person's links (migration 0027)."""

    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of an act
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of an act
    SIGNED_OUT_EVERYWHERE = "signed_out_everywhere"


@dataclass(frozen=True, slots=True)
class RefusedLink:
    """A link that signs nobody in.

    Attributes:
        why: what is the matter with it.
        ended_by: by what it was ended, None where it was not, or where that is not known.
        person_id: whose link it was, None where the secret is not that of a link.
    """

    why: Refusal
    ended_by: EndedBy | None = None
    person_id: UUID | None = None


_UNKNOWN: Final = RefusedLink(Refusal.INVALID)


async def create(executor: Executor, person_id: UUID, lifetime: timedelta) -> str:
    """Store a link of a person and return its text, which cannot be had a second time. Deletes links that ended long ago.

    Raises:
        ValueError: the lifetime is not positive or longer than ``MAX_LIFETIME``.
    """
    if not timedelta() < lifetime <= MAX_LIFETIME:
        raise ValueError(f"a link lives at most {MAX_LIFETIME}, not {lifetime}")
    link_id = secrets.token_hex(8)
    secret = secrets.token_urlsafe(32)
    await executor.execute("DELETE FROM sign_in_links WHERE expires_at < now() - $1::interval", _KEPT)
    await executor.execute(
        "INSERT INTO sign_in_links (link_id, secret_hash, person_id, expires_at) "
        "VALUES ($1, $2, $3, now() + $4::interval)",
        link_id,
        _hash(secret),
        person_id,
        lifetime,
    )
    return f"{link_id}_{secret}"


async def use(executor: Executor, presented: str, *, only: UUID | None = None) -> LinkUse | RefusedLink:
    """Return the person whose link was presented, and end the link. Of two uses at the same time one is refused.

    Args:
        executor: a connection or a pool.
        presented: the link's text.
        only: the person whose link alone is used; None for anybody's.
    """
    match = _LINK.fullmatch(presented)
    if match is None:
        return _UNKNOWN
    secret_hash = await executor.fetchval("SELECT secret_hash FROM sign_in_links WHERE link_id = $1", match[1])
    # Compared even if no link was found, so that the response time reveals nothing.
    expected = secret_hash if secret_hash is not None else bytes(32)
    if not hmac.compare_digest(expected, _hash(match[2])) or secret_hash is None:
        return _UNKNOWN
    # One statement: after an end of all sign-ins the link is ended, before it the generation is the earlier one.
    used_now = await executor.fetchrow(
        "UPDATE sign_in_links l SET used_at = now() "
        "WHERE link_id = $1 AND used_at IS NULL AND ended_at IS NULL AND expires_at > now() "
        "AND ($2::uuid IS NULL OR person_id = $2) "
        "RETURNING person_id, (SELECT sign_in_generation FROM people p WHERE p.person_id = l.person_id)",
        match[1],
        only,
    )
    if used_now is not None:
        return LinkUse(*used_now)
    row = await executor.fetchrow(
        "SELECT person_id, used_at, ended_at, end_cause, expires_at > now() AS lives FROM sign_in_links "
        "WHERE link_id = $1",
        match[1],
    )
    if row is None:
        return _UNKNOWN
    if row["ended_at"] is not None:
        ended_by = None if row["end_cause"] is None else EndedBy(row["end_cause"])
        return RefusedLink(Refusal.ENDED, ended_by, row["person_id"])
    if row["used_at"] is not None:
        why = Refusal.USED
    else:
        why = Refusal.OF_ANOTHER if row["lives"] and only not in {None, row["person_id"]} else Refusal.EXPIRED
    return RefusedLink(why, None, row["person_id"])


async def end_of_use(executor: Executor, presented: str) -> None:
    """Note that a link whose use had begun signed nobody in, because all sign-ins of its person were ended meanwhile.

    By which act is not known: it saw the link as used. The audit log gets an entry in the same statement.

    Args:
        executor: a connection or a pool.
        presented: the link, as ``use`` accepted it.
    """
    await executor.execute(
        "WITH ended AS (UPDATE sign_in_links SET used_at = NULL, ended_at = now() "  # noqa: S608 - no values
        f"WHERE link_id = $1 AND used_at IS NOT NULL RETURNING person_id, end_cause) {_ended_entries(2)}",
        presented.partition("_")[0],
        *SYSTEM.columns,
    )


async def revoke_person(executor: Executor, person_id: UUID, ended_by: EndedBy, *, by: Actor) -> None:
    """End all links of a person that can still be used; call it in the transaction of the act that ends them.

    The audit log gets an entry for each in the same statement.

    Args:
        executor: a connection.
        person_id: whose links.
        ended_by: the act.
        by: who does it.
    """
    await executor.execute(
        "WITH ended AS (UPDATE sign_in_links SET ended_at = now(), end_cause = $2 "  # noqa: S608 - no values
        "WHERE person_id = $1 AND used_at IS NULL AND ended_at IS NULL AND expires_at > now() "
        f"RETURNING person_id, end_cause) {_ended_entries(3)}",
        person_id,
        ended_by.value,
        *by.columns,
    )


def _ended_entries(actor: int) -> str:
    """Return SQL that enters each row of ``ended (person_id, end_cause)``; ``actor``: number of its first parameter."""
    return audit.entries_from(
        "ended",
        f"'{AuditAction.SIGN_IN_LINK_ENDED}'",
        actor,
        subject="person_id",
        details="jsonb_strip_nulls(jsonb_build_object('cause', end_cause))",
    )


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
