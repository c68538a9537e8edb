"""Event ids: UUIDs of version 7 (RFC 9562), lower case with hyphens; they begin with their time in milliseconds."""

from __future__ import annotations

import uuid_utils

__all__ = ["new_event_id"]


def new_event_id() -> str:
    """Return a fresh id; ids of one process grow."""
    return str(uuid_utils.uuid7())
