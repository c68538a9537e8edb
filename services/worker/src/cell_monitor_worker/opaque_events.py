"""Derives the events that an earlier release stored as opaque, and does what a batch's events would have had done.

Several workers may do this at once: each event is derived by one of them, and publishing a state or writing a point again
changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import Final

import asyncpg
import structlog

from cell_monitor_core import keys
from cell_monitor_core.channels import course_channel
from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.derivation.errors import ErrorSigner
from cell_monitor_core.derivation.reduce import StudentKey
from cell_monitor_core.publishing import Publisher, State, draft_of
from cell_monitor_core.storage.ports import PoisonPoints, StoreUnavailable, TimeSeries
from cell_monitor_core.storage.postgres import derivation_keys, help_queries, opaque_events, student_states
from cell_monitor_core.storage.postgres.opaque_events import OutboxEntry
from cell_monitor_core.storage.postgres.pool import Connection, store_errors
from cell_monitor_core.telemetry.metrics import OPAQUE_EVENTS, OPAQUE_EVENTS_WAITING
from cell_monitor_worker.course_publisher import CoursePublisher
from cell_monitor_worker.points import fact_point

__all__ = ["OpaqueEvents"]

_log = structlog.get_logger(__name__)

_LIMIT: Final = 1000
_DERIVED: Final = OPAQUE_EVENTS.labels("derived")
_UNREADABLE: Final = OPAQUE_EVENTS.labels("unreadable")


class OpaqueEvents:
    """The opaque events that this release knows.

    Args:
        pool: where they are.
        keyring: reads payloads.
        publisher: where states go; None in a process that does not work for the group ``postgres``.
        courses: publishes the counters.
        series: where points go; None in a process that does not work for the group ``influxdb``.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[asyncpg.Record],
        keyring: KeyRing,
        publisher: Publisher | None,
        courses: CoursePublisher,
        series: TimeSeries | None,
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._publisher = publisher
        self._courses = courses
        self._series = series

    async def run(self) -> bool:
        """Derive, publish and write all that waits; return False where a store is unavailable and some of it still waits."""
        return all([await self._attempt(self._derive_and_publish), await self._attempt(self._write_points)])

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> bool:
        # Each by itself: the two stores fail apart.
        try:
            with store_errors():
                await work()
        except StoreUnavailable as error:
            _log.info("opaque_events_skipped", reason=str(error))
            return False
        return True

    async def _derive_and_publish(self) -> None:
        if self._publisher is None:
            return
        students = await opaque_events.students_with_known_events(self._pool)
        if students:
            signer = ErrorSigner(await derivation_keys.error_signature_key(self._pool, self._keyring))
            for student in students:
                await self._derive(signer, student)
        OPAQUE_EVENTS_WAITING.set(await opaque_events.count_opaque(self._pool))
        publisher = self._publisher
        await self._each_entry(
            keys.GROUP_POSTGRES, lambda connection, entries: self._publish(connection, publisher, entries)
        )

    async def _derive(self, signer: ErrorSigner, student: StudentKey) -> None:
        more = True
        while more:
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    done = await opaque_events.derive_student(connection, self._keyring, signer, student)
            except DecryptionError as error:
                # A key is missing, as during a rotation: the next round tries again.
                _log.error("opaque_events_encrypted", student_id=str(student[1]), reason=str(error))
                return
            _DERIVED.inc(done.derived)
            _UNREADABLE.inc(len(done.unreadable))
            for event_id, reason in done.unreadable:
                _log.warning("opaque_event_unreadable", event_id=str(event_id), reason=reason)
            more = done.more

    async def _each_entry(
        self, group: str, work: Callable[[Connection, Sequence[OutboxEntry]], Awaitable[None]]
    ) -> None:
        """Do a group's work for all entries, and delete those for which it is done."""
        more = True
        while more:
            async with self._pool.acquire() as connection, connection.transaction():
                entries = await opaque_events.claim_entries(connection, group, limit=_LIMIT)
                if entries:
                    await work(connection, entries)
                    await opaque_events.delete_entries(connection, group, entries)
            more = len(entries) == _LIMIT

    async def _publish(self, connection: Connection, publisher: Publisher, entries: Sequence[OutboxEntry]) -> None:
        """Publish the present states of the events' students and of their requests for help."""
        students = sorted({(entry.course_id, entry.person_id) for entry in entries})
        shown = await student_states.shown_states(connection, self._keyring, students)
        for course_id, of_course in groupby(students, key=lambda student: student[0]):
            states: list[State] = []
            for student in of_course:
                states += await help_queries.list_of_student(connection, self._keyring, *student)
                if student in shown:
                    states.append(shown[student])
            await publisher.publish(course_channel(course_id), [draft_of(state) for state in states])
            self._courses.mark([course_id])

    async def _write_points(self) -> None:
        if self._series is not None:
            series = self._series
            await self._each_entry(
                keys.GROUP_TIMESERIES, lambda connection, entries: _write(connection, series, entries)
            )


async def _write(connection: Connection, series: TimeSeries, entries: Sequence[OutboxEntry]) -> None:
    facts = await opaque_events.facts_of(connection, entries)
    try:
        await series.write([fact_point(fact, entry.person_id, entry.course_id) for entry, fact in facts])
    except PoisonPoints as poison:
        for point, reason in poison.points:
            _log.warning("opaque_event_without_point", event_id=str(point.event_id), reason=reason)
