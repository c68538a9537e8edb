"""Ports: what the services need of their stores, apart from how a store does it.

Each port has one contract suite that all of its adapters pass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypeAlias
from uuid import UUID

from cell_monitor_core.publications import HelpState, Publication, PublicationKind, Snapshot, StudentState, Watermark
from cell_monitor_core.records import StreamRecord

__all__ = [
    "ActivityBucket",
    "AppendOutcome",
    "AppliedBatch",
    "Broker",
    "Draft",
    "EventConsumer",
    "EventProducer",
    "FactStore",
    "LogEntry",
    "LogUnavailable",
    "PoisonPoints",
    "PostgresUnavailable",
    "Recovery",
    "RedisUnavailable",
    "StoreUnavailable",
    "TimeSeries",
    "TimeSeriesPoint",
]


class LogUnavailable(Exception):  # noqa: N818 - says what happened to the store
    """The queue of events is unavailable, full or over its bound. Retry after ``retry_after`` seconds."""

    def __init__(self, reason: str, *, retry_after: int = 5) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class StoreUnavailable(Exception):  # noqa: N818 - says what happened to the store
    """A store is unavailable or overloaded. Nothing was stored; the work must be tried again."""


class PostgresUnavailable(StoreUnavailable):
    """PostgreSQL is unavailable or overloaded."""


class RedisUnavailable(StoreUnavailable):
    """Redis is unavailable, full or read-only."""


AppendOutcome: TypeAlias = Literal["accepted", "duplicate"]
"""What ``EventProducer.append`` says of one record."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One stream entry as read by a consumer; ``deliveries`` is the number of its deliveries."""

    partition: int
    entry_id: str
    fields: dict[bytes, bytes]
    deliveries: int = 1


class EventProducer(Protocol):
    """The durable queue between the API and the worker, as who writes it sees it (docs/dev/contracts.md, promise 1)."""

    async def append(self, channel: str, items: Sequence[tuple[bytes, bytes]]) -> list[AppendOutcome]:
        """Queue events of one channel; return when they are durable.

        Args:
            channel: decides the partition.
            items: (``records.deduplication_key``, encoded ``StreamRecord``) pairs, at most 200.

        Returns:
            ``accepted`` or ``duplicate`` for each item, in order. ``duplicate`` means that the same key was queued
            within the last minutes; PostgreSQL has the last word.

        Raises:
            LogUnavailable: nothing can be said to be queued; all may be sent again.
        """
        ...


class EventConsumer(Protocol):
    """The durable queue, as a member of a consumer group sees it. All methods raise ``LogUnavailable``."""

    async def ensure_groups(self) -> None:
        """Create all streams and required groups, reading from the beginning."""
        ...

    async def read(self, partition: int, group: str, consumer: str, *, count: int, block: timedelta) -> list[LogEntry]:
        """Read new entries for a consumer; empty after ``block`` without any."""
        ...

    async def reclaim(
        self, partition: int, group: str, consumer: str, *, min_idle: timedelta, count: int
    ) -> list[LogEntry]:
        """Take over entries that a dead consumer left, with their delivery counts."""
        ...

    async def acknowledge(self, partition: int, group: str, entry_ids: Sequence[str]) -> None:
        """Mark entries as done for a group: only after their work is committed."""
        ...

    async def trim(self, partition: int) -> int:
        """Delete entries that every required group has finished; return how many."""
        ...

    async def lag(self, partition: int, group: str) -> tuple[int, float]:
        """Return (entries not yet acknowledged, age in seconds of the oldest of them)."""
        ...


@dataclass(frozen=True, slots=True)
class Draft:
    """A publication before it has a number. ``key`` names the thing within its kind; see ``publications``."""

    kind: PublicationKind
    key: str
    version: int
    state: bytes
    traceparent: str | None = None
    received_at: int | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """The answer to a subscription: all publications after the given offset, or none and ``recovered`` false."""

    epoch: str
    offset: int
    recovered: bool
    publications: list[Publication]


