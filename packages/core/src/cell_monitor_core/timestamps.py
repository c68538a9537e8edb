"""Times in the form of the contracts: RFC 3339, UTC, milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload

__all__ = ["to_text"]


@overload
def to_text(moment: datetime) -> str: ...
@overload
def to_text(moment: None) -> None: ...
def to_text(moment: datetime | None) -> str | None:
    """Return an aware datetime as ``2026-04-01T09:00:00.123Z``, truncated to milliseconds; None for None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
