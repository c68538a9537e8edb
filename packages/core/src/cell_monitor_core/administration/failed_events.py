"""Failed events (dead letters): what waits and why, and queueing it again once the cause is corrected."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from cell_monitor_core.auth.audit import Actor, AuditAction
from cell_monitor_core.channels import course_channel, test_channel
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.records import EntryError, StreamRecord, decode_entry, encode_record
from cell_monitor_core.storage.ports import EventProducer, LogUnavailable
from cell_monitor_core.storage.postgres import audit, failed_events, people
from cell_monitor_core.storage.postgres.failed_events import (
    EVERYTHING,
    MAX_LISTED,
    WHOLE_ENTRY,
    FailedEvent,
    FailedFilter,
    WaitingGroup,
)
from cell_monitor_core.storage.postgres.pool import Connection, store_errors

__all__ = [
    "MAX_LISTED",
    "FailedEventList",
    "FailedEventReplay",
    "FailedFilter",
    "FailedPage",
    "ReplayPosition",
    "ReplayReport",
    "WaitingSummary",
]

MAX_RECORDS: Final = 500
"""Failed records of one step of a replay, at most."""
MAX_SECONDS: Final = 2.0
"""Seconds after which a step begins no further page."""
_PAGE: Final = 50
"""Failed records that are queued together. Each is at most one entry, so that they never fill the producer's buffer, which
the events of students need."""

_record_decoder = msgspec.msgpack.Decoder(StreamRecord)
_fields_decoder = msgspec.msgpack.Decoder(dict[bytes, bytes])


@dataclass(frozen=True, slots=True)
class FailedPage:
    """A page of failed records, newest first.

    Attributes:
        events: without their payloads.
        usernames: of their senders, by ``person_id``; people who were erased have none.
        next_before: asks for the page after this one; None after the last.
    """

    events: list[FailedEvent]
    usernames: dict[uuid.UUID, str]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class WaitingSummary:
    """What waits to be replayed.

    Attributes:
        total: records; one that failed in both consumer groups is counted once.
        groups: by reason and course, the largest first, at most ``failed_events.MAX_GROUPS``.
    """

    total: int
    groups: list[WaitingGroup]


@dataclass(frozen=True, slots=True)
class ReplayPosition:
    """Where a replay is, from step to step.

    Attributes:
        after: ``failed_id`` of the last record that was tried.
        newest: ``failed_id`` of the newest record that waited when the replay began. What fails after that, the replayed
            events included, is for the next replay: a fast worker would otherwise keep this one going.
    """

    after: int
    newest: int


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """The result of one step of a replay.

    Attributes:
        queued: failed records queued again and marked, each once for all consumer groups in which it failed.
        events: events in these records.
        unreadable: failed records that cannot be decrypted or decoded; they are unchanged and go on waiting.
        remaining: failed records that the replay has still to try.
        position: for the next step.
    """

    queued: int
    events: int
    unreadable: int
    remaining: int
    position: ReplayPosition


class FailedEventList:
    """Shows failed events, never their payloads.

    Args:
        executor: PostgreSQL.
        keyring: to read the names of senders.
    """

    def __init__(self, executor: Any, keyring: KeyRing) -> None:
        self._executor = executor
        self._keyring = keyring

    async def page(
        self, wanted: FailedFilter = EVERYTHING, *, waiting_only: bool, before: int | None = None, limit: int = 50
    ) -> FailedPage:
        """Return failed records, newest first.

        Args:
            wanted: which records.
            waiting_only: without those that were replayed.
            before: ``next_before`` of the page before.
            limit: at most this many, ``MAX_LISTED`` at most.
        """
        limit = max(1, min(limit, MAX_LISTED))
        rows = await failed_events.list_page(
            self._executor, wanted, before=before, limit=limit + 1, waiting_only=waiting_only
        )
        shown = rows[:limit]
        ids = {row.person_id for row in shown if row.person_id is not None}
        names = await people.names_of(self._executor, self._keyring, ids) if ids else {}
        return FailedPage(
            shown,
            {person_id: name.username for person_id, name in names.items()},
            shown[-1].failed_id if len(rows) > limit else None,
        )

    async def waiting(self) -> WaitingSummary:
        """Return how many wait, and how many by reason and course."""
        return WaitingSummary(
            await failed_events.count_waiting(self._executor), await failed_events.waiting_groups(self._executor)
        )


class FailedEventReplay:
    """Queues failed events again.

    Both consumer groups process them again; for a group that has stored them they are duplicates.

    Args:
        pool: PostgreSQL.
        keyring: decrypts the records.
        producer: writes the streams.
        clock: seconds, monotonic.
    """

    def __init__(
        self, pool: Any, keyring: KeyRing, producer: EventProducer, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._producer = producer
        self._clock = clock

    async def step(
        self, wanted: FailedFilter = EVERYTHING, *, by: Actor, position: ReplayPosition | None = None
    ) -> ReplayReport:
        """Queue some of the waiting records, oldest first, and mark them replayed.

        A step ends after ``MAX_RECORDS`` records or ``MAX_SECONDS``. What it queued has one entry in the audit log, in its
        transaction. Of several replays at the same time one step runs after the other, so that none queues what another
        has queued.

        Args:
            wanted: which records.
            by: who replays.
            position: of the step before; None begins a replay.

        Raises:
            LogUnavailable: the streams take no more, and nothing was queued. Where they refuse later, the report says how
                far the step came.
            StoreUnavailable: PostgreSQL is unavailable; what was queued but not marked will be queued again, which is
                harmless.
        """
        queued = events = unreadable = 0
        with store_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                await failed_events.lock_replays(connection)
                deadline = self._clock() + MAX_SECONDS
                if position is None:
                    position = ReplayPosition(0, await failed_events.newest_waiting(connection))
                after, newest = position.after, position.newest
                while queued + unreadable < MAX_RECORDS and self._clock() < deadline:
                    page = await failed_events.records_to_replay(
                        connection, self._keyring, wanted, after=after, newest=newest, limit=_PAGE
                    )
                    if not page:
                        break
                    done = await self._queue_page(page)
                    if done.refusal is not None and not queued + len(done.queued):
                        raise done.refusal
                    await failed_events.mark_replayed(connection, done.queued)
                    after = done.after
                    queued += len(done.queued)
                    events += done.events
                    unreadable += done.unreadable
                    if done.refusal is not None:
                        break
                remaining = await failed_events.count_to_replay(connection, wanted, after=after, newest=newest)
                if queued:
                    await _enter(connection, by, wanted, queued=queued, unreadable=unreadable)
        return ReplayReport(queued, events, unreadable, remaining, ReplayPosition(after, newest))

    async def _queue_page(self, page: Sequence[tuple[FailedEvent, bytes | None]]) -> _QueuedPage:
        """Queue the records of a page together, so that they share the requests to Redis."""
        readable: list[tuple[int, list[StreamRecord]]] = []
        unreadable: list[int] = []
        for failed, payload in page:
            try:
                readable.append((failed.failed_id, _records(failed, payload)))
            except (EntryError, msgspec.DecodeError):
                unreadable.append(failed.failed_id)
        outcomes = await asyncio.gather(*(self._queue(records) for _, records in readable), return_exceptions=True)
        done = _QueuedPage(after=page[-1][0].failed_id)
        for (failed_id, records), outcome in zip(readable, outcomes, strict=True):
            if outcome is None:
                done.queued.append(failed_id)
                done.events += len(records)
            elif isinstance(outcome, LogUnavailable):
                # The next step begins before the first one that was refused.
                done.after = min(done.after, failed_id - 1)
                done.refusal = done.refusal or outcome
            else:
                raise outcome
        done.unreadable = sum(failed_id <= done.after for failed_id in unreadable)
        return done

    async def _queue(self, records: Sequence[StreamRecord]) -> None:
        for record in records:
            channel = course_channel(record.course_id) if record.test_id is None else test_channel(record.test_id)
            # With a new deduplication key: with the event's own it could be a duplicate of the one that failed.
            await self._producer.append(channel, [(uuid.uuid4().bytes, encode_record(record))])


@dataclass(slots=True)
class _QueuedPage:
    """What became of a page.

    Attributes:
        after: where the next page begins.
        queued: ids of the records that were queued.
        events: in these.
        unreadable: records that cannot be decoded, up to ``after``.
        refusal: why the others were not queued.
    """

    after: int
    queued: list[int] = field(default_factory=list)
    events: int = 0
    unreadable: int = 0
    refusal: LogUnavailable | None = None


def _records(failed: FailedEvent, payload: bytes | None) -> list[StreamRecord]:
    if payload is None:
        raise EntryError("no key decrypts it")
    if failed.record_index == WHOLE_ENTRY:
        return decode_entry(_fields_decoder.decode(payload))
    return [_record_decoder.decode(payload)]


async def _enter(connection: Connection, by: Actor, wanted: FailedFilter, *, queued: int, unreadable: int) -> None:
    chosen = {"reason": wanted.reason, "group": wanted.consumer_group}
    await audit.record(
        connection,
        AuditAction.FAILED_EVENTS_REPLAYED,
        by,
        course_id=wanted.course_id,
        details={"queued": queued, "unreadable": unreadable}
        | {name: value for name, value in chosen.items() if value is not None},
    )
