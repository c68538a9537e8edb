"""Requests for help: what a student's request is and became, as a function of events and of what staff did.

A student has at most one active request in a course: the one that the API received last. The requests before it that are
not resolved count as cancelled, also after it is closed. The order is that of the API's clock, since a student's clock that
was ahead once would put every later request behind an old one.

A cancellation names a request by the event id that its sender gave it, and reaches only that sender's requests.

A request whose student has left closes itself ``EXPIRES_AFTER`` later. As everything that the time alone brings about, this
is a stored fact: the worker's action ``expire``. It counts only if no fact says that the student was there after all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final, Literal, TypeAlias
from uuid import UUID

import msgspec

from cell_monitor_core.derivation.facts import ErrorClass, Fact, Key, fact_key, moment
from cell_monitor_core.publications import CellRef, HelpStatus, NotebookRef

__all__ = [
    "ACTIVE_STATUSES",
    "EXPIRES_AFTER",
    "HelpAction",
    "HelpActionKind",
    "HelpAlreadyClaimed",
    "HelpClosed",
    "HelpContext",
    "HelpFact",
    "HelpOutcome",
    "HelpRequest",
    "HelpTurn",
    "affected_requests",
    "check_action",
    "concerns_help",
    "derive_request",
    "help_outcome",
    "help_request_id",
    "newest_active",
    "turns_of_student",
]

HelpActionKind: TypeAlias = Literal["claim", "release", "resolve"]
"""What staff do."""

EXPIRES_AFTER: Final = timedelta(minutes=30)
"""How long after its student left (``offline_s`` after the last event) a request closes itself."""

ACTIVE_STATUSES: Final[frozenset[HelpStatus]] = frozenset(("open", "claimed"))
"""A student waits, or is being helped."""

_HELP_TYPES: Final = frozenset(("help_requested", "help_cancelled"))


class HelpAlreadyClaimed(Exception):  # noqa: N818 - named for what it says
    """Another member of the staff has claimed the request; ``by`` is the person's id."""

    def __init__(self, by: UUID) -> None:
        super().__init__(f"claimed by {by}")
        self.by = by


class HelpClosed(Exception):  # noqa: N818 - named for what it says
    """The request is resolved, cancelled or expired."""


