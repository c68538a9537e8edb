"""Progress of a benchmark run on the terminal: what runs now, and how long it has taken."""

from __future__ import annotations

import sys
import time

__all__ = ["Progress"]


class Progress:
    """One line a step, with the minutes since the start and the share that is done."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._started = time.monotonic()

    def step(self, what: str) -> None:
        """Say what begins now."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        share = min(99, self._done * 100 // self._steps)
        sys.stderr.write(f"[{minutes:2d}:{seconds:02d}] {share:3d} %  {what}\n")
        sys.stderr.flush()
        self._done += 1
