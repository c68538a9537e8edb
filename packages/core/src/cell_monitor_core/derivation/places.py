"""Whether a fact is an act of the student, and whether it says where the student is.

Both are decided when the event is read, and stored in the fact where they differ from what the first releases derived
from the type alone. So every fact keeps its meaning, whichever release stored it, and a rule that changes does not change
the state of facts that are stored.
"""

from __future__ import annotations

from typing import Final

from cell_monitor_core.events import types
from cell_monitor_core.events.registry import ACTIVITY_TYPES, PLACE_TYPES, caused_by_program

__all__ = [
    "IMPLIED_ACTIVITY_TYPES",
    "IMPLIED_PLACE_TYPES",
    "is_place",
    "place_lag_ms",
    "stored_activity",
    "stored_place",
]

_EDIT_PERIOD_MS: Final = 2000
"""``EDIT_PERIOD_MS`` of the extension: an edit is reported this long after its first change, or earlier."""

IMPLIED_PLACE_TYPES: Final = frozenset(
    (
        "cell_added",
        "cell_edited",
        "cell_executed",
        "cell_execution_started",
        "cell_removed",
        "cell_selected",
        "help_cancelled",
        "help_requested",
        "kernel_died",
        "kernel_restarted",
        "notebook_opened",
        "notebook_saved",
        "session_started",
    )
)
"""Types of facts that say where the student is if they store nothing else. Part of what is stored: never changed."""

IMPLIED_ACTIVITY_TYPES: Final = IMPLIED_PLACE_TYPES | {"notebook_closed", "session_ended"}
"""Types of facts that are the student's activity if they store nothing else. Part of what is stored: never changed."""


def is_place(kind: str, stored: bool | None) -> bool:
    """Return whether a fact of type ``kind`` says where the student is, where it stores ``stored`` of that."""
    return kind in IMPLIED_PLACE_TYPES if stored is None else stored


def stored_place(kind: str, event: types.Event) -> bool | None:
    """Return what the fact of an event of type ``kind`` stores: whether it says where the student is.

    Returns:
        None where that is what a fact of this type says that stores nothing.
    """
    place = kind in PLACE_TYPES and not caused_by_program(event)
    return None if place == (kind in IMPLIED_PLACE_TYPES) else place


def place_lag_ms(kind: str) -> int:
    """Return how long before the time of a fact of this type the student was certainly at its place, in milliseconds.

    Early releases of the extension report an edit two seconds after it began, also if the student has selected or run
    another cell since: the student is at the cell of the edit only if nothing else was done in that time.
    """
    return _EDIT_PERIOD_MS if kind == "cell_edited" else 0


def stored_activity(kind: str, event: types.Event) -> bool | None:
    """Return what the fact of an event of type ``kind`` stores: whether it is the student's activity; see ``stored_place``."""
    activity = kind in ACTIVITY_TYPES and not caused_by_program(event)
    return None if activity == (kind in IMPLIED_ACTIVITY_TYPES) else activity
