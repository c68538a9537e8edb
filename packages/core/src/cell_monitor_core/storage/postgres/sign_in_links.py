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
from enum import Enum, auto
from typing import Final
from uuid import UUID

from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["MAX_LIFETIME", "LinkUse", "Refusal", "create", "revoke_person", "use"]

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
    INVALID = auto()
    """Unknown, malformed or out of date."""


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


async def use(executor: Executor, presented: str) -> LinkUse | Refusal:
    """Return the person whose link was presented, and end the link. Of two uses at the same time one is refused."""
    match = _LINK.fullmatch(presented)
    if match is None:
        return Refusal.INVALID
    row = await executor.fetchrow("SELECT secret_hash, used_at FROM sign_in_links WHERE link_id = $1", match[1])
    # Compared even if no link was found, so that the response time reveals nothing.
    expected = row["secret_hash"] if row is not None else bytes(32)
    if not hmac.compare_digest(expected, _hash(match[2])) or row is None:
        return Refusal.INVALID
    if row["used_at"] is not None:
        return Refusal.USED
    # One statement: after an end of all sign-ins the link counts as used, before it the generation is the earlier one.
    used_now = await executor.fetchrow(
        "UPDATE sign_in_links l SET used_at = now() WHERE link_id = $1 AND used_at IS NULL AND expires_at > now() "
        "RETURNING person_id, (SELECT sign_in_generation FROM people p WHERE p.person_id = l.person_id)",
        match[1],
    )
    if used_now is not None:
        return LinkUse(*used_now)
    used = await executor.fetchval("SELECT used_at IS NOT NULL FROM sign_in_links WHERE link_id = $1", match[1])
    return Refusal.USED if used else Refusal.INVALID


async def revoke_person(executor: Executor, person_id: UUID) -> None:
    """End all of a person's links, as after a change of password."""
    await executor.execute(
        "UPDATE sign_in_links SET used_at = now() WHERE person_id = $1 AND used_at IS NULL", person_id
    )


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
