"""The ``Broker`` in memory, for tests of its users."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from cell_monitor_core.channels import partition_of
from cell_monitor_core.publications import Publication, Snapshot
from cell_monitor_core.storage.ports import Draft, Recovery

__all__ = ["MemoryBroker"]


@dataclass(slots=True)
class _Channel:
    epoch: str = field(default_factory=lambda: secrets.token_hex(8))
    offset: int = 0
    versions: dict[tuple[str, str], int] = field(default_factory=dict)
    history: deque[Publication] = field(default_factory=deque)


class MemoryBroker:
    """``Broker`` in the memory of this process."""

    def __init__(self, *, partitions: int = 8, history_size: int = 1000) -> None:
        self.partitions = partitions
        self._history_size = history_size
        self._channels: dict[str, _Channel] = {}
        self._listeners: set[tuple[frozenset[int], asyncio.Queue[Publication]]] = set()

    async def publish(self, channel: str, drafts: Sequence[Draft]) -> int:
        """Publish drafts in order; return how many were newer than the published state."""
        state = self._channels.setdefault(channel, _Channel())
        published = 0
        for draft in drafts:
            newest = state.versions.get((draft.kind, draft.key))
            if newest is not None and newest >= draft.version:
                continue
            state.versions[draft.kind, draft.key] = draft.version
            state.offset += 1
            published += 1
            publication = Publication(
                channel,
                state.epoch,
                state.offset,
                draft.kind,
                msgspec.Raw(draft.state),
                draft.traceparent,
                draft.received_at,
            )
            state.history.append(publication)
            if len(state.history) > self._history_size:
                state.history.popleft()
            partition = partition_of(channel, self.partitions)
            for partitions, queue in self._listeners:
                if partition in partitions:
                    queue.put_nowait(publication)
        return published

    async def position(self, channel: str) -> Snapshot:
        """Return the channel's epoch and newest offset."""
        state = self._channels.setdefault(channel, _Channel())
        return Snapshot(state.epoch, state.offset)

    async def recover(self, channel: str, epoch: str, offset: int, *, limit: int) -> Recovery:
        """Return all publications after ``offset``, or ``recovered=False`` if one is missing or the epoch differs."""
        state = self._channels.setdefault(channel, _Channel())
        missing = state.offset - offset
        if epoch == state.epoch and 0 <= missing <= min(limit, len(state.history)):
            publications = list(state.history)[len(state.history) - missing :]
            return Recovery(state.epoch, state.offset, recovered=True, publications=publications)
        return Recovery(state.epoch, state.offset, recovered=False, publications=[])

    async def listen(
        self, partitions: Sequence[int], *, on_subscribed: Callable[[Sequence[int]], None] | None = None
    ) -> AsyncIterator[Publication]:
        """Yield live publications of partitions until the iterator is closed."""
        listener = (frozenset(partitions), asyncio.Queue[Publication]())
        self._listeners.add(listener)
        if on_subscribed is not None:
            on_subscribed(sorted(partitions))
        try:
            while True:
                yield await listener[1].get()
        finally:
            self._listeners.discard(listener)

    async def delete_history(self, channel: str) -> None:
        """Delete what was published on a channel; its numbers go on."""
        if channel in self._channels:
            self._channels[channel].history.clear()

    async def forget(self, channel: str) -> None:
        """Delete a channel's history and versions and start a new epoch."""
        self._channels.pop(channel, None)
