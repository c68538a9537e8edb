"""The body that the front end sends: read strictly, bounded, and taken apart without being changed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_COURSE_CHARS",
    "MAX_EVENTS",
    "MAX_EVENT_BYTES",
    "MAX_ID_CHARS",
    "TEST_ID",
    "TRACEPARENT",
    "Batch",
    "BodyError",
    "batch_body",
    "course_of",
    "event_id_of",
    "event_json",
    "notebook_id_of",
    "read_batch",
    "sampled",
]

MAX_BODY_BYTES = 1024 * 1024
MAX_EVENTS = 200
MAX_EVENT_BYTES = 64 * 1024
MAX_COURSE_CHARS = 63
MAX_ID_CHARS = 128
"""Characters of the id of a notebook or a cell."""

# The monitor's own pattern: a name that it refuses must not get as far as the spool.
TEST_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class BodyError(ValueError):
    """The body is not one that the ingest takes.

    Args:
        status: the HTTP status to answer with.
        error: the error's stable name.
        msg: what is wrong, for a person.
    """

    def __init__(self, status: int, error: str, msg: str) -> None:
        super().__init__(msg)
        self.status = status
        self.error = error
        self.msg = msg


@dataclass(frozen=True, slots=True)
class Batch:
    """A request body and the events in it.

    Attributes:
        body: what the monitor takes: the bytes as they came, without a `test_id` and `runs`.
        events: one JSON value per event, not validated further: that is the monitor's business.
        test_id: the run in the monitor's test mode that the events belong to; None for real ones.
        runs: what the page hands over to this server, not validated either: it is no part of `body`.
        sent_at: what the request says of when it was sent, not validated either; likewise `waited_ms`.
    """

    body: bytes
    events: list[Any]
    test_id: str | None = None
    sent_at: Any = None
    waited_ms: Any = None
    runs: Any = None

    @property
    def with_times(self) -> bool:
        """Whether the body has what a monitor of an older release refuses."""
        return self.sent_at is not None or self.waited_ms is not None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def read_batch(body: bytes) -> Batch:
    """Reads a request body.

    Raises:
        BodyError: it is too large, is no JSON, has no list of events or too many of them, or a test's name is none.
    """
    if len(body) > MAX_BODY_BYTES:
        raise BodyError(413, "body_too_large", f"The body has more than {MAX_BODY_BYTES} bytes.")
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise BodyError(400, "invalid_body", "The body is not JSON in UTF-8.") from None
    events = value.get("events") if isinstance(value, dict) else None
    if not isinstance(events, list):
        raise BodyError(400, "invalid_body", 'The body must be an object with a list "events".')
    if len(events) > MAX_EVENTS:
        raise BodyError(413, "too_many_events", f"A request may hold at most {MAX_EVENTS} events.")
    times = {"sent_at": value.get("sent_at"), "waited_ms": value.get("waited_ms")}
    if "test_id" not in value and "runs" not in value:
        return Batch(body, events, **times)
    # The monitor reads the name in the address, and takes nothing but events and their waits in the body.
    test_id, runs = value.pop("test_id", None), value.pop("runs", None)
    if test_id is not None and not (isinstance(test_id, str) and TEST_ID.fullmatch(test_id)):
        raise BodyError(400, "invalid_body", f'"test_id" must be a text like {TEST_ID.pattern}.')
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    # Halves of surrogate pairs cannot be encoded: they go on as the escapes that they came as.
    return Batch(text.encode("utf-8", "backslashreplace"), events, test_id, runs=runs, **times)


def event_json(event: Any) -> bytes:
    """One event as compact JSON in UTF-8; lone surrogates stay escaped as they came."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def batch_body(events: list[bytes], waited_ms: list[int] | None = None) -> bytes:
    """A request body of events that are JSON already, with how long each waited where that is given."""
    times = b"" if waited_ms is None else b'"waited_ms":[%s],' % ",".join(map(str, waited_ms)).encode("ascii")
    return b"{" + times + b'"events":[' + b",".join(events) + b"]}"


def event_id_of(event: Any) -> str | None:
    """The event's id, or None where none can be read."""
    event_id = event.get("event_id") if isinstance(event, dict) else None
    return event_id if isinstance(event_id, str) else None


def course_of(event: Any) -> str | None:
    """The course that an event names, or None where it names none that can be one."""
    course = event.get("course") if isinstance(event, dict) else None
    return course if isinstance(course, str) and len(course) <= MAX_COURSE_CHARS else None


def notebook_id_of(event: Any) -> str | None:
    """The id of the notebook that an event names, or None where it names none that can be one."""
    notebook = event.get("notebook") if isinstance(event, dict) else None
    found = notebook.get("id") if isinstance(notebook, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= MAX_ID_CHARS else None


def sampled(traceparent: str | None) -> str | None:
    """The W3C trace context, if it is one and of a request that is traced."""
    if traceparent is None or not TRACEPARENT.fullmatch(traceparent) or not int(traceparent[-2:], 16) & 1:
        return None
    return traceparent
