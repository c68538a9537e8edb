"""The limit on failed events: above it a worker halts instead of moving the whole stream to ``failed_events``."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

__all__ = ["FailureLimit", "RecordFailure"]

WINDOW: Final = 1000


@dataclass(frozen=True, slots=True)
class RecordFailure:
    """A record that a sink cannot process: its position in the batch, the code of the reason, and a description."""

    index: int
    reason: str
    detail: str


class FailureLimit:
    """Computes the share of failed records among the last 1,000 of a group.

    Args:
        share: the limit.
        at_least: minimum number of records before the limit applies.
    """

    def __init__(self, *, share: float, at_least: int) -> None:
        self._share = share
        self._at_least = at_least
        self._recent: deque[tuple[int, int]] = deque()
        self._total = 0
        self._failed = 0

    def exceeded_by(self, total: int, failed: int) -> str | None:
        """Count a batch; return a description if the limit is exceeded, else None."""
        if not total:
            return None
        self._recent.append((total, failed))
        self._total += total
        self._failed += failed
        # The newest batch always counts in full.
        while len(self._recent) > 1 and self._total - self._recent[0][0] >= WINDOW:
            old_total, old_failed = self._recent.popleft()
            self._total -= old_total
            self._failed -= old_failed
        if self._total >= self._at_least and self._failed > self._share * self._total:
            return f"{self._failed} of the last {self._total} events failed"
        return None
