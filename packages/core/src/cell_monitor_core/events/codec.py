"""Reading of ingest requests and events: strict, fast, and never raising anything but its own errors.

The bytes of each event are kept as its sender wrote them, so that fields that this version does not know survive;
the types only prove that what it does know is right. What becomes of types and versions that it does not know:
docs/adr/0014.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from cell_monitor_core.events.limits import MAX_BODY_BYTES, MAX_EVENT_BYTES, MAX_EVENTS
from cell_monitor_core.events.reasons import REQUEST_STATUS, Reason, RequestReason
from cell_monitor_core.events.traits import EventType
from cell_monitor_core.events.types import (
    EVENT_TYPES,
    CellExecuted,
    CellExecutionStarted,
    Event,
    HelpCancelled,
    OpaqueEvent,
)
from cell_monitor_core.events.waits import NO_WAITS, Waits

__all__ = ["EventError", "EventReader", "IngestRequest", "RequestError", "decode_event", "decode_request"]

_MAX_ECHOED_ID: Final = 64


class RequestError(ValueError):
    """A whole request that cannot be read. ``status_code`` is the HTTP status that answers it."""

    def __init__(self, reason: RequestReason, msg: str) -> None:
        super().__init__(msg)
        self.reason = reason
        self.msg = msg
        self.status_code = REQUEST_STATUS[reason]


class EventError(ValueError):
    """One event that cannot be taken.

    Attributes:
        reason: code for the sender.
        msg: what is wrong, without the value.
        loc: where in the event, such as ``("data", "outputs", 3, "text")``.
        event_id: as sent, where it could be read.
    """

    def __init__(
        self, reason: Reason, msg: str, loc: tuple[str | int, ...] = (), *, event_id: str | None = None
    ) -> None:
        super().__init__(msg)
        self.reason = reason
        self.msg = msg
        self.loc = loc
        self.event_id = event_id


class IngestRequest(NamedTuple):
    """A request's events, each as its sender wrote it, and what the request says of how long they waited."""

    events: list[msgspec.Raw]
    waits: Waits = NO_WAITS


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]
    sent_at: str | None = None
    waited_ms: list[int] | None = None


class _Head(msgspec.Struct):
    """What decides how an event is read, or which reason its refusal has; the values may be of any JSON type."""

    event_id: Any = None
    type: Any = None
    schema_version: Any = None


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_waited = msgspec.json.Decoder(list[int]).decode
_decode_request = msgspec.json.Decoder(_Request).decode
_decode_opaque = msgspec.json.Decoder(OpaqueEvent).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_FAULTS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# As serializers write the keys: in this order, the times before the events that they are of.
_PREFIX: Final = re.compile(
    rb"[ \t\r\n]*\{[ \t\r\n]*"
    rb'(?:"sent_at"[ \t\r\n]*:[ \t\r\n]*"([0-9TZ:.+-]{0,64})"[ \t\r\n]*,[ \t\r\n]*)?'
    rb'(?:"waited_ms"[ \t\r\n]*:[ \t\r\n]*(\[[0-9, ]{0,4000}\])[ \t\r\n]*,[ \t\r\n]*)?'
    rb'"events"[ \t\r\n]*:'
)
_SUFFIX: Final = re.compile(rb"\}[ \t\r\n]*\Z")
# One escape: a whole surrogate pair, half of one, or any other. Matching all keeps "\\\\ud800" from being misread.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def _classes(**characters: str) -> bytes:
    """Return a table for ``bytes.translate`` that maps characters to their class's letter and all others to ``?``."""
    table = bytearray(b"?" * 256)
    for letter, members in characters.items():
        for member in members.encode():
            table[member] = ord(letter)
    return bytes(table)


# A text's shape is compared at once: several times faster than a regular expression.
_HEX: Final = _classes(h="0123456789abcdef", **{"-": "-"})
_UUID_SHAPE: Final = b"hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh"
_TWO_UUIDS: Final = _UUID_SHAPE * 2
_DIGITS: Final = _classes(d="0123456789", T="T", Z="Z", **{"-": "-", ":": ":", ".": "."})
_TIME_SHAPES: Final = frozenset(
    {
        b"dddd-dd-ddTdd:dd:ddZ",
        *(b"dddd-dd-ddTdd:dd:dd." + b"d" * digits + b"Z" for digits in range(1, 10)),
    }
)
_from_iso: Final = datetime.fromisoformat
_NO_UUID: Final = "a UUID in lower case with hyphens is needed"
_NO_EVENT_ID: Final = "an event id is a UUID of version 7, lower case with hyphens"
_NO_TIME: Final = "a time in UTC such as 2026-04-01T09:00:00.123Z is needed"
_TYPE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


