"""Times as events and answers have them: RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime

__all__ = ["to_text"]


def to_text(moment: datetime, timespec: str = "milliseconds") -> str:
    """Return a time in UTC such as ``2026-04-01T09:00:00.123Z``; ``timespec`` is that of ``datetime.isoformat``."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")
