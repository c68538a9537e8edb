"""One consumer group in this process: read, process, acknowledge.

An entry is acknowledged only after its records are committed and published, or moved to ``failed_events`` (dead letters).
Until then it stays pending and is claimed again, by this worker or another one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
import structlog

from cell_monitor_core.events.reasons import FailureReason
from cell_monitor_core.records import EntryError, StreamRecord, decode_beat, decode_entry, encode_record
from cell_monitor_core.storage.ports import EventConsumer, LogEntry, LogUnavailable, StoreUnavailable
from cell_monitor_core.storage.postgres.failed_events import WHOLE_ENTRY, FailedRecord
from cell_monitor_core.telemetry.metrics import ENTRIES_RECLAIMED, EVENTS_FAILED, GROUP_HALTED
from cell_monitor_worker.batches import BatchQueue
from cell_monitor_worker.config import WorkerSettings
from cell_monitor_worker.exceptions import GroupHaltedError, StoppingError
from cell_monitor_worker.failures import FailureLimit, RecordFailure
from cell_monitor_worker.watermarks import WatermarkPublisher

__all__ = ["FailedEvents", "GroupConsumer"]

_log = structlog.get_logger(__name__)

_BLOCK: Final = timedelta(seconds=2)
_MIN_ENTRIES: Final = 16
_MAX_ENTRIES: Final = 512
_MAX_READ_BYTES: Final = 2 * 1024 * 1024
_RECLAIM_ENTRIES: Final = 32
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0


class FailedEvents(Protocol):
    """The store of dead letters."""

    async def insert(self, records: Sequence[FailedRecord]) -> int:
        """Store failed records. It is idempotent.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        ...


class _Head(msgspec.Struct):
    event_id: str | None = None


_head = msgspec.json.Decoder(_Head)


@dataclass(slots=True)
class _ReadSize:
    """The number of entries for a batch, estimated from recent entries."""

    batch_events: int
    records: float = 64.0
    size: float = 16 * 1024.0

    def count(self) -> int:
        """Return the number of entries to read."""
        wanted = min(self.batch_events / max(self.records, 1.0), _MAX_READ_BYTES / max(self.size, 1.0))
        return max(_MIN_ENTRIES, min(_MAX_ENTRIES, int(wanted)))

    def note(self, entries: int, records: int, size: int) -> None:
        """Update the estimate with entries that were read."""
        self.records += 0.2 * (records / entries - self.records)
        self.size += 0.2 * (size / entries - self.size)


