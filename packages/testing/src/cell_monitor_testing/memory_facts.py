"""A model of the fact store in memory, for tests of what derives from facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cell_monitor_core.derivation.cells import CellKey
from cell_monitor_core.derivation.facts import Fact
from cell_monitor_core.derivation.records import StudentRecord, group_by_cell

__all__ = ["MemoryFacts"]


class MemoryFacts:
    """One student of ``PostgresFactStore`` without PostgreSQL: batches, duplicates, and cells that are folded again.

    Args:
        received: when each fact was received, by event id, milliseconds since the epoch.
    """

    def __init__(self, received: Mapping[str, int] | None = None) -> None:
        self.received = received or {}
        self.stored: dict[str, Fact] = {}
        self.record = StudentRecord()

    def apply(self, batch: Iterable[Fact]) -> None:
        """Take a batch, in which facts may be that were taken before."""
        new = []
        for fact in batch:
            if fact.id not in self.stored:
                self.stored[fact.id] = fact
                new.append(fact)
        by_cell = group_by_cell(new)
        runs = group_by_cell(self.stored.values())
        histories: dict[CellKey, Sequence[Fact]] = {cell: runs[cell] for cell in self.record.late_cells(by_cell)}
        # As if loaded and saved: nothing may hang on what JSON does not carry.
        fold = msgspec.json.decode(msgspec.json.encode(self.record.fold), type=type(self.record.fold))
        self.record = StudentRecord(fold, self.record.cells, self.record.sessions)
        received = max((self.received.get(fact.id, 0) for fact in new), default=0)
        self.record.apply(new, by_cell, histories, last_received_at=received)
