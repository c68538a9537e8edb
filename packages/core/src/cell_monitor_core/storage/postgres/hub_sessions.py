"""Sign-ins that JupyterHub vouches for: each with the token that the Hub gave, encrypted, and when to ask about it again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.storage.postgres.due_times import due_again
from cell_monitor_core.storage.postgres.pool import Executor

__all__ = ["TOKEN", "HubSession", "answered", "claim_due", "create", "use"]

TOKEN: Final = "hub_sessions.token"  # noqa: S105 - the name of a column


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


def _session(keyring: KeyRing, row: Any) -> HubSession:
    token: str | None
    try:
        token = keyring.decrypt_text(row["token_enc"], context=TOKEN, row=row["person_id"].bytes)
    except DecryptionError:
        token = None
    return HubSession(row["cookie_hash"], row["person_id"], token, row["silent"])


async def create(
    executor: Executor, keyring: KeyRing, cookie_hash: bytes, person_id: UUID, token: str, *, interval: timedelta
) -> None:
    """Store the Hub's token of a sign-in, about which the Hub has just been asked."""
    await executor.execute(
        "INSERT INTO hub_sessions (cookie_hash, person_id, token_enc, due_at) "  # noqa: S608 - no values
        f"VALUES ($1, $2, $3, {due_again('$4')})",
        cookie_hash,
        person_id,
        keyring.encrypt_text(token, context=TOKEN, row=person_id.bytes),
        interval,
    )


async def use(executor: Executor, keyring: KeyRing, cookie_hash: bytes, *, interval: timedelta) -> HubSession | None:
    """Note that a sign-in is used; return it if the Hub is to be asked now; of several callers one gets it."""
    row = await executor.fetchrow(
        f"""
        WITH before AS (SELECT cookie_hash, due_at <= now() AS due FROM hub_sessions WHERE cookie_hash = $1 FOR UPDATE)
        UPDATE hub_sessions s SET used_at = now(),
            due_at = CASE WHEN due THEN {due_again("$2")} ELSE due_at END
        FROM before WHERE s.cookie_hash = before.cookie_hash
        RETURNING s.cookie_hash, person_id, token_enc, now() - answered_at AS silent, due
        """,  # noqa: S608 - no values
        cookie_hash,
        interval,
    )
    return _session(keyring, row) if row is not None and row["due"] else None


async def claim_due(
    executor: Executor, keyring: KeyRing, *, interval: timedelta, used_within: timedelta, most: int
) -> list[HubSession]:
    """Return sign-ins that are in use and due to be asked about; of two callers each gets others."""
    rows = await executor.fetch(
        f"""
        WITH due AS (
            SELECT cookie_hash FROM hub_sessions WHERE due_at <= now() AND used_at > now() - $2::interval
            ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        UPDATE hub_sessions s SET due_at = {due_again("$1")}
        FROM due WHERE s.cookie_hash = due.cookie_hash
        RETURNING s.cookie_hash, person_id, token_enc, now() - answered_at AS silent
        """,  # noqa: S608 - no values
        interval,
        used_within,
        most,
    )
    return [_session(keyring, row) for row in rows]


async def answered(executor: Executor, cookie_hash: bytes) -> None:
    """Note that the Hub has answered about a sign-in."""
    await executor.execute("UPDATE hub_sessions SET answered_at = now() WHERE cookie_hash = $1", cookie_hash)
