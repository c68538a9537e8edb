"""The specification (docs/dev/contracts.md) of what a channel's broker answers, for property tests to compare with."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from cell_monitor_core.publications import Publication, Snapshot
from cell_monitor_core.storage.ports import Recovery

__all__ = ["CHANNEL", "ModelBroker"]

CHANNEL = "course:c1"


@dataclass
class ModelBroker:
    """One channel: its epochs, the publications of each with the offsets 1, 2, 3 …, and what can be recovered.

    Attributes:
        recoverable: publications that a position may lie back, at most.
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
