"""How many events one person may send: a token bucket each, in this process, for the newest senders only."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

__all__ = ["TokenBuckets"]


class TokenBuckets:
    """Bounded map of token buckets.

    Every process of the API has its own, so that a person's true limit is this one times the number of processes: the
    bucket is there to stop a runaway notebook, not to bill. A bucket that falls out of the map comes back full.

    Args:
        capacity: events a rested sender may send at once.
        refill_per_second: events per second that a sender may send continuously.
        max_senders: buckets kept; the one not used for the longest time goes first.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        capacity: float = 2000,
        refill_per_second: float = 100,
        max_senders: int = 20_000,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if capacity <= 0 or refill_per_second <= 0 or max_senders <= 0:
            raise ValueError("capacity, refill and the number of senders must be above zero")
        self._capacity = float(capacity)
        self._refill = float(refill_per_second)
        self._max_senders = max_senders
        self._clock = clock
        # sender -> [tokens, time of the reading]
        self._buckets: OrderedDict[bytes, list[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, sender: bytes, amount: int) -> int:
        """Take ``amount`` tokens, at least one, from a sender's bucket.

        Returns:
            0 if they were taken; else the whole seconds until they can be, and nothing was taken.
        """
        now = self._clock()
        wanted = float(amount or 1)
        bucket = self._buckets.get(sender)
        if bucket is None:
            self._buckets[sender] = bucket = [self._capacity, now]
            if len(self._buckets) > self._max_senders:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(sender)
            tokens = bucket[0] + (now - bucket[1]) * self._refill
            bucket[0] = min(self._capacity, tokens)
            bucket[1] = now
        if bucket[0] >= wanted:
            bucket[0] -= wanted
            return 0
        return max(1, math.ceil((min(wanted, self._capacity) - bucket[0]) / self._refill))
