"""The specification (docs/dev/contracts.md) of what a channel's broker answers, for property tests to compare with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cell_monitor_core.publications import Publication, Snapshot
from cell_monitor_core.storage.ports import Recovery, StoreUnavailable

__all__ = ["CHANNEL", "DeferredHistory", "DeferredRead", "ModelBroker"]

CHANNEL = "course:c1"


@dataclass
class ModelBroker:
    """One channel: its epochs, the publications of each with the offsets 1, 2, 3 …, and what can be recovered.

    Attributes:
        recoverable: maximum number of publications between a recoverable position and the newest one.
        log: all publications ever made, by epoch.
    """

    recoverable: int
    epochs: int = 1
    log: dict[str, list[Publication]] = field(default_factory=lambda: {"e1": []})

    @property
    def epoch(self) -> str:
        """The epoch that the channel counts in now."""
        return f"e{self.epochs}"

    @property
    def top(self) -> int:
        """The newest offset of the epoch."""
        return len(self.log[self.epoch])

    def publish(self) -> Publication:
        """Make the next publication and return it, as the feed would deliver it."""
        offset = self.top + 1
        state = msgspec.Raw(f'{{"in":"{self.epoch}","number":{offset}}}'.encode())
        made = Publication(CHANNEL, self.epoch, offset, "student", state)
        self.log[self.epoch].append(made)
        return made

    def begin_epoch(self) -> None:
        """Begin to count in another epoch, without history."""
        self.epochs += 1
        self.log[self.epoch] = []

    def has_recoverable(self, epoch: str, offset: int) -> bool:
        """Return whether everything after a position can be recovered."""
        return epoch == self.epoch and 0 <= self.top - offset <= self.recoverable

    def position(self) -> Snapshot:
        """Return epoch and newest offset."""
        return Snapshot(self.epoch, self.top)

    def recover(self, epoch: str, offset: int) -> Recovery:
        """Return everything after a position, or ``recovered=False``: never a part."""
        if self.has_recoverable(epoch, offset):
            return Recovery(epoch, self.top, recovered=True, publications=self.log[epoch][offset:])
        return Recovery(self.epoch, self.top, recovered=False, publications=[])


class DeferredRead:
    """A read of the history that waits until the test answers it.

    Attributes:
        answer: what the broker found; None until it has executed the read.
        future: what the reader waits for.
    """

    def __init__(self, execute: Callable[[], Snapshot | Recovery], *, at_once: bool) -> None:
        self._execute = execute
        self.answer: Snapshot | Recovery | None = execute() if at_once else None
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def deliver(self) -> None:
        """Let the reader have the answer, executing the read now unless that has happened."""
        if self.answer is None:
            self.answer = self._execute()
        if not self.future.done():
            self.future.set_result(self.answer)

    def fail(self) -> None:
        """Let the reader see that the broker is unavailable."""
        if not self.future.done():
            self.future.set_exception(StoreUnavailable("unavailable"))


class DeferredHistory:
    """The history of a model, as a channel reads it: a test decides when each read is executed and answered.

    Attributes:
        executes_at_once: whether a read is executed when it is asked for, or when it is answered.
        reads: those without an answer, oldest first.
        last_of: the newest read of each task.
    """

    def __init__(self, model: ModelBroker) -> None:
        self.model = model
        self.executes_at_once = True
        self.reads: list[DeferredRead] = []
        self.last_of: dict[asyncio.Task[Any] | None, DeferredRead] = {}

    async def position(self, channel: str) -> Any:
        """Return the model's position, once the test answers."""
        assert channel == CHANNEL
        return await self._read(self.model.position)

    async def recover(self, channel: str, epoch: str, offset: int, *, limit: int) -> Any:
        """Return the model's answer, once the test answers."""
        assert (channel, limit) == (CHANNEL, self.model.recoverable)
        return await self._read(lambda: self.model.recover(epoch, offset))

    async def _read(self, execute: Callable[[], Any]) -> Any:
        read = DeferredRead(execute, at_once=self.executes_at_once)
        self.reads.append(read)
        self.last_of[asyncio.current_task()] = read
        try:
            return await read.future
        finally:
            self.reads.remove(read)