def decode_request(body: bytes) -> IngestRequest:
    """Split an ingest request's body into its events' JSON, each still to be read by ``decode_event``.

    Halves of surrogate pairs, which JavaScript leaves where it cuts a text, become U+FFFD.

    Raises:
        RequestError: the body is no request; the message says what it should be.
    """
    if len(body) > MAX_BODY_BYTES:
        raise RequestError(RequestReason.BODY_TOO_LARGE, f"the body has more than {MAX_BODY_BYTES} bytes")
    try:
        # Nearly always: as serializers write it. The slice is a list only if nothing but the list is in the body.
        if body.startswith(b'{"events":[') and body.endswith(b"]}") and body.isascii():
            request = IngestRequest(_decode_list(memoryview(body)[10:-1]))
        else:
            request = _split(body)
    except _FAULTS:
        request = _split_carefully(body)
    events, waits = request
    if len(events) > MAX_EVENTS:
        raise RequestError(
            RequestReason.TOO_MANY_EVENTS, f"{len(events)} events in one request, at most {MAX_EVENTS} are taken"
        )
    if waits.waited_ms is not None and len(waits.waited_ms) != len(events):
        raise RequestError(
            RequestReason.INVALID_BODY, 'the list "waited_ms" needs one number of milliseconds for each event'
        )
    return request


def _split(body: bytes) -> IngestRequest:
    """Read the times and the list alone: another key, or anything else around them, makes it no list.

    Raises:
        DecodeError, UnicodeDecodeError, RecursionError: it is none.
    """
    start = _PREFIX.match(body)
    end = body.rfind(b"}")
    if start is None or not _SUFFIX.match(body, end):
        return _split_carefully(body)
    # Skipped strings are not checked by the decoder, but what is stored must be UTF-8.
    if not body.isascii():
        body.decode()
    sent_at, waited_ms = start.groups()
    return IngestRequest(
        _decode_list(memoryview(body)[start.end() : end]),
        Waits.of(
            None if sent_at is None else sent_at.decode(), None if waited_ms is None else _decode_waited(waited_ms)
        ),
    )


