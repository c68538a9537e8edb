"""Limits of the ingest: what the API takes in one request."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_BODY_BYTES", "MAX_EVENTS", "MAX_EVENT_BYTES"]

MAX_EVENTS: Final = 200
"""Events a request."""
MAX_EVENT_BYTES: Final = 64 * 1024
"""Bytes of one event's JSON as sent."""
MAX_BODY_BYTES: Final = 1024 * 1024
"""Bytes of a request's body, both as sent and unpacked."""
