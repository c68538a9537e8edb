"""Event streams in memory: a producer and a consumer of the same ``MemoryStreams``."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from cell_monitor_core import keys
from cell_monitor_core.channels import partition_of
from cell_monitor_core.records import ENTRY_VERSION, MAX_RECORDS_PER_ENTRY, encode_records
from cell_monitor_core.storage.ports import AppendOutcome, LogEntry, LogUnavailable

__all__ = ["MemoryEventConsumer", "MemoryEventProducer", "MemoryStreams"]

_Id = tuple[int, int]


@dataclass(slots=True)
class _Pending:
    consumer: str
    delivered_at: float
    deliveries: int


@dataclass(slots=True)
class _Group:
    last_delivered: _Id = (0, 0)
    pending: dict[_Id, _Pending] = field(default_factory=dict)


@dataclass(slots=True)
class _Stream:
    entries: dict[_Id, dict[bytes, bytes]] = field(default_factory=dict)
    groups: dict[str, _Group] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryStreams:
    """Content of the streams. Deduplication keys never expire."""

    def __init__(self, *, partitions: int = 8) -> None:
        self.partitions = partitions
        self.by_partition = [_Stream() for _ in range(partitions)]
        self.sequence = itertools.count()


class MemoryEventProducer:
    """``EventProducer`` in the memory of this process."""

    def __init__(self, streams: MemoryStreams, *, max_backlog_entries: int = 100_000) -> None:
        self._streams = streams
        self._max_backlog_entries = max_backlog_entries

    async def append(self, channel: str, items: Sequence[tuple[bytes, bytes]]) -> list[AppendOutcome]:
        """Queue events of one channel; see ``EventProducer.append``."""
        stream = self._streams.by_partition[partition_of(channel, self._streams.partitions)]
        outcomes: list[AppendOutcome] = []
        fresh: list[bytes] = []
        fresh_ids: set[bytes] = set()
        for key, record in items:
            if len(key) != 16:
                raise ValueError("a deduplication key has 16 bytes")
            if key in stream.seen or key in fresh_ids:
                outcomes.append("duplicate")
                continue
            outcomes.append("accepted")
            fresh_ids.add(key)
            fresh.append(record)
        if fresh and len(stream.entries) >= self._max_backlog_entries:
            raise LogUnavailable("backlog full", retry_after=10)
        stream.seen |= fresh_ids
        for start in range(0, len(fresh), MAX_RECORDS_PER_ENTRY):
            entry_id = (int(time.time() * 1000), next(self._streams.sequence))
            payload = encode_records(fresh[start : start + MAX_RECORDS_PER_ENTRY])
            stream.entries[entry_id] = {b"v": ENTRY_VERSION, b"b": payload}
        if fresh:
            stream.arrived.set()
        return outcomes


class MemoryEventConsumer:
    """``EventConsumer`` in the memory of this process."""

    def __init__(self, streams: MemoryStreams) -> None:
        self._streams = streams.by_partition

    async def ensure_groups(self) -> None:
        """Create all required groups, reading from the beginning."""
        for stream in self._streams:
            for group in keys.REQUIRED_GROUPS:
                stream.groups.setdefault(group, _Group())

    async def read(self, partition: int, group: str, consumer: str, *, count: int, block: timedelta) -> list[LogEntry]:
        """Read new entries for a consumer; empty after ``block`` without any."""
        stream = self._streams[partition]
        deadline = time.monotonic() + block.total_seconds()
        while True:
            state = stream.groups.setdefault(group, _Group())
            found = [entry_id for entry_id in stream.entries if entry_id > state.last_delivered][:count]
            remaining = deadline - time.monotonic()
            if found or remaining <= 0:
                break
            stream.arrived.clear()
            try:
                await asyncio.wait_for(stream.arrived.wait(), remaining)
            except TimeoutError:
                continue
        now = time.monotonic()
        for entry_id in found:
            state.pending[entry_id] = _Pending(consumer, now, 1)
            state.last_delivered = entry_id
        return [LogEntry(partition, _spell(entry_id), stream.entries[entry_id]) for entry_id in found]

    async def reclaim(
        self, partition: int, group: str, consumer: str, *, min_idle: timedelta, count: int
    ) -> list[LogEntry]:
        """Claim entries that another consumer did not finish, with their delivery counts."""
        stream = self._streams[partition]
        state = stream.groups.setdefault(group, _Group())
        now = time.monotonic()
        taken: list[LogEntry] = []
        for entry_id, pending in sorted(state.pending.items()):
            if len(taken) == count:
                break
            if now - pending.delivered_at < min_idle.total_seconds():
                continue
            pending.consumer, pending.delivered_at = consumer, now
            pending.deliveries += 1
            taken.append(LogEntry(partition, _spell(entry_id), stream.entries[entry_id], pending.deliveries))
        return taken

    async def acknowledge(self, partition: int, group: str, entry_ids: Sequence[str]) -> None:
        """Mark entries as done for a group."""
        state = self._streams[partition].groups.setdefault(group, _Group())
        for entry_id in entry_ids:
            state.pending.pop(_parse(entry_id), None)

    async def trim(self, partition: int) -> int:
        """Delete entries that all required groups have acknowledged; return their number."""
        stream = self._streams[partition]
        lowest: list[_Id] = []
        for name in keys.REQUIRED_GROUPS:
            state = stream.groups.get(name)
            if state is None:
                return 0
            milliseconds, sequence = state.last_delivered
            lowest.append(min(state.pending, default=(milliseconds, sequence + 1)))
        gone = [entry_id for entry_id in stream.entries if entry_id < min(lowest)]
        for entry_id in gone:
            del stream.entries[entry_id]
        return len(gone)

    async def lag(self, partition: int, group: str) -> tuple[int, float]:
        """Return (entries not yet acknowledged, age in seconds of the oldest of them)."""
        stream = self._streams[partition]
        state = stream.groups.get(group) or _Group()
        waiting = [entry_id for entry_id in stream.entries if entry_id > state.last_delivered]
        unfinished = sorted([*state.pending, *waiting])
        if not unfinished:
            return 0, 0.0
        return len(unfinished), max(time.time() - unfinished[0][0] / 1000, 0.0)


def _spell(entry_id: _Id) -> str:
    return f"{entry_id[0]}-{entry_id[1]}"


def _parse(entry_id: str) -> _Id:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)
