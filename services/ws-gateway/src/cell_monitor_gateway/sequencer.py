"""The order of one channel's publications: which may be passed on, what is missing, and when the position is lost.

Pure: no I/O, no clock, no tasks. Every method returns effects for its caller to carry out, in their order. The promise
(docs/dev/contracts.md): publications are accepted in the order of their offsets, each once, without a gap; where that
is impossible the position is lost, and that is reported.

Sharded Pub/Sub delivers at most once, so a live publication is accepted only if it is the next one. Any other waits in
the reorder buffer while the history is read. The history, not the live publication, decides what has happened: a
publication of another epoch may be newer than this channel's position, or late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cell_monitor_core.publications import Publication
from cell_monitor_core.storage.ports import Recovery

__all__ = [
    "Accepted",
    "Effect",
    "Established",
    "GapFilled",
    "Lost",
    "LostReason",
    "ReadHistory",
    "Sequencer",
]

LostReason: TypeAlias = Literal["epoch", "gap", "unverified"]
"""``epoch``: the broker counts in another epoch; ``gap``: the history no longer holds what is missing; ``unverified``:
the history could not be read for too long."""


@dataclass(frozen=True, slots=True)
class Established:
    """The channel has a position: everything after ``offset`` will be accepted."""

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """These publications are next, in this order."""

    publications: Sequence[Publication]


@dataclass(frozen=True, slots=True, eq=False)
class ReadHistory:
    """Read the history after a position and answer with ``fill`` or ``fail``, naming this effect.

    Attributes:
        newest: highest offset known of that epoch: a broker that answers with a lower one has lost publications.
        retry: the last read failed; wait before this one.
    """

    epoch: str
    offset: int
    newest: int
    retry: bool = False


@dataclass(frozen=True, slots=True)
class GapFilled:
    """So many publications were missing and came from the history; ``Accepted`` follows."""

    count: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Publications may be missing: all subscribers have to recover from the position that they have."""

    reason: LostReason


Effect: TypeAlias = Established | Accepted | ReadHistory | GapFilled | Lost


class Sequencer:
    """Position of one channel.

    Args:
        max_buffered: publications that wait, at most, while the history is read.

    Attributes:
        epoch: numbering that the offsets belong to; None while the channel has no position.
        offset: newest publication accepted.
    """

    __slots__ = ("_check_again", "_max_buffered", "_read", "_reorder_buffer", "epoch", "offset")

    def __init__(self, *, max_buffered: int = 5000) -> None:
        self.epoch: str | None = None
        self.offset = 0
        self._max_buffered = max_buffered
        self._reorder_buffer: list[Publication] = []
        self._read: ReadHistory | None = None
        """The read in progress; live publications wait for its answer."""
        self._check_again = False
        """A check was asked for while none could begin: what is read now may be older than its reason."""

    def take(self, publication: Publication) -> list[Effect]:
        """Take a live publication: the next one, a duplicate, or a sign that something is missing."""
        if self.epoch is None or self._read is not None:
            self._buffer(publication)
            return []
        if publication.epoch == self.epoch:
            if publication.offset == self.offset + 1:
                self.offset = publication.offset
                return [Accepted((publication,))]
            if publication.offset <= self.offset:
                return []
        self._buffer(publication)
        return self._start_read()

    def establish(self, epoch: str, offset: int) -> list[Effect]:
        """Begin at the newest position that the broker named, unless the channel already counts in that epoch."""
        if epoch == self.epoch:
            return []
        effects = [] if self.epoch is None else self.lose("epoch")
        self.epoch, self.offset = epoch, offset
        effects.append(Established(epoch, offset))
        return effects + self._drain_buffer()

    def check(self) -> list[Effect]:
        """Compare the position with the broker's, now or as soon as the read in progress has ended."""
        if self.epoch is None or self._read is not None:
            self._check_again = True
            return []
        return self._start_read()

    def fill(self, read: ReadHistory, recovery: Recovery) -> list[Effect]:
        """Take the broker's answer to a read; an answer to an earlier read than the last changes nothing."""
        if read is not self._read:
            return []
        self._read = None
        if not recovery.recovered:
            return self.lose("gap" if recovery.epoch == self.epoch else "epoch")
        offsets = [publication.offset for publication in recovery.publications]
        if recovery.offset < read.newest or offsets != list(range(self.offset + 1, recovery.offset + 1)):
            return self.lose("gap")
        effects: list[Effect] = []
        if offsets:
            self.offset = recovery.offset
            effects += (GapFilled(len(offsets)), Accepted(recovery.publications))
        return effects + self._drain_buffer()

    def fail(self, read: ReadHistory, *, give_up: bool) -> list[Effect]:
        """A read had no answer: read again if anything waits for it; with ``give_up`` lose the position."""
        if read is not self._read:
            return []
        self._read = None
        if give_up:
            return self.lose("unverified")
        if self._reorder_buffer or self._check_again:
            return self._start_read(retry=True)
        # A routine check: what arrives next may still be in order, and the next check is soon enough.
        return []

    def lose(self, reason: LostReason) -> list[Effect]:
        """Give up the position. What is buffered may still follow the next one."""
        self.epoch = None
        self._read = None
        # The next position may have been read before what was lost here.
        self._check_again = True
        return [Lost(reason)]

    def _buffer(self, publication: Publication) -> None:
        if len(self._reorder_buffer) < self._max_buffered:
            self._reorder_buffer.append(publication)
        # What does not fit is missing then, and filled like any other gap.

    def _start_read(self, *, retry: bool = False) -> list[Effect]:
        assert self.epoch is not None
        self._check_again = False
        known = [publication.offset for publication in self._reorder_buffer if publication.epoch == self.epoch]
        self._read = ReadHistory(self.epoch, self.offset, max(known, default=self.offset), retry)
        return [self._read]

    def _drain_buffer(self) -> list[Effect]:
        """Accept what follows the position; read the history again where something else shows that more is missing."""
        buffered, self._reorder_buffer = self._reorder_buffer, []
        incomplete = self._check_again or len(buffered) >= self._max_buffered
        accepted: list[Publication] = []
        for publication in sorted(buffered, key=_offset):
            if publication.epoch != self.epoch:
                # Not kept: the history shows whether the channel is in another epoch.
                incomplete = True
            elif publication.offset == self.offset + 1:
                self.offset = publication.offset
                accepted.append(publication)
            elif publication.offset > self.offset:
                self._reorder_buffer.append(publication)
        effects: list[Effect] = [Accepted(accepted)] if accepted else []
        if incomplete or self._reorder_buffer:
            effects += self._start_read()
        return effects


def _offset(publication: Publication) -> int:
    return publication.offset
