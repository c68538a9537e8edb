"""Refusals of events, as the staff of a course see them: how many people's work is not recorded, and why.

Ingest notes in memory who is refused and who is accepted; ``step`` writes what follows every two seconds, so that no request
waits for it. Whose events are accepted again is refused no longer, whichever process of the API sees it; what the roster
says now decides as well, when the refusals are read. What a sender may cause is bounded: one entry for each sender and
interval, of courses that exist, and ``MAX_SENDERS`` for a course.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog

from cell_monitor_api.exceptions import BrokerUnavailable
from cell_monitor_api.models.courses import CourseRefusals, RefusedPeople
from cell_monitor_api.storage.refused_senders import WINDOW_S, RefusedSender, RefusedSenders
from cell_monitor_core.auth.roles import Role
from cell_monitor_core.crypto import BlindIndex
from cell_monitor_core.events.reasons import Reason
from cell_monitor_core.storage.ports import RedisUnavailable, StoreUnavailable
from cell_monitor_core.storage.postgres import courses, memberships
from cell_monitor_core.storage.postgres.memberships import MemberOfCourses
from cell_monitor_core.storage.postgres.pool import store_errors
from cell_monitor_core.timestamps import to_text

__all__ = ["RATE_LIMITED", "REFUSALS_INTERVAL_S", "Refusals"]

_log = structlog.get_logger(__name__)

RATE_LIMITED: Final = "rate_limited"
"""The events are not rejected: the sender keeps them and sends them later."""

COURSE_UNKNOWN: Final = "course_unknown"
"""``course_forbidden``, as the staff of the sender's own courses see it: the events name a course that does not exist."""

REFUSALS_INTERVAL_S: Final = 2.0

_OF_THE_SENDER: Final = frozenset(
    {str(Reason.COURSE_FORBIDDEN), str(Reason.COURSE_REQUIRED), str(Reason.NO_COURSE), COURSE_UNKNOWN, RATE_LIMITED}
)
"""Reasons that concern the sender: they end when events of theirs are accepted. The others concern single events; that
events of other types are accepted says nothing about those."""

_MAX_PENDING: Final = 2000
_MAX_ACCEPTED: Final = 50_000
_MAX_COURSES: Final = 8
_LEFT_LATELY: Final = timedelta(days=30)
"""A removal longer ago concerns the staff of that course no more."""


@dataclass(frozen=True, slots=True)
class _Noted:
    """A refusal that is not written yet.

    Attributes:
        own: the courses in which the sender is a student.
        named: the course that the events name, None where they name none that could be read.
    """

    reason: str
    own: tuple[str, ...]
    named: str | None
    at: float


