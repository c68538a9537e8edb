"""How long events wait in this process: by a clock that cannot be set, and over a restart as well as can be known.

The monitor's time of an event is its receipt minus how long the event waited, so every hop that holds events adds its part.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

__all__ = ["MAX_WAIT_MS", "HoldClock", "Moment", "browser_waits", "hold_clock"]

MAX_WAIT_MS = 7 * 24 * 3600 * 1000
"""The monitor believes no longer wait."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Moment:
    """When this process took an event.

    Attributes:
        clock: which monotonic clock `ticks_ms` is of: those of two boots have different beginnings.
        ticks_ms: milliseconds of that clock.
        wall_ms: milliseconds since 1970, which count where that clock is gone.
    """

    clock: str
    ticks_ms: int
    wall_ms: int


class HoldClock:
    """Measures how long events are held.

    Args:
        clock: names the monotonic clock.
        ticks: seconds of the monotonic clock.
        wall: seconds since 1970.
    """

    def __init__(self, clock: str, ticks: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._ticks = ticks
        self._wall = wall

    def now(self) -> Moment:
        """The present."""
        return Moment(self._clock, int(self._ticks() * 1000), int(self._wall() * 1000))

    def held_ms(self, since: Moment) -> int:
        """Milliseconds since a moment, from 0 to `MAX_WAIT_MS`.

        After a restart of the computer the difference of the wall clock is all that there is: it is wrong by as much as that
        clock was set meanwhile.
        """
        now = self.now()
        held = now.ticks_ms - since.ticks_ms if now.clock == since.clock else now.wall_ms - since.wall_ms
        return _bounded(held)


def hold_clock() -> HoldClock:
    """The clock of this computer that goes on while it is suspended, where there is one.

    Linux: `CLOCK_BOOTTIME`, which differs from `CLOCK_MONOTONIC` in just that (clock_gettime(2)); the boot's id shows
    whether the time that an earlier process stored is of the same clock. macOS: `CLOCK_MONOTONIC`, which "will continue to
    increment while the system is asleep" (clock_gettime(3)). Windows: `time.monotonic`.
    """
    try:
        boot = _BOOT_ID.read_text("ascii").strip()
        identifier = getattr(time, "CLOCK_BOOTTIME")  # noqa: B009 - other systems do not have it
        time.clock_gettime(identifier)
    except (OSError, ValueError, AttributeError):
        boot = secrets.token_hex(8)
        identifier = time.CLOCK_MONOTONIC if sys.platform == "darwin" else None
    if identifier is None:
        return HoldClock(boot, time.monotonic)
    return HoldClock(boot, lambda: time.clock_gettime(identifier))


def browser_waits(events: Sequence[Any], sent_at: object, waited_ms: object) -> list[int]:
    """How long each event had waited when the browser sent it, in milliseconds; 0 where that is not known.

    Args:
        events: as sent.
        sent_at: of the request, not validated.
        waited_ms: likewise; it counts where both are there.
    """
    if isinstance(waited_ms, list) and len(waited_ms) == len(events):
        return [_bounded(wait) if isinstance(wait, int) else 0 for wait in waited_ms]
    sent = _time(sent_at)
    if sent is None:
        return [0] * len(events)
    made = [_time(event.get("occurred_at")) if isinstance(event, dict) else None for event in events]
    return [0 if at is None else _bounded(int((sent - at).total_seconds() * 1000)) for at in made]


def _bounded(wait_ms: int) -> int:
    return min(max(wait_ms, 0), MAX_WAIT_MS)


def _time(text: object) -> datetime | None:
    if not isinstance(text, str) or len(text) > 64:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment
