"""Beats that this worker has read, until they are published as watermarks. See docs/adr/0019.

A beat waits for the entries before it, which may be with another worker, alive or dead. So it is tried when it is read, when
an entry of its partition is acknowledged here, and again after a pause as long as it waits. Nothing is lost with a worker
that ends meanwhile: the next beat comes within a second.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from cell_monitor_core.broker.watermarks import Advance, WaitingBeat
from cell_monitor_core.records import Beat
from cell_monitor_core.storage.ports import StoreUnavailable
from cell_monitor_core.telemetry.metrics import WATERMARK_SECONDS

__all__ = ["WatermarkPublisher", "Watermarks"]

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 0.5
_MAX_WAITING: Final = 500


class Watermarks(Protocol):
    """The part of Redis that publishes watermarks; see ``RedisWatermarks``."""

    async def advance(self, partition: int, beats: list[WaitingBeat]) -> Advance:
        """Publish the newest beat that has nothing unfinished before it.

        Raises:
            StoreUnavailable: Redis is unavailable.
        """
        ...


@dataclass(slots=True)
class _Partition:
    beats: list[WaitingBeat] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class WatermarkPublisher:
    """Publishes the watermarks of the partitions.

    Args:
        watermarks: publishes one.
        partitions: number of streams.
    """

    def __init__(self, watermarks: Watermarks, *, partitions: int) -> None:
        self._watermarks = watermarks
        self._partitions = [_Partition() for _ in range(partitions)]
        self._unavailable = False

    def note(self, partition: int, entry_id: str, beat: Beat) -> None:
        """Take a beat that was read; it is acknowledged here, not by the caller."""
        waiting = self._partitions[partition]
        waiting.beats.append(WaitingBeat(entry_id, beat.at, beat.channels))
        # One that a dead worker had read comes after newer ones.
        waiting.beats.sort(key=_position)
        del waiting.beats[:-_MAX_WAITING]
        waiting.changed.set()

    def acknowledged(self, partition: int) -> None:
        """Note that entries of a partition are finished, which a beat may wait for."""
        if self._partitions[partition].beats:
            self._partitions[partition].changed.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for partition in range(len(self._partitions)):
                tasks.create_task(self._advance_repeatedly(partition), name=f"watermarks-{partition}")

    async def _advance_repeatedly(self, partition: int) -> None:
        waiting = self._partitions[partition]
        pause = _FIRST_PAUSE_S
        while True:
            if not waiting.beats:
                await waiting.changed.wait()
                pause = _FIRST_PAUSE_S
            waiting.changed.clear()
            await self._advance(partition, waiting)
            if waiting.beats:
                try:
                    async with asyncio.timeout(pause):
                        await waiting.changed.wait()
                except TimeoutError:
                    pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _advance(self, partition: int, waiting: _Partition) -> None:
        beats = list(waiting.beats)
        try:
            advance = await self._watermarks.advance(partition, beats)
        except StoreUnavailable as error:
            if not self._unavailable:
                self._unavailable = True
                _log.warning("watermarks_unavailable", reason=str(error))
            return
        if self._unavailable:
            self._unavailable = False
            _log.info("watermarks_available")
        done = set(beats[: advance.done])
        # Beats may have been noted meanwhile.
        waiting.beats = [beat for beat in waiting.beats if beat not in done]
        if advance.age_s is not None:
            WATERMARK_SECONDS.observe(advance.age_s)


def _position(beat: WaitingBeat) -> tuple[int, int]:
    milliseconds, _, sequence = beat.entry_id.partition("-")
    return int(milliseconds), int(sequence)
