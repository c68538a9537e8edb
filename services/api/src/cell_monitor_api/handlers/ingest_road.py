"""The fast road of ``POST /api/v1/events``: a plain ASGI callable in front of FastAPI.

FastAPI's routing, dependencies and response models cost several times what taking an event costs (docs/performance.md).
Here a request is read and admitted in as few steps as that takes, and what nearly every request is, good events of one
course, is queued and answered here, too. Whatever else it holds goes the plain way of ``services.ingest``.

The very same route exists in FastAPI (``handlers.events``): it is what OpenAPI shows, and the measure of this one: tests
send the same requests down both and compare the answers byte for byte.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from cell_monitor_api.context import ProcessContext
from cell_monitor_api.handlers.request_reading import (
    BODY_TIMEOUT_S,
    DRAINED_BYTES,
    bearer_token,
    check_encoding,
    check_length,
    check_media_type,
    split,
    too_large,
    too_slow,
    unpack,
    verify,
)
from cell_monitor_api.services.ingest import Ingest, log_unavailable
from cell_monitor_core.auth.roles import Permission
from cell_monitor_core.auth.tokens import Claims, TokenVerifier
from cell_monitor_core.channels import course_channel
from cell_monitor_core.events.codec import EventError, decode_event
from cell_monitor_core.events.limits import MAX_BODY_BYTES
from cell_monitor_core.events.registry import EVENTS_WITH_NOTICES
from cell_monitor_core.records import StreamRecord, deduplication_key, encode_record
from cell_monitor_core.storage.ports import AppendOutcome, LogUnavailable
from cell_monitor_core.telemetry.tracing import sample, span
from cell_monitor_core.web.errors import ClientRequestError, error_response

__all__ = ["PATH", "IngestRoad"]

_log = structlog.get_logger(__name__)

PATH: Final = "/api/v1/events"

_MAX_SENDERS: Final = 20_000

_encoder = msgspec.json.Encoder()
_JSON: Final = (b"content-type", b"application/json")
_NO_NOTICES: Final = b'],"notices":[]}'
_UNKNOWN_NOTICES: Final = b'],"notices":null}'
_LENGTHS: Final = [str(length).encode() for length in range(4096)]


class _Disconnected(Exception):  # noqa: N818 - not an error
    """The sender has gone; nobody waits for an answer."""


class _Sender:
    """What is the same in every request that comes with one token."""

    __slots__ = ("channels", "claims", "epoch", "only", "person")

    def __init__(self, claims: Claims, epoch: int) -> None:
        self.claims = claims
        self.epoch = epoch
        self.person = UUID(claims.sub).bytes
        self.channels: dict[str, str] = {course_id: course_channel(course_id) for course_id in claims.courses}
        self.only = next(iter(claims.courses)) if len(claims.courses) == 1 else None


class IngestRoad:
    """Answers ``POST /api/v1/events``; hands everything else to the application behind it.

    Args:
        app: the FastAPI application. Its lifespan puts the process's context into ``app.state.context``.
        behind: what everything else is handed to, if not the application itself.
    """

    def __init__(self, app: Any, *, behind: ASGIApp | None = None) -> None:
        self.app: ASGIApp = app
        self._behind: ASGIApp = behind or app
        self._state = app.state
        self._process: ProcessContext | None = None
        self._senders: dict[bytes, _Sender] = {}

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            if scope["type"] == "lifespan":
                self._process = None
            await self._behind(scope, receive, send)
            return
        process = self._process
        if process is None:
            process = self._process = self._state.context
        started = time.perf_counter()
        headers: list[tuple[bytes, bytes]]
        try:
            asked = dict(scope["headers"])
            authorization = asked.get(b"authorization")
            sender = self._senders.get(authorization or b"")
            if sender is None or not process.ingest_verifier.holds(sender.claims, sender.epoch):
                sender = self._sender(process.ingest_verifier, authorization)
            check_media_type(asked.get(b"content-type"))
            packed = check_encoding(asked.get(b"content-encoding"))
            check_length(asked.get(b"content-length"), asked.get(b"transfer-encoding"))
            message = await receive()
            content = await _whole(message, receive) if message.get("more_body") else _checked(message)
            # From here on it is our time; before, it was the sender's network's.
            started = time.perf_counter()
            body, retry_after = await _answer(process.ingest, sender, unpack(content) if packed else content, asked)
            length = len(body)
            headers = [_JSON, (b"content-length", _LENGTHS[length] if length < 4096 else str(length).encode())]
            if retry_after is not None:
                headers.append((b"retry-after", str(retry_after).encode()))
            status = 200
        except ClientRequestError as error:
            status, headers, body = error_response(error)
        except _Disconnected:
            return
        except Exception:  # noqa: BLE001 - logged, and answered as what it is
            # The application behind answers what nobody expected; here nothing stands behind us.
            _log.exception("ingest_failed")
            status, headers, body = error_response(None)
        process.ingest.metrics.request(status, time.perf_counter() - started)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _sender(self, verifier: TokenVerifier, authorization: bytes | None) -> _Sender:
        """Prove by the token who sends, and remember it."""
        token = bearer_token(None if authorization is None else authorization.decode("latin-1"))
        claims = verify(verifier, token, Permission.SEND_EVENTS)
        sender = _Sender(claims, verifier.epoch)
        if len(self._senders) >= _MAX_SENDERS:
            self._senders.clear()
        # Under its usual spelling only: others could be any number and any length.
        self._senders[b"Bearer " + token.encode("latin-1")] = sender
        return sender


async def _answer(
    ingest: Ingest, sender: _Sender, body: bytes, headers: dict[bytes, bytes]
) -> tuple[bytes, int | None]:
    """Return the body of the answer and ``Retry-After``."""
    events = split(body)
    ingest.admit(sender.person, len(events))
    parent = headers.get(b"traceparent")
    start = sample(None if parent is None else parent.decode("latin-1"))
    if start is None:
        return await _take(ingest, sender, events, None)
    with span("ingest", start, attributes={"events": len(events)}) as recorded:
        return await _take(ingest, sender, events, recorded.traceparent)


_Plain = tuple[str, list[str], list[tuple[bytes, bytes]], bool]
"""Good events of one course: its channel, their ids, what goes to the log of them, whether the sender wants notices."""


def _plain(sender: _Sender, events: list[msgspec.Raw], received_at: int, traceparent: str | None) -> _Plain | None:
    """Read a request's events; None unless all are good, of one course, and the sender is a member."""
    person = sender.person
    only = sender.only
    course_id = only
    event_ids: list[str] = []
    items: list[tuple[bytes, bytes]] = []
    wants_notices = False
    for raw in events:
        try:
            event = decode_event(raw)
        except EventError:
            return None
        hint = only if event.course is None else event.course
        if hint != course_id:
            if items:
                return None
            course_id = hint
        if course_id is None:
            return None
        if type(event) in EVENTS_WITH_NOTICES:
            wants_notices = True
        event_id = event.event_id
        event_ids.append(event_id)
        record = StreamRecord(person, course_id, received_at, bytes(raw), None, traceparent)
        items.append((deduplication_key(person, event_id), encode_record(record)))
    channel = None if course_id is None else sender.channels.get(course_id)
    if channel is None or not items:
        return None
    return channel, event_ids, items, wants_notices


