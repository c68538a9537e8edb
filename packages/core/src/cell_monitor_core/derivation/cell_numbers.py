"""The number of a cell after cells were added to its notebook, or removed from it, since a fact described the cell.

The sender says where the first of the cells was added or removed and how many there were. They are taken to be next to each
other and of one type, which they are unless a student did several things within a second. Moved cells are not reported.
The student's next act in a cell describes it again.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cell_monitor_core.derivation.facts import Fact, Key
from cell_monitor_core.publications import CellRef

__all__ = ["ListChange", "renumbered", "with_change"]

_KEPT: Final = 32


class ListChange(msgspec.Struct, frozen=True, array_like=True):
    """Cells were added to a notebook or removed from it.

    Attributes:
        first: the first of them, where it is or was.
        count: how many were added; negative where they were removed.
        restored: source ids of those of them that had been removed, and are there again.
    """

    key: Key
    notebook_id: str
    first: CellRef
    count: int
    restored: tuple[str, ...] = ()


def with_change(changes: tuple[ListChange, ...], fact: Fact, key: Key) -> tuple[ListChange, ...]:
    """Return the newest 32 of the changes and of that which a fact is, oldest first; the fact's may be none."""
    if fact.notebook is None or fact.cell is None or not fact.listed:
        return changes
    change = ListChange(key, fact.notebook.id, fact.cell, fact.listed, fact.restored)
    return tuple(sorted((*changes, change), key=lambda each: each.key)[-_KEPT:])


def renumbered(changes: tuple[ListChange, ...], notebook_id: str, cell: CellRef, key: Key) -> CellRef:
    """Return a cell that a fact at ``key`` describes, with the number that it has after the ``changes``, oldest first."""
    for change in changes:
        if change.key > key and change.notebook_id == notebook_id:
            cell = _after(change, cell)
    return cell


def _after(change: ListChange, cell: CellRef) -> CellRef:
    first, count = change.first, change.count
    if cell.source_id == first.source_id:
        return first
    if cell.source_id in change.restored:
        # It kept its number while it was gone, and its own return moves it no further.
        return cell
    if first.index > cell.index or first.index - count > cell.index:
        # Below the cell, or the cell is one of those that were removed.
        return cell
    ordinal = cell.ordinal
    beside = first.type == "code" and first.heading == cell.heading
    if ordinal is not None and beside and first.ordinal is not None and first.ordinal <= ordinal:
        ordinal = max(1, ordinal + count)
    return msgspec.structs.replace(cell, index=cell.index + count, ordinal=ordinal)
