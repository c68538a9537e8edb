"""Exceptions that stop a worker."""

from __future__ import annotations

__all__ = ["GroupHaltedError", "StoppingError"]


class GroupHaltedError(Exception):
    """Too large a share of a group's events failed, so that the code or a store is probably the cause."""

    def __init__(self, group: str, reason: str) -> None:
        super().__init__(f"{group}: {reason}")
        self.group = group
        self.reason = reason


class StoppingError(Exception):
    """The process is stopping and could not finish its work; another worker will claim it."""