class Broker(Protocol):
    """Numbered publications with a bounded history (docs/dev/contracts.md, Publication)."""

    async def publish(self, channel: str, drafts: Sequence[Draft]) -> int:
        """Publish drafts in order, atomically for the channel; return how many were newer than what is there.

        A draft whose version is not above the newest published version of its kind and key is left out.
        """
        ...

    async def position(self, channel: str) -> Snapshot:
        """Return the channel's epoch and newest offset, creating an epoch if there is none."""
        ...

    async def recover(self, channel: str, epoch: str, offset: int, *, limit: int) -> Recovery:
        """Return everything after ``offset``, or ``recovered=False`` where any of it is gone or the epoch differs."""
        ...

    async def delete_history(self, channel: str) -> None:
        """Delete what was published on a channel; its numbers go on, and nobody recovers what is deleted."""
        ...

    def listen(self, partitions: Sequence[int]) -> AsyncIterator[Publication | Watermark]:
        """Yield live publications and watermarks of partitions.

        At most once: gaps show in the offsets and are the caller's to fill.
        """
        ...


@dataclass(frozen=True, slots=True)
class AppliedBatch:
    """What one committed batch changed: absolute states, ready to be published, even where all was duplicate.

    Attributes:
        stored: number of events that were new.
        opaque: how many of those are of a type or version that this release does not know.
        duplicates: number of events that were stored before.
        discarded: number of records of people or courses that do not exist.
        students: states of all students of the batch, by course.
        help: states of the help requests that the batch concerns, by course.
        counted: courses of which a counter changed.
        failed: records that cannot be stored, each with ``code: what is wrong``.
    """

    stored: int
    opaque: int
    duplicates: int
    discarded: int
    students: dict[str, list[StudentState]]
    help: dict[str, list[HelpState]]
    counted: frozenset[str]
    failed: list[tuple[StreamRecord, str]]


class FactStore(Protocol):
    """Facts and derived state in one transaction (docs/dev/architecture.md, promises 1 to 3)."""

    async def apply(self, records: Sequence[StreamRecord]) -> AppliedBatch:
        """Store the facts of a batch and all that derives from them, once, whatever the order and repetition.

        Raises:
            StoreUnavailable: nothing was kept.
        """
        ...


@dataclass(frozen=True, slots=True)
class TimeSeriesPoint:
    """One event as the time series needs it, known by ``person_id`` and ``event_id``; ``at`` is its time."""

    person_id: UUID
    event_id: UUID
    at: datetime
    type: str
    course_id: str
    notebook_id: str = ""
    cell_id: str = ""
    status: str = ""
    error_name: str = ""
    duration_ms: int | None = None


class PoisonPoints(Exception):  # noqa: N818 - says what is the matter
    """Points that the store refuses and would refuse again; all others of the same call are written.

    Attributes:
        points: each with the store's own reason, for ``failed_events``.
    """

    def __init__(self, points: Sequence[tuple[TimeSeriesPoint, str]]) -> None:
        super().__init__(f"{len(points)} points refused, the first because: {points[0][1]}"[:500])
        self.points = list(points)


@dataclass(frozen=True, slots=True)
class ActivityBucket:
    """Counts of one time bucket of a course; ``at`` is the bucket's start."""

    at: datetime
    events: int
    executions: int
    errors: int
    students: int


class TimeSeries(Protocol):
    """Activity over time; see docs/adr/0006."""

    async def write(self, points: Sequence[TimeSeriesPoint]) -> None:
        """Write points; writing any of them again changes nothing.

        Raises:
            StoreUnavailable: nothing, or an unknown part, was kept; write all again.
            PoisonPoints: the store refuses some; all others are written, none needs writing again.
        """
        ...

    async def activity(
        self, course_id: str, *, start: datetime, stop: datetime, every: timedelta
    ) -> list[ActivityBucket]:
        """Return the buckets of [start, stop), empty ones included, oldest first."""
        ...

    async def count(self, course_id: str) -> int:
        """Return how many events of a course are stored: the far end of sent = stored."""
        ...

    async def erase_person(self, person_id: UUID) -> None:
        """Delete all points of a person, in all courses."""
        ...

    async def erase_course(self, course_id: str) -> None:
        """Delete all points of a course."""
        ...
