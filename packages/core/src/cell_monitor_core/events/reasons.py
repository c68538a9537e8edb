"""Codes for the reason why an event or a whole request was not accepted."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["REQUEST_STATUS", "Reason", "RequestReason"]


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
