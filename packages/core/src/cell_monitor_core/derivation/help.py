"""What became of a help request: a function of the request, its cancellation and what staff did about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from cell_monitor_core.publications import HelpStatus

__all__ = ["HelpAction", "HelpActionKind", "HelpOutcome", "help_outcome"]

HelpActionKind: TypeAlias = Literal["claim", "release", "resolve"]


@dataclass(frozen=True, slots=True)
class HelpAction:
    """What one of the staff did, and when by the database's clock."""

    action: HelpActionKind
    person_id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class HelpOutcome:
    """Where a request stands."""

    status: HelpStatus
    claimed_by: UUID | None = None
    claimed_at: datetime | None = None
    resolved_by: UUID | None = None
    resolved_at: datetime | None = None

    @property
    def active(self) -> bool:
        """Whether somebody still waits."""
        return self.status in {"open", "claimed"}


def help_outcome(cancelled_at: datetime | None, actions: Iterable[HelpAction]) -> HelpOutcome:
    """Play the actions, in their order, on an open request.

    Actions are checked when they are taken; one that no longer fits (a claim of a claimed request) changes nothing.
    A resolution stands even if the student's cancellation, made before or after it, arrives later: help was given.
    """
    claimed_by: UUID | None = None
    claimed_at: datetime | None = None
    for action in actions:
        if action.action == "resolve":
            return HelpOutcome("resolved", claimed_by, claimed_at, action.person_id, action.at)
        if action.action == "release":
            claimed_by = claimed_at = None
        elif claimed_by is None:
            claimed_by, claimed_at = action.person_id, action.at
    if cancelled_at is not None:
        return HelpOutcome("cancelled", claimed_by, claimed_at)
    return HelpOutcome("claimed" if claimed_by is not None else "open", claimed_by, claimed_at)