def help_request_id(person_id: UUID, event_id: UUID) -> UUID:
    """Return the id of a request: a UUID of version 8 (RFC 9562, 5.8) of SHA-256 over the sender's id and the event's.

    The SQL function of the same name gives the same id.
    """
    digest = bytearray(hashlib.sha256(person_id.bytes + event_id.bytes).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return UUID(bytes=bytes(digest))


@dataclass(frozen=True, slots=True)
class HelpFact:
    """A stored ``help_requested`` or ``help_cancelled``, and when the API received it (milliseconds since the epoch)."""

    fact: Fact
    received_at: int


@dataclass(frozen=True, slots=True)
class HelpAction:
    """What a member of the staff or, as ``expire``, the worker did, and when by the database's clock.

    Attributes:
        person_id: None for the worker.
        refuted: of ``expire``: whether a fact of the student, however late it arrived, is of the time between the last
            one known then and the action: the student had not left.
    """

    action: HelpActionKind | Literal["expire"]
    person_id: UUID | None
    at: datetime
    refuted: bool = False


@dataclass(frozen=True, slots=True)
class HelpOutcome:
    """What became of a request."""

    status: HelpStatus
    claimed_by: UUID | None = None
    claimed_at: datetime | None = None
    resolved_by: UUID | None = None
    resolved_at: datetime | None = None
    expired_at: datetime | None = None

    @property
    def active(self) -> bool:
        """Whether the student still waits or is being helped."""
        return self.status in ACTIVE_STATUSES


class HelpContext(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the student was and what had happened there.

    Attributes:
        error: of the newest run that succeeded or failed before the request.
        run: that run's event id.
        error_notebook: where that run was, if it failed; likewise ``error_cell``.
    """

    notebook: NotebookRef | None = None
    cell: CellRef | None = None
    error: ErrorClass | None = None
    run: str | None = None
    error_notebook: NotebookRef | None = None
    error_cell: CellRef | None = None


@dataclass(frozen=True, slots=True)
class HelpTurn:
    """A request among its student's others.

    Attributes:
        fact: its event.
        received_at: when the API received it, milliseconds since the epoch.
        cancelled_at: when the student took it back or made the next one, milliseconds since the epoch; also of a request that
            staff had resolved before. A claimed wait of the next one makes it no earlier than the request itself.
        supersedes: event id of the request before it.
    """

    fact: Fact
    received_at: int
    cancelled_at: int | None
    supersedes: str | None


@dataclass(frozen=True, slots=True)
class HelpRequest:
    """A request as it is stored, apart from its texts and its version.

    Attributes:
        requested_at: the server's time of its event: the receipt minus the wait, which is claimed.
        received_at: when the API received it: the order among all students' requests.
    """

    request_id: UUID
    course_id: str
    person_id: UUID
    event_id: str
    requested_at: datetime
    received_at: datetime | None
    cancelled_at: datetime | None
    outcome: HelpOutcome
    context: HelpContext


def concerns_help(facts: Iterable[Fact], asked: Key) -> bool:
    """Return whether facts can change a request of a student whose newest request has the key ``asked``."""
    return any(fact.type in _HELP_TYPES or (fact.type == "cell_executed" and fact_key(fact) < asked) for fact in facts)


def turns_of_student(stored: Iterable[HelpFact]) -> dict[str, HelpTurn]:
    """Return a student's requests in a course by event id, in the order in which the API received them."""
    cancellations: dict[str, int] = {}
    requests: list[HelpFact] = []
    for each in stored:
        fact = each.fact
        if fact.type == "help_requested":
            requests.append(each)
        elif fact.request is not None:
            cancellations[fact.request] = min(fact.at, cancellations.get(fact.request, fact.at))
    requests.sort(key=lambda each: (each.received_at, fact_key(each.fact)))
    turns: dict[str, HelpTurn] = {}
    for number, each in enumerate(requests):
        fact = each.fact
        ends = [requests[number + 1].fact.at] if number + 1 < len(requests) else []
        if fact.id in cancellations:
            ends.append(cancellations[fact.id])
        before = requests[number - 1].fact.id if number else None
        end = max(fact.at, min(ends)) if ends else None
        turns[fact.id] = HelpTurn(fact, each.received_at, end, before)
    return turns


def affected_requests(turns: Mapping[str, HelpTurn], facts: Iterable[Fact]) -> set[str]:
    """Return the event ids of the requests that facts make, cancel, supersede, or put another run before."""
    affected: set[str] = set()
    runs: list[Key] = []
    for fact in facts:
        if fact.type == "help_requested":
            affected.add(fact.id)
            if fact.id in turns and (before := turns[fact.id].supersedes) is not None:
                affected.add(before)
        elif fact.request is not None and fact.request in turns:
            affected.add(fact.request)
        elif fact.type == "cell_executed":
            runs.append(fact_key(fact))
    if runs:
        earliest = min(runs)
        affected.update(event_id for event_id, turn in turns.items() if fact_key(turn.fact) > earliest)
    return affected


def derive_request(
    course_id: str, person_id: UUID, turn: HelpTurn, run: Fact | None, actions: Iterable[HelpAction]
) -> HelpRequest:
    """Return a request as it should be stored.

    Args:
        course_id: its course.
        person_id: its sender.
        turn: the request among its student's others.
        run: the student's newest run before it that succeeded or failed.
        actions: what staff did about it, in order.
    """
    fact = turn.fact
    cancelled_at = None if turn.cancelled_at is None else moment(turn.cancelled_at)
    return HelpRequest(
        request_id=help_request_id(person_id, UUID(fact.id)),
        course_id=course_id,
        person_id=person_id,
        event_id=fact.id,
        requested_at=moment(fact.at),
        received_at=moment(turn.received_at),
        cancelled_at=cancelled_at,
        outcome=help_outcome(cancelled_at, actions),
        context=_context_of(fact, run),
    )


def _context_of(fact: Fact, run: Fact | None) -> HelpContext:
    if run is None or run.error is None:
        return HelpContext(fact.notebook, fact.cell, run=None if run is None else run.id)
    return HelpContext(fact.notebook, fact.cell, run.error, run.id, run.notebook, run.cell)


def help_outcome(cancelled_at: datetime | None, actions: Iterable[HelpAction]) -> HelpOutcome:
    """Apply the actions, in their order, to an open request.

    Actions are checked when they are taken; one that no longer fits (a claim of a claimed request) changes nothing.
    A resolution remains valid even if the student's cancellation arrives later: help was given.
    """
    claimed_by: UUID | None = None
    claimed_at: datetime | None = None
    for action in actions:
        if action.action == "resolve":
            return HelpOutcome("resolved", claimed_by, claimed_at, action.person_id, action.at)
        if action.action == "expire":
            # What ended it before, and arrived later, remains its end.
            if not action.refuted and (cancelled_at is None or cancelled_at > action.at):
                return HelpOutcome("expired", claimed_by, claimed_at, expired_at=action.at)
            continue
        if action.action == "release":
            claimed_by = claimed_at = None
        elif claimed_by is None:
            claimed_by, claimed_at = action.person_id, action.at
    if cancelled_at is not None:
        return HelpOutcome("cancelled", claimed_by, claimed_at)
    return HelpOutcome("claimed" if claimed_by is not None else "open", claimed_by, claimed_at)


def check_action(outcome: HelpOutcome, action: HelpActionKind, person_id: UUID) -> bool:
    """Return whether an action changes anything; one that is done already does not, since its answer may have been lost.

    Raises:
        HelpAlreadyClaimed: another person has claimed the request.
        HelpClosed: it is resolved, cancelled or expired.
    """
    if outcome.status == "resolved" and action == "resolve" and outcome.resolved_by == person_id:
        return False
    if not outcome.active:
        raise HelpClosed
    if action == "claim" and outcome.claimed_by is not None:
        if outcome.claimed_by != person_id:
            raise HelpAlreadyClaimed(outcome.claimed_by)
        return False
    return not (action == "release" and outcome.claimed_by is None)


_asked_at: Final = attrgetter("requested_at", "event_id")


def newest_active(requests: Sequence[HelpRequest]) -> HelpRequest | None:
    """Return the newest request, by its time, that is open or claimed."""
    return max((request for request in requests if request.outcome.active), key=_asked_at, default=None)