def _split_carefully(body: bytes) -> IngestRequest:
    """Find out what is wrong, or read what is right but unusual."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise RequestError(RequestReason.INVALID_BODY, f"the body is not UTF-8 at byte {error.start}") from None
    body = _ESCAPE.sub(_repair_escape, body)
    try:
        request = _decode_request(body)
        keys = _top_level_keys(body)
    except RecursionError:
        raise RequestError(RequestReason.INVALID_BODY, "the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise RequestError(RequestReason.INVALID_BODY, f'the body must be {{"events": [...]}}: {error}') from None
    twice = sorted(key for key in set(keys) if keys.count(key) > 1)
    if twice:
        raise RequestError(RequestReason.INVALID_BODY, f'the body has the key "{twice[0]}" more than once')
    return IngestRequest(request.events, Waits.of(request.sent_at, request.waited_ms))


def _repair_escape(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match.group(1) else match.group()


def _top_level_keys(body: bytes) -> list[str]:
    # The hook is called for inner objects first, for the body last.
    keys: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        keys[:] = [key for key, _ in pairs]

    json.loads(body, object_pairs_hook=note)
    return keys


class EventReader:
    """Reads events of the types and versions that one release knows, and keeps the others as opaque events.

    A type is read in its newest version N and in N-1. A newer version, or a type of another name, comes from a newer
    release of the extension than this server's: only what all events share is read of it, and the rest is left for the
    release that knows it. An older version is refused.

    Args:
        union: the union of the structs of all types, such as ``types.Event``.
        event_types: the same types by name.
    """

    def __init__(self, union: Any, event_types: Mapping[str, EventType]) -> None:
        self._decode: Callable[[msgspec.Raw | bytes], Event] = msgspec.json.Decoder(union).decode
        self._types = event_types

    def read(self, raw: msgspec.Raw | bytes) -> Event | OpaqueEvent:
        """Read one event.

        Neither the time inside its id nor ``occurred_at`` is judged: a clock that is wrong is no reason to lose what a
        student did.

        Args:
            raw: its JSON, as ``decode_request`` returns it.

        Raises:
            EventError: the event cannot be taken.
        """
        if len(raw) > MAX_EVENT_BYTES:
            raise EventError(
                Reason.EVENT_TOO_LARGE, f"the event has more than {MAX_EVENT_BYTES} bytes", event_id=_readable_id(raw)
            )
        event: Event | OpaqueEvent
        try:
            event = self._decode(raw)
        except _FAULTS as error:
            event = self._opaque(raw, error)
        event_id = event.event_id
        # Both ids at once, then each alone where something is wrong.
        if (
            (event_id + event.session_id).encode().translate(_HEX) != _TWO_UUIDS
            or event_id[14] != "7"
            or event_id[19] not in "89ab"
        ):
            if not _is_event_id(event_id):
                raise EventError(Reason.INVALID_EVENT_ID, _NO_EVENT_ID, ("event_id",), event_id=event_id)
            raise _invalid(event, _NO_UUID, "session_id")
        if not _is_time(event.occurred_at):
            raise _invalid(event, _NO_TIME, "occurred_at")
        check = _CHECKS.get(type(event))
        if check is not None:
            check(event)
        return event

    def _opaque(self, raw: msgspec.Raw | bytes, error: Exception) -> OpaqueEvent:
        """Read what all events share, of an event that ``error`` kept from being read whole.

        Raises:
            EventError: it is an event of this release and wrong, too old a version of one, or no event at all.
        """
        if isinstance(error, RecursionError):
            raise EventError(Reason.INVALID_EVENT, "the event is nested too deeply") from None
        head = _read_head(raw)
        event_id = _echo(head.event_id)
        name, version = head.type, head.schema_version
        known = self._types.get(name) if isinstance(name, str) else None
        if isinstance(version, int) and not isinstance(version, bool) and version >= 1:
            if known is not None and version < known.version - 1:
                raise EventError(
                    Reason.UNSUPPORTED_SCHEMA_VERSION,
                    f"of {known.name} the versions {known.version - 1} and {known.version} are read here",
                    ("schema_version",),
                    event_id=event_id,
                )
            if known is None or version > known.version:
                try:
                    opaque: OpaqueEvent = _decode_opaque(raw)
                except _FAULTS as fault:
                    raise _explain(head, fault) from None
                if _TYPE_NAME.fullmatch(opaque.type) is None:
                    msg = "a type is a lower-case letter and up to 63 more letters, digits or underscores"
                    raise EventError(Reason.INVALID_EVENT, msg, ("type",), event_id=event_id)
                return opaque
        raise _explain(head, error) from None


decode_event: Final = EventReader(Event, EVENT_TYPES).read
"""Read one event of the types and versions of this release; see ``EventReader.read``."""


def _is_uuid(text: str) -> bool:
    return text.encode().translate(_HEX) == _UUID_SHAPE


def _is_event_id(text: str) -> bool:
    return text[14] == "7" and text[19] in "89ab" and _is_uuid(text)


def _is_time(text: str) -> bool:
    """Return whether a text is a time of the contract; ``fromisoformat`` alone takes much more."""
    if text.encode().translate(_DIGITS) not in _TIME_SHAPES:
        return False
    try:
        _from_iso(text)
    except ValueError:
        return False
    return True


def _invalid(event: Event | OpaqueEvent, msg: str, *loc: str) -> EventError:
    return EventError(Reason.INVALID_EVENT, msg, loc, event_id=event.event_id)


def _check_started(event: CellExecutionStarted) -> None:
    if not _is_uuid(event.data.execution_id):
        raise _invalid(event, _NO_UUID, "data", "execution_id")


def _check_executed(event: CellExecuted) -> None:
    data = event.data
    if not _is_uuid(data.execution_id):
        raise _invalid(event, _NO_UUID, "data", "execution_id")
    if data.status == "error" and data.error is None:
        raise _invalid(event, "a run with status error needs its error", "data", "error")
    if data.started_at is not None and not _is_time(data.started_at):
        raise _invalid(event, _NO_TIME, "data", "started_at")


def _check_cancelled(event: HelpCancelled) -> None:
    if not _is_event_id(event.data.request_id):
        raise _invalid(event, _NO_EVENT_ID, "data", "request_id")


_CHECKS: Final[dict[type, Callable[[Any], None]]] = {
    CellExecutionStarted: _check_started,
    CellExecuted: _check_executed,
    HelpCancelled: _check_cancelled,
}


def _read_head(raw: msgspec.Raw | bytes) -> _Head:
    try:
        return _decode_head(raw)
    except _FAULTS:
        return _Head()


def _readable_id(raw: msgspec.Raw | bytes) -> str | None:
    return _echo(_read_head(raw).event_id)


def _echo(event_id: object) -> str | None:
    return event_id if isinstance(event_id, str) and len(event_id) <= _MAX_ECHOED_ID else None


def _explain(head: _Head, error: Exception) -> EventError:
    """Return a decoder's fault with the reason that fits best."""
    event_id = _echo(head.event_id)
    if head.event_id is not None and (
        event_id is None or len(event_id) != len(_UUID_SHAPE) or not _is_event_id(event_id)
    ):
        return EventError(Reason.INVALID_EVENT_ID, _NO_EVENT_ID, ("event_id",), event_id=event_id)
    msg, _, path = str(error).partition(" - at `$")
    return EventError(Reason.INVALID_EVENT, msg, _parse_path(path), event_id=event_id)


def _parse_path(path: str) -> tuple[str | int, ...]:
    """Turn ``.data.outputs[3].text``` or ``.data.outputs[...]``` into a location."""
    parts = re.findall(r"\.(\w+)|\[(\d+)\]", path)
    return tuple(name or int(index) for name, index in parts)
