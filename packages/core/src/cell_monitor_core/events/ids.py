"""Event ids: UUIDs of version 7 (RFC 9562), lower case with hyphens; they begin with their time in milliseconds."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

import uuid_utils

__all__ = ["event_id_bytes", "event_id_ms", "new_event_id", "parse_event_id", "unix_ms"]

_EVENT_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def new_event_id() -> str:
    """Return a fresh id; ids of one process grow."""
    return str(uuid_utils.uuid7())


def parse_event_id(text: str) -> UUID:
    """Read an id.

    Raises:
        ValueError: it is no UUID of version 7 in lower case with hyphens.
    """
    if not _EVENT_ID.fullmatch(text):
        raise ValueError("an event id is a UUID of version 7, lower case with hyphens")
    return UUID(text)


def unix_ms(event_id: UUID) -> int:
    """Return the id's time, milliseconds since the epoch."""
    return event_id.int >> 80


def event_id_ms(text: str) -> int:
    """Return the time of a checked id without making a UUID of it, milliseconds since the epoch."""
    return int(text[:8] + text[9:13], 16)


def event_id_bytes(text: str) -> bytes:
    """Return the 16 bytes of a checked id without making a UUID of it."""
    return bytes.fromhex(text.replace("-", ""))
