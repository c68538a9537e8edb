"""Codes for the reason why an event or a whole request was not accepted."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = ["FAILURE_REASONS", "REQUEST_STATUS", "FailureReason", "Reason", "RequestReason"]


class Reason(StrEnum):
    """Why one event was ``rejected`` (never send it again) or is to be sent again (``log_unavailable``)."""

    INVALID_EVENT = "invalid_event"
    """The event is not as its type's schema says."""
    EVENT_TOO_LARGE = "event_too_large"
    """Its JSON has more than 64 KiB."""
    UNSUPPORTED_SCHEMA_VERSION = "unsupported_schema_version"
    """Older than the two versions of the type that this server reads: update the extension."""
    INVALID_EVENT_ID = "invalid_event_id"
    """It is no UUID of version 7."""
    COURSE_FORBIDDEN = "course_forbidden"
    """The sender is not a member of the course that the event names."""
    COURSE_REQUIRED = "course_required"
    """The event names no course and the sender is a member of several."""
    NO_COURSE = "no_course"
    """The event names no course and the sender is a member of none."""
    LOG_UNAVAILABLE = "log_unavailable"
    """The queue did not take it: send it again later."""


class FailureReason(StrEnum):
    """Why the worker could not process a queued event, besides codes of ``Reason``; docs/operations/failed-events.md says what to do."""

    INVALID_ENTRY = "invalid_entry"
    """The entry of the stream cannot be read: it is damaged, or of a newer release. It may contain several events."""
    TOO_MANY_DELIVERIES = "too_many_deliveries"
    """The entry was delivered again and again without being finished: it may crash the worker, or the worker was killed as often."""
    DATA_ERROR = "data_error"
    """The store refuses the event's values."""
    STATE_UNREADABLE = "state_unreadable"
    """The derived state that the event changes cannot be read: run `cell-monitor rebuild`, then replay."""
    INTERNAL_ERROR = "internal_error"
    """A bug of this release; the worker's log has the details."""


FAILURE_REASONS: Final = (
    *FailureReason,
    Reason.INVALID_EVENT,
    Reason.INVALID_EVENT_ID,
    Reason.UNSUPPORTED_SCHEMA_VERSION,
    Reason.EVENT_TOO_LARGE,
)
"""All that a failed event may have as its reason."""


class RequestReason(StrEnum):
    """Why a whole ingest request could not be read."""

    INVALID_BODY = "invalid_body"
    """The body is not ``{"events": [...]}`` in JSON, UTF-8."""
    TOO_MANY_EVENTS = "too_many_events"
    """The list has more than 200 events."""
    BODY_TOO_LARGE = "body_too_large"
    """The body has more than 1 MiB, as sent or unpacked."""


REQUEST_STATUS = {
    RequestReason.INVALID_BODY: 400,
    RequestReason.TOO_MANY_EVENTS: 413,
    RequestReason.BODY_TOO_LARGE: 413,
}
"""The HTTP status that answers each."""
