"""The types of opaque facts: those of events whose type or version the release that stored them did not know.

No event has such a type: every query and every fold that asks for facts of a type leaves opaque ones out (docs/adr/0014).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cell_monitor_core.events.traits import EventType
from cell_monitor_core.events.types import EVENT_TYPES, OpaqueEvent

__all__ = ["is_opaque", "known_opaque_types", "opaque_type", "unreadable_type"]

_OPAQUE: Final = "@"
_UNREADABLE: Final = "!"


def opaque_type(event: OpaqueEvent) -> str:
    """Return the type of an opaque event's fact, such as ``cell_moved@1``."""
    return f"{event.type}{_OPAQUE}{event.schema_version}"


def is_opaque(fact_type: str) -> bool:
    """Return whether a fact of this type is of an event that has not been derived yet."""
    return _OPAQUE in fact_type


def known_opaque_types(event_types: Mapping[str, EventType] = EVENT_TYPES) -> list[str]:
    """Return the types of opaque facts whose events these event types can read: those in N and in N-1."""
    return [
        f"{name}{_OPAQUE}{version}"
        for name, event_type in event_types.items()
        for version in (event_type.version - 1, event_type.version)
        if version >= 1
    ]


def unreadable_type(fact_type: str) -> str:
    """Return the type that an opaque fact gets permanently when its event is not as its type's schema says."""
    return fact_type.replace(_OPAQUE, _UNREADABLE)
