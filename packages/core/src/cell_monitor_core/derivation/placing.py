"""The server's time of new facts: their receipt minus their wait, in the order of their sessions' own numbers.

Three rules, from the strongest:

1. Within a session the time never falls as ``seq`` grows, whatever was claimed and in which order the events came. A fact
   that comes late, with a lower number than the newest stored one, gets a time between those of its neighbours.
2. No fact is older than the first receipt of its session: a claimed wait reaches no further back than the server has known the
   session.
3. Otherwise the time is the receipt minus the wait.

The time is decided once, when the fact is stored, and stored with it: what derives from the facts depends on nothing else.
Of sessions that first come in one batch, as after an outage, those whose claims are cut off by rule 2 follow each other in the
order of the claims, a millisecond apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from cell_monitor_core.derivation.facts import Fact
from cell_monitor_core.derivation.sessions import SessionFold

__all__ = ["UNBOUNDED", "Arrival", "Neighbours", "is_late", "not_before", "place"]


class Arrival(NamedTuple):
    """A fact that is to be placed, at its receipt minus its wait, and the receipt, milliseconds since the epoch."""

    fact: Fact
    received_at: int


class Neighbours(NamedTuple):
    """Times of the stored facts of a session with the next lower and the next higher ``seq``; None where there is none."""

    before: int | None
    after: int | None


UNBOUNDED: Final = Neighbours(None, None)


@dataclass(slots=True)
class _Session:
    """The facts of one session that are placed together.

    Attributes:
        numbers: places of its facts among the arrivals, in the order of ``seq``.
        first: the earliest and ``last`` the latest time that its facts claim.
        floor: no fact of it is older.
    """

    numbers: list[int]
    first: int
    last: int
    floor: int


def is_late(fact: Fact, session: SessionFold | None) -> bool:
    """Return whether a fact needs its neighbours: one with its number or a higher one may be stored."""
    return session is not None and fact.seq <= session.max_seq


def not_before(fact: Fact, first_receipt: int) -> Fact:
    """Return a fact that is no older than the first receipt of its session (rule 2), milliseconds since the epoch."""
    return fact if fact.at >= first_receipt else msgspec.structs.replace(fact, at=first_receipt)


def place(
    arrivals: Sequence[Arrival],
    sessions: Mapping[str, SessionFold],
    neighbours: Mapping[tuple[str, int], Neighbours],
) -> list[Fact]:
    """Return the facts of one student with their times, in the order given.

    Args:
        arrivals: in the order in which they came.
        sessions: what is stored of their sessions.
        neighbours: of those that are late, by (session, ``seq``).
    """
    placed = [arrival.fact for arrival in arrivals]
    newest: _Session | None = None
    newest_at = 0
    for session in _sessions(arrivals, sessions):
        if newest is not None and session.first < session.floor and newest.last <= session.first:
            # Cut off at its first receipt, which is that of the other session as well.
            session.floor = max(session.floor, newest_at + 1)
        at = 0
        fold = sessions.get(placed[session.numbers[0]].session)
        for number in session.numbers:
            fact = placed[number]
            at = max(at, _time(fact, session.floor, fold, neighbours))
            if at != fact.at:
                placed[number] = msgspec.structs.replace(fact, at=at)
        if at >= newest_at:
            newest, newest_at = session, at
    return placed


def _sessions(arrivals: Sequence[Arrival], folds: Mapping[str, SessionFold]) -> list[_Session]:
    """Return the sessions of arrivals in the order of their claimed times."""
    found: dict[str, _Session] = {}
    for number, (fact, received_at) in enumerate(arrivals):
        session = found.get(fact.session)
        if session is None:
            fold = folds.get(fact.session)
            first_receipt = received_at if fold is None or not fold.first else min(fold.first, received_at)
            found[fact.session] = _Session([number], fact.at, fact.at, first_receipt)
        else:
            session.numbers.append(number)
            session.first = min(session.first, fact.at)
            session.last = max(session.last, fact.at)
            session.floor = min(session.floor, received_at)
    ordered = list(found.values())
    for session in ordered:
        session.numbers.sort(key=lambda number: (arrivals[number].fact.seq, number))
    if len(ordered) > 1:
        ordered.sort(key=lambda session: session.first)
    return ordered


def _time(fact: Fact, floor: int, session: SessionFold | None, neighbours: Mapping[tuple[str, int], Neighbours]) -> int:
    at = not_before(fact, floor).at
    if session is None:
        return at
    if not is_late(fact, session):
        return max(at, session.last)
    before, after = neighbours.get((fact.session, fact.seq), UNBOUNDED)
    if after is not None:
        at = min(at, after)
    return at if before is None else max(at, before)
