"""Notices for a student in JupyterLab: the state of their requests for help.

They are read from PostgreSQL within a short time limit, so that ingest never waits longer for it. If that fails, the
answer states that the notices are unknown, so that a student's open request stays visible.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.publications import NotebookRef
from cell_monitor_core.storage.postgres import help_queries, people
from cell_monitor_core.timestamps import to_text

__all__ = ["HelpNotice", "Notices"]

_log = structlog.get_logger(__name__)

_NAME_LIFETIME_S: Final = 60.0
_MAX_NAMES: Final = 2000
_MAX_READING: Final = 64


class HelpNotice(msgspec.Struct, frozen=True, kw_only=True):
    """One request for help of the sender.

    Attributes:
        request_id: the event id of the sender's own ``help_requested``, which is all that the sender knows of it.
        course: where it was asked: what the sender does about it names this course, wherever the sender is then.
        notebook: likewise.
        by: who claimed or resolved it.
        at: its last change, RFC 3339.
    """

    kind: str = "help"
    request_id: str
    course: str
    notebook: NotebookRef | None
    status: str
    by: str | None
    at: str


class Notices:
    """Notices of a sender.

    Args:
        pool: PostgreSQL.
        keyring: to read names.
        budget_s: seconds after which an answer goes out without notices.
        pause_s: seconds for which PostgreSQL is not asked again after it failed.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        pool: Any,
        keyring: KeyRing,
        *,
        budget_s: float = 0.3,
        pause_s: float = 2.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._budget_s = budget_s
        self._pause_s = pause_s
        self._clock = clock
        self._paused_until = 0.0
        self._reading: set[asyncio.Task[list[HelpNotice]]] = set()
        self._names: dict[UUID, tuple[str | None, float]] = {}

    async def of(self, person_id: UUID) -> list[HelpNotice] | None:
        """Return the sender's requests that are open or changed lately; None where PostgreSQL does not answer."""
        if len(self._reading) >= _MAX_READING or self._clock() < self._paused_until:
            return None
        # A task of its own, because a query that is cancelled waits for a server that may not answer: we do not.
        reading = asyncio.create_task(self._read(person_id), name="notices")
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)
        await asyncio.wait((reading,), timeout=self._budget_s)
        if reading.cancelled():
            return None
        if reading.done() and reading.exception() is None:
            return reading.result()
        reason = type(reading.exception()).__name__ if reading.done() else "TimeoutError"
        if not reading.done():
            reading.cancel()
            reading.add_done_callback(_retrieve)
        self._paused_until = self._clock() + self._pause_s
        _log.warning("notices_unavailable", reason=reason)
        return None

    async def aclose(self) -> None:
        """Cancel the reads in progress."""
        for reading in list(self._reading):
            reading.cancel()
        if self._reading:
            await asyncio.wait(self._reading, timeout=self._budget_s)

    async def _read(self, person_id: UUID) -> list[HelpNotice]:
        found = await help_queries.notices_of_person(self._pool, person_id)
        names = await self._names_of({notice.by for notice in found if notice.by is not None})
        return [
            HelpNotice(
                request_id=str(notice.event_id),
                course=notice.course_id,
                notebook=notice.notebook,
                status=notice.status,
                by=None if notice.by is None else names.get(notice.by),
                at=to_text(notice.at),
            )
            for notice in found
        ]

    async def _names_of(self, person_ids: set[UUID]) -> dict[UUID, str | None]:
        now = self._clock()
        known = {
            person_id: name
            for person_id in person_ids
            for name, until in [self._names.get(person_id, (None, 0.0))]
            if until > now
        }
        missing = person_ids - known.keys()
        if missing:
            read = await people.names_of(self._pool, self._keyring, missing)
            for person_id in missing:
                name = read.get(person_id)
                known[person_id] = None if name is None else name.shown
                self._names[person_id] = (known[person_id], now + _NAME_LIFETIME_S)
            while len(self._names) > _MAX_NAMES:
                del self._names[next(iter(self._names))]
        return known


def _retrieve(reading: asyncio.Task[list[HelpNotice]]) -> None:
    """Take note of how a task ended that nobody waits for."""
    if not reading.cancelled():
        reading.exception()
