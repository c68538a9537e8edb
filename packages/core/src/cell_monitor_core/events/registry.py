"""The event types by trait. A type's traits are in its schema; nothing else in the code lists types by what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from cell_monitor_core.events.types import EVENT_TYPES, Event

__all__ = ["ACTIVITY_TYPES", "EVENTS_WITH_NOTICES", "PLACE_TYPES", "RUN_END_SCOPES", "caused_by_program"]

ACTIVITY_TYPES: Final = frozenset(name for name, event_type in EVENT_TYPES.items() if event_type.activity)
"""Types of events that the student causes or waits for, unless ``caused_by_program`` says otherwise of an event."""

PLACE_TYPES: Final = frozenset(name for name, event_type in EVENT_TYPES.items() if event_type.place)
"""Types of events that are acts of the student in their notebook and cell, unless ``caused_by_program`` says otherwise."""

RUN_END_SCOPES: Final[Mapping[str, Literal["notebook", "session"]]] = {
    name: event_type.ends_runs for name, event_type in EVENT_TYPES.items() if event_type.ends_runs is not None
}
"""Types of events that end runs, each with whose runs: those of the event's notebook or of its session."""

EVENTS_WITH_NOTICES: Final = frozenset(event_type.struct for event_type in EVENT_TYPES.values() if event_type.notices)
"""Classes of events whose answer carries the sender's notices."""

_PROGRAM: Final[Mapping[type[msgspec.Struct], tuple[str, bool | str]]] = {
    event_type.struct: event_type.program for event_type in EVENT_TYPES.values() if event_type.program is not None
}


def caused_by_program(event: Event) -> bool:
    """Return whether the event says that a program caused it, such as an automatic save."""
    mark = _PROGRAM.get(type(event))
    return mark is not None and getattr(event.data, mark[0]) == mark[1]