class Refusals:
    """Notes and reads refusals; ``step`` is to be repeated every ``REFUSALS_INTERVAL_S``.

    Args:
        pool: PostgreSQL, to ask which courses exist and who is in them.
        index: has the key of the digests that stand for senders.
        senders: where they are kept.
        clock: seconds since the epoch.
    """

    def __init__(
        self, pool: Any, index: BlindIndex, senders: RefusedSenders, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._pool = pool
        self._key = index.exact("refused_senders")
        self._senders = senders
        self._clock = clock
        self._pending: dict[bytes, _Noted] = {}
        # Of this interval and of the one before: another process may not have written its refusals yet.
        self._accepted: dict[bytes, float] = {}
        self._accepted_before: dict[bytes, float] = {}

    def note(self, person: bytes, reason: str, own_courses: Sequence[str], hint: str | None) -> None:
        """Note that events of a sender are refused.

        Args:
            person: the sender's id, 16 bytes.
            reason: why.
            own_courses: those in which the sender is a student.
            hint: the course that the events name.
        """
        # An event that cannot be read names no course.
        if reason not in _OF_THE_SENDER and len(own_courses) != 1:
            return
        if len(self._pending) >= _MAX_PENDING and person not in self._pending:
            return
        named = hint if reason == Reason.COURSE_FORBIDDEN else None
        self._pending[person] = _Noted(reason, tuple(own_courses[:_MAX_COURSES]), named, self._clock())

    def note_accepted(self, person: bytes) -> None:
        """Note that all events of a sender's request are accepted."""
        if len(self._accepted) < _MAX_ACCEPTED:
            self._accepted[person] = self._clock()

    async def read(self, course_id: str) -> CourseRefusals:
        """Return whose events are refused in a course, as numbers.

        Raises:
            BrokerUnavailable: Redis is unavailable.
        """
        try:
            found = await self._senders.read(course_id, self._clock())
        except RedisUnavailable as error:
            raise BrokerUnavailable("Redis is unavailable; try again later", retry_after=1) from error
        if found:
            members = await memberships.members_with_courses(self._pool, course_id)
            by_digest = {self._digest(member.person_id.bytes): member for member in members}
            found = [each for each in found if _holds(each.reason, by_digest.get(each.digest))]
        times: dict[str, list[float]] = {}
        for each in found:
            times.setdefault(each.reason, []).append(each.at)
        return CourseRefusals(
            window_s=WINDOW_S,
            refusals=[
                RefusedPeople(reason, len(at), to_text(datetime.fromtimestamp(max(at), UTC)))
                for reason, at in sorted(times.items(), key=lambda item: (-len(item[1]), item[0]))
            ],
        )

    async def step(self) -> None:
        """Write what was noted, and remove senders whose events have been accepted since."""
        pending, self._pending = self._pending, {}
        accepted = self._accepted_before | self._accepted
        self._accepted_before, self._accepted = self._accepted, {}
        try:
            await self._write(
                {person: noted for person, noted in pending.items() if not _is_over(noted, accepted.get(person))}
            )
            await self._remove(accepted)
        except StoreUnavailable as error:
            # The next refusal is noted again, and so is the next event that is accepted.
            _log.warning("refusals_not_written", reason=str(error))

    async def _write(self, pending: dict[bytes, _Noted]) -> None:
        named = {noted.named for noted in pending.values() if noted.named is not None}
        nowhere = [UUID(bytes=person) for person, noted in pending.items() if not noted.own]
        existing: set[str] = set()
        left: dict[UUID, list[str]] = {}
        with store_errors():
            if named:
                existing = await courses.existing(self._pool, named)
            if nowhere:
                left = await memberships.courses_left(self._pool, nowhere, within=_LEFT_LATELY, most=_MAX_COURSES)
        by_course: dict[str, list[RefusedSender]] = {}
        for person, noted in pending.items():
            reason, concerned = _concerned(noted, existing, left.get(UUID(bytes=person), ()))
            sender = RefusedSender(reason, self._digest(person), noted.at)
            for course in concerned:
                by_course.setdefault(course, []).append(sender)
        now = self._clock()
        for course, senders in by_course.items():
            await self._senders.add(course, senders, now)

    async def _remove(self, accepted: dict[bytes, float]) -> None:
        now = self._clock()
        refused_in = await self._senders.courses(now) if accepted else []
        if not refused_in:
            return
        times = {self._digest(person): at for person, at in accepted.items()}
        for course in refused_in:
            over = [
                each
                for each in await self._senders.read(course, now)
                if each.reason in _OF_THE_SENDER and times.get(each.digest, 0.0) > each.at
            ]
            if over:
                await self._senders.remove(course, over)

    def _digest(self, person: bytes) -> str:
        """Return a name for a sender from which nobody without the installation's key finds the person."""
        return hashlib.blake2b(person, digest_size=8, key=self._key).hexdigest()


def _concerned(noted: _Noted, existing: Container[str], left: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return why a sender is refused as staff see it, and the courses whose staff can do something about it.

    Args:
        noted: the refusal.
        existing: the courses that exist, of those that are named.
        left: the courses from which the sender was removed lately.
    """
    if noted.named is not None:
        if noted.named in existing:
            return noted.reason, (noted.named,)
        if noted.own:
            return COURSE_UNKNOWN, noted.own
        return str(Reason.NO_COURSE), left
    return noted.reason, noted.own or (left if noted.reason == Reason.NO_COURSE else ())


def _is_over(noted: _Noted, accepted_at: float | None) -> bool:
    return accepted_at is not None and accepted_at > noted.at and noted.reason in _OF_THE_SENDER


def _holds(reason: str, member: MemberOfCourses | None) -> bool:
    """Return whether a reason still holds of a sender, by what the roster says now."""
    if reason in {Reason.COURSE_FORBIDDEN, Reason.NO_COURSE}:
        return member is None
    if member is None or member.role != Role.STUDENT:
        return False
    return reason != Reason.COURSE_REQUIRED or member.courses > 1
