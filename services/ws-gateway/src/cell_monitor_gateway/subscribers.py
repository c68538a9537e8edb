"""The subscribers of one channel, and up to where each of them is. Pure: no I/O, no tasks.

A subscriber first reads the history; what is sent to the others meanwhile is kept for it and merged by offset. Often the
history goes further than what was sent to the others so far: then it is left out of their frames until they are as far.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from cell_monitor_gateway.protocol import Subscriber

__all__ = ["Delivery", "Encoded", "Subscribers"]

Encoded: TypeAlias = tuple[int, bytes]
"""A publication's offset and its JSON."""
Delivery: TypeAlias = tuple[Sequence[Subscriber], Sequence[Encoded]]
"""Who gets which publications."""


class Subscribers:
    """Who follows a channel.

    Args:
        max_kept: publications that are kept for a subscriber, at most, while it reads the history.

    Attributes:
        live: have everything up to ``flushed`` and get what follows.
        caught_up_beyond: their history went beyond ``flushed``, to this offset.
        subscribing: read the history now; with what was flushed since they began.
        flushed: newest offset that went out.
    """

    __slots__ = ("_max_kept", "caught_up_beyond", "flushed", "live", "subscribing")

    def __init__(self, *, max_kept: int = 5000) -> None:
        self._max_kept = max_kept
        self.live: dict[Subscriber, None] = {}
        self.caught_up_beyond: dict[Subscriber, int] = {}
        self.subscribing: dict[Subscriber, list[Encoded]] = {}
        self.flushed = 0

    def __len__(self) -> int:
        return len(self.live) + len(self.caught_up_beyond) + len(self.subscribing)

    def following(self) -> list[Subscriber]:
        """Return those who follow; without those who read the history still."""
        return [*self.live, *self.caught_up_beyond]

    def begin(self, subscriber: Subscriber) -> None:
        """Keep for a subscriber what is flushed from now on: before its history is read."""
        self.subscribing[subscriber] = []

    def complete(self, subscriber: Subscriber, offset: int) -> list[Encoded] | None:
        """Let a subscriber follow, whose history went up to ``offset``.

        Returns:
            What was kept for it and follows its history; None if the two do not join, and it does not follow.
        """
        kept = self.subscribing.pop(subscriber, None)
        if kept is None:
            return None
        missing = []
        for publication in kept:
            if publication[0] > offset:
                if publication[0] != offset + 1:
                    return None
                missing.append(publication)
                offset += 1
        if offset < self.flushed:
            return None
        if offset > self.flushed:
            self.caught_up_beyond[subscriber] = offset
        else:
            self.live[subscriber] = None
        return missing

    def cancel(self, subscriber: Subscriber) -> None:
        """Stop keeping publications for a subscriber whose history could not be read; else change nothing."""
        self.subscribing.pop(subscriber, None)

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscriber, whatever its state."""
        self.live.pop(subscriber, None)
        self.caught_up_beyond.pop(subscriber, None)
        self.subscribing.pop(subscriber, None)

    def restart(self, offset: int) -> None:
        """Begin at another position; nobody follows yet."""
        self.flushed = offset

    def lose(self) -> list[Subscriber]:
        """Return those who follow and may miss something now. Those still reading the history read past the loss."""
        for kept in self.subscribing.values():
            kept.clear()
        return self.following()

    def flush(self, publications: Sequence[Encoded]) -> tuple[list[Delivery], list[Subscriber]]:
        """Return who gets what of the next publications, and those for whom too much had to be kept."""
        last = publications[-1][0]
        self.flushed = last
        overflowed = []
        for subscriber, kept in list(self.subscribing.items()):
            kept.extend(publications)
            if len(kept) > self._max_kept:
                del self.subscribing[subscriber]
                overflowed.append(subscriber)
        deliveries: list[Delivery] = [(list(self.live), publications)] if self.live else []
        for subscriber, offset in list(self.caught_up_beyond.items()):
            if offset <= last:
                del self.caught_up_beyond[subscriber]
                self.live[subscriber] = None
                if rest := [publication for publication in publications if publication[0] > offset]:
                    deliveries.append(((subscriber,), rest))
        return deliveries, overflowed
