"""A bound on how much of one kind of work a process does at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Places"]


class Places:
    """A number of places, one for each piece of work that is under way. Nobody waits for one.

    Args:
        most: how many there are.
        full: makes the error that is raised where all are taken.
    """

    def __init__(self, most: int, full: Callable[[], Exception]) -> None:
        self._most = most
        self._full = full
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a place for one block."""
        if self._taken >= self._most:
            raise self._full()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
