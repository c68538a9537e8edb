"""Sign-ins that JupyterHub vouches for: each with the token that the Hub gave, encrypted, and when to ask about it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["TOKEN", "HubSession", "answered", "claim_due", "create", "use"]

TOKEN: Final = "hub_sessions.token"  # noqa: S105 - the name of a column
_JITTER: Final = 0.2
"""A sign-in is asked about again after 80 to 100 % of the interval, so that those of a class do not come due together."""


@dataclass(frozen=True, slots=True)
class HubSession:
    """A sign-in that the Hub is to be asked about.

    Attributes:
        cookie_hash: names the sign-in.
        person_id: who signed in.
        token: that the Hub gave for it; None if it cannot be read with this key ring.
        silent: how long ago the Hub last answered about it.
    """

    cookie_hash: bytes
    person_id: UUID
    token: str | None
    silent: timedelta

    def __repr__(self) -> str:
        """Leave the token out of logs and tracebacks."""
        return f"HubSession(person_id={self.person_id!r}, silent={self.silent!r})"


def _sessions(keyring: KeyRing, rows: Iterable[Any]) -> list[HubSession]:
    return [HubSession(row["cookie_hash"], row["person_id"], _token(keyring, row), row["silent"]) for row in rows]


def _token(keyring: KeyRing, row: Any) -> str | None:
    try:
        return keyring.decrypt_text(row["token_enc"], context=TOKEN, row=row["person_id"].bytes)
    except DecryptionError:
        return None


async def create(
    executor: Executor, keyring: KeyRing, cookie_hash: bytes, person_id: UUID, token: str, *, interval: timedelta
) -> None:
    """Store the Hub's token of a sign-in, about which the Hub has just been asked."""
    await executor.execute(
        "INSERT INTO hub_sessions (cookie_hash, person_id, token_enc, due_at) "
        "VALUES ($1, $2, $3, now() + $4::interval * (1 - $5::float * random()))",
        cookie_hash,
        person_id,
        keyring.encrypt_text(token, context=TOKEN, row=person_id.bytes),
        interval,
        _JITTER,
    )


async def use(executor: Executor, keyring: KeyRing, cookie_hash: bytes, *, interval: timedelta) -> HubSession | None:
    """Note that a sign-in is used; return it if the Hub is to be asked now; of several callers one gets it."""
    rows = await executor.fetch(
        """
        WITH before AS (SELECT cookie_hash, due_at <= now() AS due FROM hub_sessions WHERE cookie_hash = $1 FOR UPDATE)
        UPDATE hub_sessions s SET used_at = now(),
            due_at = CASE WHEN due THEN now() + $2::interval * (1 - $3::float * random()) ELSE due_at END
        FROM before WHERE s.cookie_hash = before.cookie_hash
        RETURNING s.cookie_hash, person_id, token_enc, now() - answered_at AS silent, due
        """,
        cookie_hash,
        interval,
        _JITTER,
    )
    return next(iter(_sessions(keyring, [row for row in rows if row["due"]])), None)


async def claim_due(
    executor: Executor, keyring: KeyRing, *, interval: timedelta, used_within: timedelta, most: int
) -> list[HubSession]:
    """Return sign-ins that are in use and due to be asked about; of two callers each gets others."""
    rows = await executor.fetch(
        """
        WITH due AS (
            SELECT cookie_hash FROM hub_sessions WHERE due_at <= now() AND used_at > now() - $2::interval
            ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        UPDATE hub_sessions s SET due_at = now() + $1::interval * (1 - $4::float * random())
        FROM due WHERE s.cookie_hash = due.cookie_hash
        RETURNING s.cookie_hash, person_id, token_enc, now() - answered_at AS silent
        """,
        interval,
        used_within,
        most,
        _JITTER,
    )
    return _sessions(keyring, rows)


async def answered(executor: Executor, cookie_hash: bytes) -> None:
    """Note that the Hub has answered about a sign-in."""
    await executor.execute("UPDATE hub_sessions SET answered_at = now() WHERE cookie_hash = $1", cookie_hash)
