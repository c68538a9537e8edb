"""What is known of one browser session: how many of its events are missing, and whether it is open.

All of it is sums and maxima, so the order in which facts arrive does not matter.
"""

from __future__ import annotations

import msgspec

from cell_monitor_core.derivation.facts import NO_KEY, Fact, Key, fact_key

__all__ = ["SessionFold"]


class SessionFold(msgspec.Struct, omit_defaults=True):
    """One session of one student in one course.

    Attributes:
        max_seq: the highest ``seq`` seen: so many events exist.
        stored: events stored.
        alive: key of the newest fact other than an end.
        ended: key of the newest end. A hidden page that comes back goes on with its session.
        first: the earliest and ``last`` the latest time of a fact, milliseconds since the epoch, by the server's time alone: facts
            of releases that took the sender's clock are left out, and 0 stands for none (``placing``).
    """

    max_seq: int = 0
    stored: int = 0
    alive: Key = NO_KEY
    ended: Key = NO_KEY
    first: int = 0
    last: int = 0

    def add(self, fact: Fact) -> None:
        """Fold a fact that was not folded before."""
        self.stored += 1
        self.max_seq = max(self.max_seq, fact.seq)
        key = fact_key(fact)
        if fact.type == "session_ended":
            self.ended = max(self.ended, key)
        else:
            self.alive = max(self.alive, key)
        if fact.occurred is not None:
            self.first = min(self.first or fact.at, fact.at)
            self.last = max(self.last, fact.at)

    @property
    def missing(self) -> int:
        """Events that the counter says exist and that are not stored."""
        return max(0, self.max_seq - self.stored)

    @property
    def open(self) -> bool:
        """Whether something happened after the newest end."""
        return self.alive > self.ended
