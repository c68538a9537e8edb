"""Limits of the ingest: what the API takes in one request and for how long an event may wait for it."""

from __future__ import annotations

from typing import Final

__all__ = ["EVENT_MAX_AGE_MS", "EVENT_MAX_AHEAD_MS", "MAX_BODY_BYTES", "MAX_EVENTS", "MAX_EVENT_BYTES"]

MAX_EVENTS: Final = 200
"""Events a request."""
MAX_EVENT_BYTES: Final = 64 * 1024
"""Bytes of one event's JSON as sent."""
MAX_BODY_BYTES: Final = 1024 * 1024
"""Bytes of a request's body, both as sent and unpacked."""
EVENT_MAX_AGE_MS: Final = 31 * 24 * 3600 * 1000
"""How far back an event id's time may lie: the longest that a browser or a spool may have been away."""
EVENT_MAX_AHEAD_MS: Final = 24 * 3600 * 1000
"""How far ahead an event id's time may lie: a wrong clock or time zone."""