async def _take(
    ingest: Ingest, sender: _Sender, events: list[msgspec.Raw], traceparent: str | None
) -> tuple[bytes, int | None]:
    """Queue events; return the body of the answer and ``Retry-After``.

    Raises:
        LogUnavailableError: nothing could be queued.
    """
    plain = _plain(sender, events, int(time.time() * 1000), traceparent)
    if plain is None:
        answer, retry_after = await ingest.queue(sender.claims, events, traceparent=traceparent)
        return _encoder.encode(answer), retry_after
    channel, event_ids, items, wants_notices = plain
    started = time.perf_counter()
    try:
        statuses = await ingest.producer.append(channel, items)
    except LogUnavailable as error:
        ingest.metrics.log_unavailable(len(items))
        raise log_unavailable(error.retry_after) from None
    ingest.metrics.appended(statuses, time.perf_counter() - started)
    tail = _NO_NOTICES
    if wants_notices:
        notices = await ingest.notices.of(UUID(bytes=sender.person))
        if notices is None:
            tail = _UNKNOWN_NOTICES
        elif notices:
            tail = b'],"notices":' + _encoder.encode(notices) + b"}"
    return b'{"results":[' + _results(event_ids, statuses) + tail, None


def _results(event_ids: list[str], statuses: list[str]) -> bytes:
    """Return the answers of queued events. Ids are UUIDs here: nothing in them needs escaping."""
    if statuses.count(AppendOutcome.ACCEPTED) == len(event_ids):
        return (
            b'{"event_id":"%b","status":"accepted"}' % '","status":"accepted"},{"event_id":"'.join(event_ids).encode()
        )
    return b",".join(
        [
            f'{{"event_id":"{event_id}","status":"{status}"}}'.encode()
            for event_id, status in zip(event_ids, statuses, strict=True)
        ]
    )


def _checked(message: Any) -> bytes:
    """Return a body that came at once."""
    if message["type"] == "http.disconnect":
        raise _Disconnected
    body: bytes = message.get("body", b"")
    if len(body) > MAX_BODY_BYTES:
        raise too_large(close=len(body) > DRAINED_BYTES)
    return body


async def _whole(message: Any, receive: Receive) -> bytes:
    """Return a body of which the first message holds a part."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _rest(message.get("body", b""), receive)
    except TimeoutError:
        raise too_slow() from None


async def _rest(body: bytes, receive: Receive) -> bytes:
    """Read what follows the first part of a body."""
    parts = [body]
    size = len(body)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size > DRAINED_BYTES:
            raise too_large(close=True)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        more = message.get("more_body", False)
    if size > MAX_BODY_BYTES:
        raise too_large()
    return b"".join(parts)