class GroupConsumer:
    """Consumes the entries of one group on all partitions.

    Args:
        group: name of the group.
        log: reads the streams.
        queue: processes records.
        failed_events: stores records that can never be processed.
        settings: the worker's settings.
        partitions: number of streams.
        watermarks: takes the beats; without it they are acknowledged only.
    """

    def __init__(
        self,
        group: str,
        log: EventConsumer,
        queue: BatchQueue,
        failed_events: FailedEvents,
        settings: WorkerSettings,
        *,
        partitions: int,
        watermarks: WatermarkPublisher | None = None,
    ) -> None:
        self.group = group
        self.halted: str | None = None
        self._log = log
        self._queue = queue
        self._failed_events = failed_events
        self._settings = settings
        self._partitions = partitions
        self._watermarks = watermarks
        self._limit = FailureLimit(share=settings.worker_failed_share, at_least=settings.worker_failed_at_least)
        self._stopping = asyncio.Event()
        self._in_flight: set[tuple[int, str]] = set()
        self._reclaimed = ENTRIES_RECLAIMED.labels(group)
        self._failed = EVENTS_FAILED.labels(group)
        self._halted = GROUP_HALTED.labels(group)
        self._log_unavailable = False

    def stop(self) -> None:
        """Stop reading; ``run`` returns when the entries that were read are finished or cannot be."""
        self._stopping.set()
        self._queue.stop()

    async def run(self) -> None:
        """Consume until ``stop``.

        Raises:
            GroupHaltedError: too large a share of the events failed.
        """
        batches = asyncio.create_task(self._queue.run(), name=f"{self.group}-batches")
        work = [
            asyncio.create_task(self._consume(partition), name=f"{self.group}-{partition}")
            for partition in range(self._partitions)
        ]
        work.append(asyncio.create_task(self._reclaim(), name=f"{self.group}-reclaim"))
        try:
            finished: asyncio.Future[list[None]] = asyncio.gather(*work)
            either: list[asyncio.Future[Any]] = [batches, finished]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            # The batch queue ends only with an error, which is the cause of the errors of the other tasks.
            if batches.done():
                batches.result()
            finished.result()
        except asyncio.CancelledError:
            # The deadline has passed, possibly because a read or a query hangs: do not wait for any of them.
            for task in work:
                task.cancel()
            raise
        finally:
            # Other tasks may be processing a batch: let them finish it.
            self.stop()
            await asyncio.wait(work)
            batches.cancel()
            await asyncio.gather(batches, *work, return_exceptions=True)

    async def _consume(self, partition: int) -> None:
        size = _ReadSize(self._settings.worker_batch_events)
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                entries = await self._log.read(
                    partition, self.group, self._settings.instance, count=size.count(), block=_BLOCK
                )
                self._report_available()
                pause = _FIRST_PAUSE_S
                entries = await self._without_beats(partition, entries)
                if entries:
                    records = await self._process(partition, entries)
                    size.note(len(entries), records, sum(len(entry.fields.get(b"b", b"")) for entry in entries))
            except LogUnavailable as error:
                await self._report_unavailable(error, pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            except StoppingError:
                return

    async def _reclaim(self) -> None:
        """Claim entries that other workers, or earlier processes of this one, did not finish."""
        min_idle = timedelta(seconds=self._settings.worker_reclaim_idle_s)
        while not await self._sleep(min(15.0, self._settings.worker_reclaim_idle_s / 4)):
            for partition in range(self._partitions):
                # While the store is unavailable, entries of running workers become old: a claim would only count as delivery.
                if self._stopping.is_set() or self._queue.unavailable_since is not None:
                    break
                try:
                    await self._reclaim_partition(partition, min_idle)
                except LogUnavailable as error:
                    await self._report_unavailable(error, 0)
                except StoppingError:
                    return

    async def _reclaim_partition(self, partition: int, min_idle: timedelta) -> None:
        while True:
            entries = await self._log.reclaim(
                partition, self.group, self._settings.instance, min_idle=min_idle, count=_RECLAIM_ENTRIES
            )
            mine = [entry for entry in entries if (partition, entry.entry_id) not in self._in_flight]
            mine = await self._without_beats(partition, mine)
            if mine:
                self._reclaimed.inc(len(mine))
                _log.info("entries_reclaimed", group=self.group, partition=partition, entries=len(mine))
                await self._process_reclaimed(partition, mine)
            if len(entries) < _RECLAIM_ENTRIES or self._stopping.is_set():
                return

    async def _without_beats(self, partition: int, entries: list[LogEntry]) -> list[LogEntry]:
        """Return the entries with records; hand the beats to the watermarks, or acknowledge them."""
        beats = {entry.entry_id: beat for entry in entries if (beat := decode_beat(entry.fields)) is not None}
        if not beats:
            return entries
        if self._watermarks is None:
            await self._log.acknowledge(partition, self.group, list(beats))
        else:
            for entry_id, beat in beats.items():
                self._watermarks.note(partition, entry_id, beat)
        return [entry for entry in entries if entry.entry_id not in beats]

    async def _process_reclaimed(self, partition: int, entries: list[LogEntry]) -> None:
        """Process entries together, but isolate those with many deliveries and move those with too many to failed_events."""
        isolate_after = self._settings.worker_isolate_after_deliveries
        dead_letter_after = self._settings.worker_dead_letter_after_deliveries
        together = [entry for entry in entries if entry.deliveries <= isolate_after]
        if together:
            await self._process(partition, together)
        # In random order: if an entry crashes the worker, the others are processed first after another restart.
        for entry in random.sample(entries, len(entries)):
            if entry.deliveries > dead_letter_after:
                _log.error(
                    "entry_dead_lettered", group=self.group, partition=partition, entry_id=entry.entry_id,
                    deliveries=entry.deliveries,
                )  # fmt: skip
                detail = f"delivered {entry.deliveries} times without being finished: it may crash the worker"
                await self._store_failed([self._whole_entry(entry, FailureReason.TOO_MANY_DELIVERIES, detail)])
                await self._acknowledge(partition, [entry])
            elif entry.deliveries > isolate_after:
                await self._process(partition, [entry], isolate=True)

    async def _process(self, partition: int, entries: list[LogEntry], *, isolate: bool = False) -> int:
        """Process and acknowledge entries; return the number of their records."""
        keys = [(partition, entry.entry_id) for entry in entries]
        self._in_flight.update(keys)
        try:
            records: list[StreamRecord] = []
            places: list[tuple[LogEntry, int]] = []
            failed: list[FailedRecord] = []
            for entry in entries:
                try:
                    decoded = decode_entry(entry.fields)
                except EntryError as error:
                    failed.append(self._whole_entry(entry, FailureReason.INVALID_ENTRY, str(error)))
                    continue
                places += [(entry, index) for index in range(len(decoded))]
                records += decoded
            failures = await self._queue.submit(records, isolate=isolate) if records else []
            if failures or failed:
                self._check_limit(len(records) + len(failed), failures, failed)
                failed += [
                    self._one_record(*places[failure.index], records[failure.index], failure) for failure in failures
                ]
                await self._store_failed(failed)
            else:
                self._limit.exceeded_by(len(records), 0)
            await self._acknowledge(partition, entries)
            return len(records)
        finally:
            self._in_flight.difference_update(keys)

    def _check_limit(self, total: int, failures: list[RecordFailure], failed: list[FailedRecord]) -> None:
        """Halt the group if the share of failures is so large that the events are probably not the cause.

        Raises:
            GroupHaltedError: the limit is exceeded; none of these failures has been stored.
        """
        blamed = len(failed) + len(failures)
        if self.halted is None:
            self.halted = self._limit.exceeded_by(total, blamed)
        if self.halted is not None:
            reasons = [record.detail for record in failed] + [f"{each.reason}: {each.detail}" for each in failures]
            self._halted.set(1)
            raise GroupHaltedError(self.group, f"{self.halted}, the newest because: {reasons[-1][:300]}")

    def _whole_entry(self, entry: LogEntry, reason: str, detail: str) -> FailedRecord:
        payload = msgspec.msgpack.encode(entry.fields)
        return FailedRecord(self.group, entry.partition, entry.entry_id, WHOLE_ENTRY, reason, detail, payload)

    def _one_record(self, entry: LogEntry, index: int, record: StreamRecord, failure: RecordFailure) -> FailedRecord:
        return FailedRecord(
            self.group,
            entry.partition,
            entry.entry_id,
            index,
            failure.reason,
            failure.detail,
            encode_record(record),
            _person_id(record),
            _event_id(record),
            record.course_id or None,
        )

    async def _store_failed(self, failed: list[FailedRecord]) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                await self._failed_events.insert(failed)
            except StoreUnavailable as error:
                if self._stopping.is_set():
                    raise StoppingError(str(error)) from error
                await self._sleep(pause * (0.5 + random.random()))  # noqa: S311 - jitter
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            else:
                break
        self._failed.inc(len(failed))
        _log.warning(
            "events_store_failed",
            group=self.group,
            count=len(failed),
            reasons=sorted({record.reason for record in failed}),
            entry_ids=[record.entry_id for record in failed[:5]],
        )

    async def _acknowledge(self, partition: int, entries: list[LogEntry]) -> None:
        """Acknowledge entries. If Redis is unavailable they stay pending and are processed again, which is idempotent."""
        await self._log.acknowledge(partition, self.group, [entry.entry_id for entry in entries])
        if self._watermarks is not None:
            self._watermarks.acknowledged(partition)

    async def _sleep(self, seconds: float) -> bool:
        """Sleep; return whether the process began to stop, which ends the sleep early."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    async def _report_unavailable(self, error: LogUnavailable, pause: float) -> None:
        if not self._log_unavailable:
            self._log_unavailable = True
            _log.warning("event_log_unavailable", group=self.group, reason=error.reason)
        await self._sleep(pause * (0.5 + random.random()))  # noqa: S311 - jitter

    def _report_available(self) -> None:
        if self._log_unavailable:
            self._log_unavailable = False
            _log.info("event_log_available", group=self.group)


def _event_id(record: StreamRecord) -> UUID | None:
    try:
        return UUID(_head.decode(record.event).event_id or "")
    except (msgspec.DecodeError, ValueError):
        return None


def _person_id(record: StreamRecord) -> UUID | None:
    return UUID(bytes=record.person_id) if len(record.person_id) == 16 else None
