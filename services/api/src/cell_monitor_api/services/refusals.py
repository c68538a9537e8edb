"""Refusals of events, as the staff of a course see them: how many people's work is not recorded, and why.

Ingest notes a refusal in memory; a task writes what was noted every two seconds, so that no request waits for it. What a
sender may cause is bounded: one entry for each sender and interval, of courses that exist, and ``MAX_SENDERS`` for a course.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from cell_monitor_api.exceptions import BrokerUnavailable
from cell_monitor_api.models.courses import CourseRefusals, RefusedPeople
from cell_monitor_api.storage.refused_senders import WINDOW_S, RefusedSenders
from cell_monitor_core.events.reasons import Reason
from cell_monitor_core.storage.ports import RedisUnavailable
from cell_monitor_core.storage.postgres import courses
from cell_monitor_core.timestamps import to_text

__all__ = ["RATE_LIMITED", "Refusals"]

_log = structlog.get_logger(__name__)

RATE_LIMITED: Final = "rate_limited"
"""The events are not rejected: the sender keeps them and sends them later."""

_OF_ALL_COURSES: Final = frozenset({str(Reason.COURSE_REQUIRED), RATE_LIMITED})
_MAX_PENDING: Final = 2000
_MAX_COURSES: Final = 8
_INTERVAL_S: Final = 2.0


class Refusals:
    """Notes and reads refusals.

    Args:
        pool: PostgreSQL, to ask which courses exist.
        senders: where they are kept.
        interval_s: seconds between two writes.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        pool: Any,
        senders: RefusedSenders,
        *,
        interval_s: float = _INTERVAL_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._senders = senders
        self._interval_s = interval_s
        self._clock = clock
        # person -> reason, courses, and whether the courses are the person's own.
        self._pending: dict[bytes, tuple[str, tuple[str, ...], bool]] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, person: bytes, reason: str, own_courses: Sequence[str], hint: str | None) -> None:
        """Note that events of a sender are refused.

        Args:
            person: the sender's id, 16 bytes.
            reason: why.
            own_courses: those in which the sender is a student.
            hint: the course that the events name.
        """
        foreign = reason == Reason.COURSE_FORBIDDEN
        if foreign:
            concerned: tuple[str, ...] = () if hint is None else (hint,)
        elif reason in _OF_ALL_COURSES or len(own_courses) == 1:
            concerned = tuple(own_courses[:_MAX_COURSES])
        else:
            # An event that cannot be read names no course.
            concerned = ()
        if not concerned or (len(self._pending) >= _MAX_PENDING and person not in self._pending):
            return
        self._pending[person] = (reason, concerned, not foreign)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_later(), name="refusals")

    async def read(self, course_id: str) -> CourseRefusals:
        """Return whose events were refused lately in a course, as numbers.

        Raises:
            BrokerUnavailable: Redis is unavailable.
        """
        try:
            found = await self._senders.read(course_id, self._clock())
        except RedisUnavailable as error:
            raise BrokerUnavailable("Redis is unavailable; try again later", retry_after=1) from error
        return CourseRefusals(
            window_s=WINDOW_S,
            refusals=[
                RefusedPeople(each.reason, each.senders, to_text(datetime.fromtimestamp(each.last_at, UTC)))
                for each in found
            ],
        )

    async def aclose(self) -> None:
        """Cancel the write in progress: what was noted last is noted again by the next refusal."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait((self._writing,))

    async def _write_later(self) -> None:
        try:
            await asyncio.sleep(self._interval_s)
            pending, self._pending = self._pending, {}
            await self._write(pending)
        except Exception as error:  # noqa: BLE001 - whatever fails here must not end ingest; the next refusal tries again
            _log.warning("refusals_not_written", reason=type(error).__name__)
        finally:
            self._writing = None
        if self._pending:
            self._writing = asyncio.create_task(self._write_later(), name="refusals")

    async def _write(self, pending: dict[bytes, tuple[str, tuple[str, ...], bool]]) -> None:
        named = {course for _, concerned, own in pending.values() if not own for course in concerned}
        existing = await courses.existing(self._pool, named) if named else set()
        by_course: dict[str, list[tuple[str, str]]] = {}
        for person, (reason, concerned, own) in pending.items():
            for course in concerned:
                if own or course in existing:
                    by_course.setdefault(course, []).append((reason, _digest(person, course)))
        now = self._clock()
        for course, senders in by_course.items():
            await self._senders.add(course, senders, now)


def _digest(person: bytes, course_id: str) -> str:
    """A name for a sender within a course from which nobody reads the person, and no two courses can be joined."""
    return hashlib.blake2b(person, digest_size=8, key=course_id.encode()).hexdigest()
