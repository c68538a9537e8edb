"""How long events waited before the API received them, as far as the request says.

The server's time of an event is its receipt minus this wait. Two forms, in the body of the request:

- ``sent_at``: the sender's clock when it sent the request. The time from an event's ``occurred_at`` until then is a distance on
  one clock, so it does not matter how wrong that clock is.
- ``waited_ms``: one number for each event, which counts where both are there. A sender that measured the wait by a clock
  that cannot be set, or that held events of others (the Jupyter Server half's spool), sends this.

Without either nothing is known of the wait, and the event counts as new. No value is a reason to refuse an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

__all__ = ["MAX_WAIT_MS", "NO_WAITS", "Waits"]

MAX_WAIT_MS: Final = 7 * 24 * 3600 * 1000
"""A longer wait counts as this one: no claim puts an event further into the past."""

_MILLISECOND: Final = timedelta(milliseconds=1)


class Waits(NamedTuple):
    """What a request says of how long its events waited; see the module.

    Attributes:
        sent_at: the sender's clock; None where it was not sent, or is no time.
        waited_ms: of each event, as sent.
    """

    sent_at: datetime | None = None
    waited_ms: Sequence[int] | None = None

    @classmethod
    def of(cls, sent_at: str | None, waited_ms: Sequence[int] | None) -> Waits:
        """Read the two values of a request; a ``sent_at`` that is no time with a zone counts as none."""
        if sent_at is None and waited_ms is None:
            return NO_WAITS
        return cls(None if sent_at is None else _time(sent_at), waited_ms)

    def of_event(self, position: int, occurred_at: str) -> int:
        """Return how long an event waited, from 0 to ``MAX_WAIT_MS`` milliseconds.

        Args:
            position: of the event in the request.
            occurred_at: of the event; a time that ``codec`` accepted.
        """
        if self.waited_ms is not None:
            waited = self.waited_ms[position]
        elif self.sent_at is not None:
            waited = (self.sent_at - datetime.fromisoformat(occurred_at)) // _MILLISECOND
        else:
            return 0
        return min(max(waited, 0), MAX_WAIT_MS)


NO_WAITS: Final = Waits()
"""Of a request that says nothing."""


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment
