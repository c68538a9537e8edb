"""Isolation of points that a store refuses: the refused chunk is halved until the invalid points are found.

Works because writing a point again changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from cell_monitor_core.storage.ports import PoisonPoints, StoreUnavailable, TimeSeriesPoint

__all__ = ["Refused", "write_around"]

MAX_REQUESTS: Final = 400
"""Bound of the extra requests of one batch; some 30 bad points among 5,000 can be found with them."""


class Refused(Exception):  # noqa: N818 - says what the store did
    """A chunk is refused because of what is in it.

    Args:
        reason: the refusal, for the log.
        by_store: whether the store refuses it, and not a proxy that takes no request of this size.
    """

    def __init__(self, reason: str, *, by_store: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.by_store = by_store


async def write_around(
    points: Sequence[TimeSeriesPoint], write: Callable[[Sequence[TimeSeriesPoint]], Awaitable[None]]
) -> None:
    """Write all points but those that are refused on their own.

    Args:
        points: a batch.
        write: writes a chunk, or raises ``Refused``.

    Raises:
        PoisonPoints: some were refused; all others are written.
        StoreUnavailable: the store does not answer, or refuses so many points that the store is probably the cause.
    """
    poison: list[tuple[TimeSeriesPoint, str]] = []
    waiting: list[Sequence[TimeSeriesPoint]] = [points] if points else []
    requests = 0
    reason = ""
    while waiting:
        chunk = waiting.pop()
        requests += 1
        if requests > MAX_REQUESTS:
            raise StoreUnavailable(f"too many points are refused, {len(poison)} so far: {reason}"[:500])
        try:
            await write(chunk)
        except Refused as refused:
            reason = refused.reason
            if len(chunk) == 1:
                if not refused.by_store:
                    raise StoreUnavailable(reason[:500]) from refused
                poison.append((chunk[0], reason[:500]))
                continue
            middle = len(chunk) // 2
            waiting.extend((chunk[middle:], chunk[:middle]))
    if poison:
        raise PoisonPoints(poison)
