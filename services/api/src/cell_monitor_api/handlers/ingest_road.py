"""The fast road of ``POST /api/v1/events``: a plain ASGI callable in front of FastAPI.

FastAPI's routing, dependencies and response models cost several times what taking an event costs (docs/performance.md).
Here a request is read, judged and answered in as few steps as that takes. The very same route exists in FastAPI
(``handlers.events``): it is what OpenAPI shows, and the measure of this one: tests send the same requests down both and
compare the answers byte for byte.
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
from cell_monitor_api.services.ingest import (
    NOTICE_EVENTS,
    check_rate,
    log_unavailable,
    refuse_if_all_foreign,
)
from cell_monitor_core.auth.scopes import Scope
from cell_monitor_core.auth.tokens import Claims
from cell_monitor_core.channels import course_channel
from cell_monitor_core.events.codec import EventError, decode_event
from cell_monitor_core.events.ids import event_id_bytes
from cell_monitor_core.events.limits import MAX_BODY_BYTES
from cell_monitor_core.events.reasons import Reason
from cell_monitor_core.records import StreamRecord, encode_record
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
_LENGTHS: Final = [str(length).encode() for length in range(4096)]


class _Disconnected(Exception):  # noqa: N818 - not an error
    """The sender has gone; nobody waits for an answer."""


class _Sender:
    """What is the same in every request that comes with one token."""

    __slots__ = ("channels", "claims", "only", "person")

    def __init__(self, claims: Claims) -> None:
        self.claims = claims
        self.person = UUID(claims.sub).bytes
        self.channels: dict[str | None, str] = {course_id: course_channel(course_id) for course_id in claims.courses}
        self.only = next(iter(claims.courses)) if len(claims.courses) == 1 else None


class IngestRoad:
    """Answers ``POST /api/v1/events``; hands everything else to the application behind it.

    Args:
        app: the FastAPI application. Its lifespan puts the process's context into ``app.state.context``.
    """

    def __init__(self, app: Any) -> None:
        self.app: ASGIApp = app
        self._state = app.state
        self._senders: dict[str, _Sender] = {}

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope."""
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST":
            await self._serve(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _serve(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        process: ProcessContext = self._state.context
        metrics = process.ingest.metrics
        started = time.perf_counter()
        headers: list[tuple[bytes, bytes]]
        try:
            body, retry_after = await self._answer(process, dict(scope["headers"]), receive)
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
        metrics.request(status, time.perf_counter() - started)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(
        self, process: ProcessContext, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[bytes, int | None]:
        """Return the body of the answer and ``Retry-After``."""
        sender = self._sender(process, headers.get(b"authorization"))
        body = await self._body(headers, receive)
        events = split(body)
        count = len(events)
        ingest = process.ingest
        wait_s = ingest.buckets.take(sender.person, count)
        if wait_s:
            check_rate(wait_s)
        ingest.metrics.received(count)
        parent = headers.get(b"traceparent")
        start = sample(None if parent is None else parent.decode("latin-1"))
        if start is None:
            return await self._take(process, sender, events, None)
        with span("ingest", start, attributes={"events": count}) as recorded:
            return await self._take(process, sender, events, recorded.traceparent)

    def _sender(self, process: ProcessContext, authorization: bytes | None) -> _Sender:
        if authorization is not None and authorization[:7] == b"Bearer ":
            token = authorization[7:].strip(b" \t").decode("latin-1")
        else:
            token = ""
        if not token:
            token = bearer_token(None if authorization is None else authorization.decode("latin-1"))
        claims = verify(process.ingest_verifier, token, Scope.EVENTS_WRITE)
        sender = self._senders.get(token)
        # The verifier keeps the claims of a token while they hold, so the same object means the same claims.
        if sender is None or sender.claims is not claims:
            if len(self._senders) >= _MAX_SENDERS:
                self._senders.clear()
            self._senders[token] = sender = _Sender(claims)
        return sender

    @staticmethod
    async def _body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
        check_media_type(headers.get(b"content-type"))
        packed = check_encoding(headers.get(b"content-encoding"))
        check_length(headers.get(b"content-length"), headers.get(b"transfer-encoding"))
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    body = await _rest(body, receive)
            except TimeoutError:
                raise too_slow() from None
        elif len(body) > MAX_BODY_BYTES:
            raise too_large(close=len(body) > DRAINED_BYTES)
        return unpack(body) if packed else body

    @staticmethod
    async def _take(
        process: ProcessContext, sender: _Sender, events: list[msgspec.Raw], traceparent: str | None
    ) -> tuple[bytes, int | None]:
        ingest = process.ingest
        received_at = int(time.time() * 1000)
        person = sender.person
        channels = sender.channels
        only = sender.only
        wants_notices = not events
        refused: list[tuple[int, bytes]] = []
        refusals: list[str] = []
        queued: dict[str, _Queued] = {}
        channel: str | None = None
        group = _Queued()
        for position, raw in enumerate(events):
            try:
                event = decode_event(raw, now_ms=received_at)
            except EventError as error:
                refusals.append(error.reason)
                refused.append((position, _refused(error.event_id, error.reason)))
                continue
            if type(event) in NOTICE_EVENTS:
                wants_notices = True
            course_id = only if event.course is None else event.course
            wanted = channels.get(course_id)
            if wanted is None or course_id is None:
                reason = Reason.COURSE_REQUIRED if event.course is None else Reason.COURSE_FORBIDDEN
                refusals.append(reason)
                refused.append((position, _refused(event.event_id, reason)))
                continue
            if wanted is not channel:
                channel = wanted
                group = queued.setdefault(channel, _Queued())
            event_id = event.event_id
            record = StreamRecord(person, course_id, received_at, bytes(raw), None, traceparent)
            group.positions.append(position)
            group.event_ids.append(event_id)
            group.items.append((event_id_bytes(event_id), encode_record(record)))
        if refusals:
            ingest.metrics.rejected(refusals)
            refuse_if_all_foreign(refusals, len(events))
        retry_after = None
        if channel is not None and not refused and len(queued) == 1:
            # Nearly always: all events are good and of one course, so the answers need no sorting.
            statuses = await _append(process, channel, group.items)
            results = _results(group.event_ids, statuses)
        else:
            pieces = [b""] * len(events)
            for position, piece in refused:
                pieces[position] = piece
            if queued:
                retry_after = await _append_all(process, queued, pieces)
            results = b",".join(pieces)
        tail = _NO_NOTICES
        if wants_notices:
            notices = await ingest.notices.of(UUID(bytes=person))
            if notices:
                tail = b'],"notices":' + _encoder.encode(notices) + b"}"
        return b'{"results":[' + results + tail, retry_after


class _Queued:
    """Events of one course: their places in the request, their ids, what goes to the log of them."""

    __slots__ = ("event_ids", "items", "positions")

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.event_ids: list[str] = []
        self.items: list[tuple[bytes, bytes]] = []


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


def _refused(event_id: str | None, reason: str) -> bytes:
    return b'{"event_id":%b,"status":"rejected","reason":"%b"}' % (_encoder.encode(event_id), reason.encode())


def _results(event_ids: list[str], statuses: list[str]) -> bytes:
    """Return the answers of queued events. Ids are UUIDs here: nothing in them needs escaping."""
    if statuses.count(AppendOutcome.ACCEPTED) == len(event_ids):
        return (
            b'{"event_id":"%b","status":"accepted"}' % '","status":"accepted"},{"event_id":"'.join(event_ids).encode()
        )
    return b",".join([_result(event_id, status) for event_id, status in zip(event_ids, statuses, strict=True)])


def _result(event_id: str, status: str) -> bytes:
    return f'{{"event_id":"{event_id}","status":"{status}"}}'.encode()


async def _append(process: ProcessContext, channel: str, items: list[tuple[bytes, bytes]]) -> list[str]:
    """Queue the events of one course.

    Raises:
        LogUnavailableError: the log takes none.
    """
    metrics = process.ingest.metrics
    started = time.perf_counter()
    try:
        statuses = await process.ingest.log.append(channel, items)
    except LogUnavailable as error:
        metrics.log_unavailable(len(items))
        raise log_unavailable(error.retry_after) from None
    metrics.appended(statuses, time.perf_counter() - started)
    return statuses


async def _append_all(process: ProcessContext, queued: dict[str, _Queued], pieces: list[bytes]) -> int | None:
    """Queue events of several courses, each by itself; return ``Retry-After`` where any of them failed."""
    metrics = process.ingest.metrics
    started = time.perf_counter()
    outcomes = await asyncio.gather(
        *(process.ingest.log.append(channel, group.items) for channel, group in queued.items()), return_exceptions=True
    )
    elapsed = time.perf_counter() - started
    failures = [outcome for outcome in outcomes if isinstance(outcome, LogUnavailable)]
    for group, outcome in zip(queued.values(), outcomes, strict=True):
        if isinstance(outcome, LogUnavailable):
            metrics.log_unavailable(len(group.items))
            for position, event_id in zip(group.positions, group.event_ids, strict=True):
                pieces[position] = (
                    f'{{"event_id":"{event_id}","status":"retry","reason":"{Reason.LOG_UNAVAILABLE}"}}'.encode()
                )
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            metrics.appended(outcome, elapsed)
            for position, event_id, status in zip(group.positions, group.event_ids, outcome, strict=True):
                pieces[position] = _result(event_id, status)
    if not failures:
        return None
    retry_after = max(failure.retry_after for failure in failures)
    if len(failures) == len(queued):
        raise log_unavailable(retry_after)
    return retry_after
