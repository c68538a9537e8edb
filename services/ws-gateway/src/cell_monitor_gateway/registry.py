"""The open sessions of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from typing import Final

from cell_monitor_gateway import metrics
from cell_monitor_gateway.session import Session

__all__ = ["SessionRegistry"]

_DEADLINES_INTERVAL_SECONDS: Final = 0.5


class SessionRegistry(Collection[Session]):
    """Sessions whose connection is open, those that are closing included."""

    def __init__(self) -> None:
        self._sessions: set[Session] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions)

    def __contains__(self, session: object) -> bool:
        return session in self._sessions

    def add(self, session: Session) -> None:
        """Register a session whose handshake is done."""
        self._sessions.add(session)
        metrics.CONNECTIONS.inc()
        metrics.OPENED.inc()

    def discard(self, session: Session) -> None:
        """Forget a session whose connection has ended."""
        self._sessions.discard(session)
        metrics.CONNECTIONS.dec()

    async def watch_deadlines(self) -> None:
        """Check every session's deadlines again and again; ends only by cancellation."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_DEADLINES_INTERVAL_SECONDS)
            now = loop.time()
            for session in list(self._sessions):
                session.check_deadlines(now)
