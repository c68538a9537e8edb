"""Bodies of the routes of failed events."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from cell_monitor_core.channels import COURSE_ID_PATTERN

__all__ = [
    "REASON_PATTERN",
    "ConsumerGroup",
    "FailedEventAnswer",
    "FailedEventPage",
    "FailedId",
    "Replay",
    "ReplayAnswer",
    "WaitingEvents",
    "WaitingGroupAnswer",
]

REASON_PATTERN: Final = r"^[a-z][a-z0-9_]{0,63}$"
ConsumerGroup: TypeAlias = Literal["postgres", "influxdb"]
FailedId: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]


class Replay(BaseModel):
    """Which failed events to queue again; nothing set: all that wait.

    A replay of many takes several requests: ``after`` and ``newest`` of an answer go into the next one, until nothing remains.
    """

    model_config = ConfigDict(extra="forbid")

    group: ConsumerGroup | None = None
    course_id: Annotated[str, Field(pattern=COURSE_ID_PATTERN, max_length=63)] | None = None
    without_course: bool = Field(False, description="Only those whose course could not be read.")
    reason: Annotated[str, Field(pattern=REASON_PATTERN)] | None = None
    after: FailedId | None = Field(None, description="Of the answer before; together with `newest`.")
    newest: FailedId | None = Field(None, description="Of the answer before; together with `after`.")


class ReplayAnswer(msgspec.Struct, frozen=True):
    """What one request of a replay did.

    ``queued`` failed records are queued again, with ``events`` events in them; ``unreadable`` can be decrypted or decoded by nobody
    here, and stay. ``remaining`` are still to be tried: send ``after`` and ``newest`` with the next request.
    """

    queued: int
    events: int
    unreadable: int
    remaining: int
    after: int
    newest: int


class FailedEventAnswer(msgspec.Struct, frozen=True):
    """A record that the worker could not process, without what is in it.

    ``group`` is the worker's consumer group in which it failed. ``course_id``, ``event_id``, ``person_id`` and ``username`` (of the
    sender) are null where they could not be read, ``username`` also where the sender was erased.
    """

    failed_id: int
    group: str
    course_id: str | None
    event_id: str | None
    person_id: str | None
    username: str | None
    reason: str
    detail: str
    failed_at: str
    replayed_at: str | None


class FailedEventPage(msgspec.Struct, frozen=True):
    """Failed events, newest first; ``next_before`` asks for the page after this one."""

    failed_events: list[FailedEventAnswer]
    next_before: int | None


class WaitingGroupAnswer(msgspec.Struct, frozen=True):
    """How many failed events of one reason and course wait; ``course_id`` is null where the course could not be read."""

    reason: str
    course_id: str | None
    count: int
    oldest: str
    newest: str


class WaitingEvents(msgspec.Struct, frozen=True):
    """How many failed events wait to be replayed, each counted once, and the largest groups of them."""

    total: int
    groups: list[WaitingGroupAnswer]
