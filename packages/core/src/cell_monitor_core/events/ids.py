"""Event ids: UUIDs of version 7 (RFC 9562), lower case with hyphens; they begin with their time in milliseconds."""

from __future__ import annotations

import uuid_utils

__all__ = ["event_id_bytes", "event_id_ms", "new_event_id"]


def new_event_id() -> str:
    """Return a fresh id; ids of one process grow."""
    return str(uuid_utils.uuid7())


def event_id_ms(text: str) -> int:
    """Return the time of a checked id without making a UUID of it, milliseconds since the epoch."""
    return int(text[:8] + text[9:13], 16)


def event_id_bytes(text: str) -> bytes:
    """Return the 16 bytes of a checked id without making a UUID of it."""
    return bytes.fromhex(text.replace("-", ""))
