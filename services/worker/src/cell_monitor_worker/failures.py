"""When too much fails: a worker stops rather than drain the stream into ``failed_events``."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

__all__ = ["BLAMELESS_REASONS", "FailureLimit", "RecordFailure"]

WINDOW: Final = 1000

BLAMELESS_REASONS: Final = frozenset({"unknown_course"})
"""Reasons that say nothing about code or stores: a course was deleted while its events waited."""


@dataclass(frozen=True, slots=True)
class RecordFailure:
    """One record that a sink cannot take: its position in the batch, a reason's code, and words for people."""

    index: int
    reason: str
    detail: str


class FailureLimit:
    """Judges the share of failed records among the last 1,000 of a group.

    Args:
        share: above it the group halts,
        at_least: but not before so many records were seen.
    """

    def __init__(self, *, share: float, at_least: int) -> None:
        self._share = share
        self._at_least = at_least
        self._recent: deque[tuple[int, int]] = deque()
        self._total = 0
        self._failed = 0

    def exceeded_by(self, total: int, failed: int) -> str | None:
        """Count a batch; return what is wrong where its failures are too many to be put aside."""
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
