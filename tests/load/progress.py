"""Progress of a benchmark on the terminal: the current step and the time since the start."""

from __future__ import annotations

import sys
import time

__all__ = ["Progress"]


class Progress:
    """Prints one line per step, with the time since the start and the completed share."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._started = time.monotonic()

    def step(self, what: str) -> None:
        """Print the step that starts now."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        share = min(99, self._done * 100 // self._steps)
        sys.stderr.write(f"[{minutes:2d}:{seconds:02d}] {share:3d} %  {what}\n")
        sys.stderr.flush()
        self._done += 1
