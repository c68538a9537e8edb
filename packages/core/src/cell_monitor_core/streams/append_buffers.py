"""What waits to be written to each partition's stream, and the commands that carry it there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from redis.crc import key_slot

from cell_monitor_core import keys
from cell_monitor_core.records import MAX_RECORDS_PER_ENTRY, encode_records
from cell_monitor_core.storage.ports import AppendOutcome, LogUnavailable
from cell_monitor_core.streams.lanes import Lane
from cell_monitor_core.streams.scripts import APPEND

__all__ = ["MAX_ENTRY_BYTES", "SEEN_BUCKET_IDS", "SEEN_BUCKET_SECONDS", "AppendBatch", "AppendBuffer"]

SEEN_BUCKET_SECONDS: Final = 300
"""Ids are remembered for one to two buckets: long enough for a sender's own retries."""
SEEN_BUCKET_IDS: Final = 200_000
MAX_ENTRY_BYTES: Final = 256 * 1024

_ACCEPTED: Final = AppendOutcome.ACCEPTED
_DUPLICATE: Final = AppendOutcome.DUPLICATE

Waiter = tuple[asyncio.Future[list[str]], int]
"""Who waits for how many outcomes."""


class AppendBuffer:
    """What waits to be sent to one partition, and who waits for it.

    Attributes:
        lane: where it goes; known while something waits.
    """

    __slots__ = ("_seen", "_seen_bucket", "_stream", "ids", "lane", "partition", "records", "size", "slot", "waiters")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self._stream = keys.events_stream(partition).encode()
        self.slot = key_slot(self._stream)
        self.lane: Lane | None = None
        self._seen_bucket = -1
        self._seen = (b"", b"")
        self._clear()

    def _clear(self) -> None:
        self.ids: list[bytes] = []
        self.records: list[bytes] = []
        self.waiters: list[Waiter] = []
        self.size = 0

    def take(self, *, now: int, bounds: Sequence[bytes]) -> AppendBatch:
        """Empty the buffer into commands of at most 64 records and 256 KiB each.

        Args:
            now: seconds since the epoch.
            bounds: the append script's last arguments.
        """
        batch = AppendBatch(self.waiters, self.size)
        ids, records, size = self.ids, self.records, self.size
        self._clear()
        current, previous = self._seen_keys(now // SEEN_BUCKET_SECONDS)
        total = len(ids)
        start = 0
        while start < total:
            end = min(start + MAX_RECORDS_PER_ENTRY, total)
            if size > MAX_ENTRY_BYTES:
                end = _bytes_end(records, start, end)
            batch.counts.append(end - start)
            batch.commands.append(
                (
                    b"EVALSHA",
                    APPEND.sha_bytes,
                    b"3",
                    self._stream,
                    current,
                    previous,
                    encode_records(records[start:end]),
                    b"".join(ids[start:end]),
                    *bounds,
                )
            )
            start = end
        return batch

    def _seen_keys(self, bucket: int) -> tuple[bytes, bytes]:
        """Return the keys of the ids seen in a time bucket and in the one before."""
        if bucket != self._seen_bucket:
            self._seen_bucket = bucket
            self._seen = (
                keys.seen_set(self.partition, bucket).encode(),
                keys.seen_set(self.partition, bucket - 1).encode(),
            )
        return self._seen


class AppendBatch:
    """What one flight carries of one partition.

    Attributes:
        size: bytes of the records.
        commands: the append script's calls.
        counts: records of each call.
    """

    __slots__ = ("_waiters", "commands", "counts", "size")

    def __init__(self, waiters: list[Waiter], size: int) -> None:
        self._waiters = waiters
        self.size = size
        self.commands: list[tuple[bytes, ...]] = []
        self.counts: list[int] = []

    def accept(self) -> None:
        """Tell all waiters that everything is queued, nothing of it for the second time."""
        for future, count in self._waiters:
            if not future.done():
                future.set_result([_ACCEPTED] * count)

    def resolve(self, replies: Sequence[bytes | LogUnavailable]) -> None:
        """Answer the waiters.

        Args:
            replies: for each command the marks that the append script returned, or why it queued nothing.
        """
        marks: list[str | LogUnavailable] = []
        for reply, count in zip(replies, self.counts, strict=True):
            if isinstance(reply, LogUnavailable):
                marks += [reply] * count
            elif reply:
                marks += [_DUPLICATE if mark == 0x31 else _ACCEPTED for mark in reply]
            else:
                marks += [_ACCEPTED] * count
        start = 0
        for future, count in self._waiters:
            own = marks[start : start + count]
            start += count
            if future.done():
                continue
            refusal = next((mark for mark in own if isinstance(mark, LogUnavailable)), None)
            if refusal is None:
                future.set_result([mark for mark in own if isinstance(mark, str)])
            else:
                future.set_exception(LogUnavailable(refusal.reason, retry_after=refusal.retry_after))

    def fail(self, reason: str) -> None:
        """Tell all who still wait that nothing is known to be queued."""
        for future, _ in self._waiters:
            if not future.done():
                future.set_exception(LogUnavailable(reason))


def _bytes_end(records: list[bytes], start: int, end: int) -> int:
    """Return where an entry that begins at ``start`` ends, so that it stays within its bytes; one record always fits."""
    size = 0
    for index in range(start, end):
        size += len(records[index])
        if size > MAX_ENTRY_BYTES and index > start:
            return index
    return end
