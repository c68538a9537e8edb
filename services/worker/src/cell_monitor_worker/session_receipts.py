"""When the API first received something of a session: no point of it is older, whatever wait its sender claims.

It is the rule by which facts get their times (``derivation.placing.not_before``). The time series may be ahead of the facts or
without them, so each process also remembers the sessions that it saw itself. PostgreSQL is asked only about sessions
with an event that is older than all that the process knows of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias
from uuid import UUID

import asyncpg

from cell_monitor_core.derivation.facts import Fact
from cell_monitor_core.derivation.placing import Arrival, not_before
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_core.storage.postgres.student_states import SessionKey, load_first_receipts

__all__ = ["LoadFirstReceipts", "SessionReceipts", "stored_receipts"]

LoadFirstReceipts: TypeAlias = Callable[[Sequence[SessionKey]], Awaitable[dict[SessionKey, int]]]
"""Returns the stored first receipts, milliseconds since the epoch; raises ``StoreUnavailable`` where it cannot."""

_MAX_KNOWN: Final = 100_000
# A point's time is right to ten seconds (``points.point_time``): a shorter wait needs no bound.
_SHORT_WAIT_MS: Final = 10_000


def stored_receipts(pool: asyncpg.Pool[asyncpg.Record]) -> LoadFirstReceipts:
    """Return what reads first receipts from PostgreSQL."""

    async def load(sessions: Sequence[SessionKey]) -> dict[SessionKey, int]:
        with store_errors():
            return await load_first_receipts(pool, sessions)

    return load


class SessionReceipts:
    """Bounds the times of facts by the first receipts of their sessions.

    Args:
        load: reads what is stored.
    """

    def __init__(self, load: LoadFirstReceipts) -> None:
        self._load = load
        self._first: dict[SessionKey, int] = {}
        self._asked: set[SessionKey] = set()

    async def bound(self, arrivals: Sequence[tuple[str, UUID, Arrival]]) -> list[Fact]:
        """Return facts, in the order given, none older than the first receipt of its session.

        Args:
            arrivals: course, person, and the fact at its receipt minus its wait.

        Raises:
            StoreUnavailable: an event waited, and it is not known since when its session is. Nothing else waits for PostgreSQL.
        """
        if len(self._first) > _MAX_KNOWN:
            self._first.clear()
            self._asked.clear()
        first = self._first
        keys = [(course, person, arrival.fact.session) for course, person, arrival in arrivals]
        for key, (_, _, arrival) in zip(keys, arrivals, strict=True):
            first[key] = min(arrival.received_at, first.get(key, arrival.received_at))
        unknown = {
            key
            for key, (_, _, (fact, received_at)) in zip(keys, arrivals, strict=True)
            if fact.at < first[key] and received_at - fact.at > _SHORT_WAIT_MS and key not in self._asked
        }
        if unknown:
            for key, stored in (await self._load(sorted(unknown))).items():
                first[key] = min(first[key], stored)
            self._asked |= unknown
        return [not_before(arrival.fact, first[key]) for key, (_, _, arrival) in zip(keys, arrivals, strict=True)]
