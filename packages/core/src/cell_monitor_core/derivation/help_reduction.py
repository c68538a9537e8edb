"""A student's requests for help, derived again from what is stored of them; see ``help`` for the rules."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import overload
from uuid import UUID

from cell_monitor_core.derivation.facts import Fact, milliseconds, rfc3339
from cell_monitor_core.derivation.help import (
    HelpAction,
    HelpFact,
    HelpRequest,
    derive_request,
    newest_active,
    turns_of_student,
)
from cell_monitor_core.derivation.notebook_names import NotebookAt, called
from cell_monitor_core.publications import ErrorRef, HelpRef, HelpState, NotebookRef

__all__ = [
    "HelpInput",
    "RequestText",
    "StoredRequest",
    "active_help",
    "expired_until",
    "help_ref",
    "help_state",
    "reduce_help",
    "renamed_requests",
]


@dataclass(frozen=True, slots=True)
class RequestText:
    """The texts of a request, which are stored encrypted: its message, and that of the error in its context."""

    message: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request with its version and texts."""

    version: int
    request: HelpRequest
    text: RequestText


@dataclass(slots=True)
class HelpInput:
    """What is stored of one student's requests in one course.

    Attributes:
        facts: all of the student's help events, the batch's included.
        stored: the requests that are active or are to be derived, by event id.
        runs: of each request to be derived the newest run before it that succeeded or failed, and its error's text.
        actions: what staff did about requests to be derived, by event id, in order.
        messages: of requests to be derived that are not stored yet, by event id.
    """

    facts: list[HelpFact] = field(default_factory=list)
    stored: dict[str, StoredRequest] = field(default_factory=dict)
    runs: dict[str, tuple[Fact, str | None]] = field(default_factory=dict)
    actions: dict[str, Sequence[HelpAction]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)


def reduce_help(
    student: tuple[str, UUID], given: HelpInput, concerned: set[str], first_version: int
) -> dict[str, StoredRequest]:
    """Derive requests of a student; return those that differ from what is stored, by event id.

    Args:
        student: (course id, person id).
        given: what is stored.
        concerned: event ids of the requests to derive; those whose request has not arrived are left out.
        first_version: version of a request that is not stored yet.
    """
    changed: dict[str, StoredRequest] = {}
    turns = turns_of_student(given.facts)
    for event_id in sorted(concerned & turns.keys()):
        run, error_text = given.runs.get(event_id, (None, None))
        request = derive_request(*student, turns[event_id], run, given.actions.get(event_id, ()))
        before = given.stored.get(event_id)
        if before is None:
            text = RequestText(given.messages.get(event_id), error_text)
            changed[event_id] = StoredRequest(first_version, request, text)
        elif before.request != request:
            same_run = before.request.context.run == request.context.run
            text = RequestText(before.text.message, before.text.error if same_run else error_text)
            changed[event_id] = StoredRequest(before.version + 1, request, text)
    return changed


def active_help(given: HelpInput, changed: Mapping[str, StoredRequest]) -> HelpRef | None:
    """Return what a student's row says of the newest active request, once changed requests are saved."""
    now = {**given.stored, **changed}
    request = newest_active([each.request for each in now.values()])
    return None if request is None else help_ref(request)


def expired_until(given: HelpInput) -> int:
    """Return when the newest action ``expire`` was, milliseconds since the epoch; 0 without one."""
    times = (action.at for actions in given.actions.values() for action in actions if action.action == "expire")
    return max(map(milliseconds, times), default=0)


def help_ref(request: HelpRequest) -> HelpRef:
    """Return what a student's row says of a request."""
    outcome = request.outcome
    return HelpRef(str(request.request_id), _time(request.requested_at), outcome.status, _id(outcome.claimed_by))


def renamed_requests(
    given: HelpInput, changed: Mapping[str, StoredRequest], notebooks: Container[str]
) -> dict[str, StoredRequest]:
    """Return the active requests that name one of the notebooks, with their next versions: they are published again.

    Which name that is, ``help_state`` decides. Requests that are closed are read and not published.
    """
    return {
        event_id: StoredRequest(stored.version + 1, stored.request, stored.text)
        for event_id, stored in given.stored.items()
        if event_id not in changed
        and stored.request.outcome.active
        and any(
            notebook is not None and notebook.id in notebooks
            for notebook in (stored.request.context.notebook, stored.request.context.error_notebook)
        )
    }


def help_state(stored: StoredRequest, names: Mapping[str, NotebookAt] | None) -> HelpState:
    """Return what is published of a request.

    Args:
        stored: the request.
        names: how its student's notebooks are called now.
    """

    def named(notebook: NotebookRef | None) -> NotebookRef | None:
        return None if notebook is None else called(names, notebook)

    request, outcome, context = stored.request, stored.request.outcome, stored.request.context
    closed_at = {
        "resolved": outcome.resolved_at,
        "cancelled": request.cancelled_at,
        "expired": outcome.expired_at,
    }.get(outcome.status)
    error = context.error
    return HelpState(
        request_id=str(request.request_id),
        version=stored.version,
        student_id=str(request.person_id),
        status=outcome.status,
        requested_at=_time(request.requested_at),
        received_at=_time(request.received_at),
        notebook=named(context.notebook),
        cell=context.cell,
        message=stored.text.message,
        error=None if error is None else ErrorRef(error.name, stored.text.error or ""),
        claimed_by=_id(outcome.claimed_by),
        claimed_at=_time(outcome.claimed_at),
        closed_at=_time(closed_at),
        resolved_by=_id(outcome.resolved_by),
        error_notebook=named(context.error_notebook),
        error_cell=context.error_cell,
    )


def _id(person_id: UUID | None) -> str | None:
    return None if person_id is None else str(person_id)


@overload
def _time(at: datetime) -> str: ...
@overload
def _time(at: None) -> None: ...
def _time(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(milliseconds(at))
