"""What stops a worker."""

from __future__ import annotations

__all__ = ["GroupHaltedError", "StoppingError"]


class GroupHaltedError(Exception):
    """Too large a share of a group's events failed: the code or the store is bad, not the data."""

    def __init__(self, group: str, reason: str) -> None:
        super().__init__(f"{group}: {reason}")
        self.group = group
        self.reason = reason


class StoppingError(Exception):
    """The process is on its way out and the work at hand could not be finished; somebody else will do it."""
