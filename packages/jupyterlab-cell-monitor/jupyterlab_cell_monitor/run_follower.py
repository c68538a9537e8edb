"""Reports the ends of runs whose page is gone: pure, without a clock, a kernel or a connection of its own.

The page reports the start of each run, and its end while it is open. Only runs whose start it reported are followed here. The
id of a run's end is made from the id of its start, the same in the page and here, so that the monitor counts one end even
if both report it (docs/dev/contracts.md, "Runs").
"""

from __future__ import annotations

import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from .ingest_body import MAX_EVENT_BYTES, event_json
from .kernel_request import KernelRequest, execution_data
from .timestamps import to_text

T = TypeVar("T")

__all__ = ["EndedRun", "RunFollower", "end_id_of"]

_MAX_SESSIONS = 500
_MAX_RUNS = 2000
_MAX_REQUESTS = 500
PAGE_SECONDS = 10.0
"""How long an open page may take to report an end before it is reported here."""
KEPT_SECONDS = 120.0
"""How long an ended request is kept for the start that its page may still report."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z")
_LAST_TIME = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
# What is cut from an event that is too large although each of its texts is within its bound: bytes of each output.
_SMALLER = (2048, 512, 0)


def end_id_of(start_id: str) -> str:
    """Return the event id of a run's end: that of its start with the last bit inverted."""
    return str(uuid.UUID(int=uuid.UUID(start_id).int ^ 1))


@dataclass(frozen=True, slots=True)
class EndedRun:
    """What is to be sent.

    Attributes:
        execution_id: the run.
        events: its `cell_executed`, and where the page had ended its session, the session's end once more: a session
            in which something happens after its end counts as open.
        ended: when it ended, by the monotonic clock of the caller.
    """

    execution_id: str
    events: list[dict[str, Any]]
    ended: float


@dataclass(slots=True)
class _Session:
    seq: int = 0
    end: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Start:
    event: dict[str, Any]
    began: datetime
    observed: float


@dataclass(slots=True)
class _Request:
    kernel: str
    progress: KernelRequest = field(default_factory=KernelRequest)
    ended: float = 0.0


class RunFollower:
    """Joins what pages report with what kernels say. All times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._starts: OrderedDict[str, _Start] = OrderedDict()
        self._requests: OrderedDict[str, _Request] = OrderedDict()

    @property
    def open_runs(self) -> int:
        """Runs whose start was reported, and no end yet."""
        return len(self._starts)

    def observe(self, events: Iterable[Any], now: float) -> None:
        """Take events that a page sends, which are not validated."""
        for event in events:
            if not isinstance(event, dict):
                continue
            kind, session_id, seq = event.get("type"), event.get("session_id"), event.get("seq")
            if not isinstance(kind, str) or not isinstance(session_id, str) or not isinstance(seq, int):
                continue
            session = _kept(self._sessions, session_id, _Session, _MAX_SESSIONS)
            session.seq = max(session.seq, seq)
            if kind == "session_ended" and _is_uuid(event.get("event_id")):
                session.end = event
            elif seq == session.seq:
                session.end = None
            if kind == "cell_execution_started":
                self._started(event, now)
            elif kind == "cell_executed":
                self._ended(event)

    def message(self, kernel: str, message: dict[str, Any], now: float) -> None:
        """Take an IOPub message of a kernel, with its content."""
        header, parent = message.get("header") or {}, message.get("parent_header") or {}
        kind, content = header.get("msg_type"), message.get("content")
        if kind == "status" and isinstance(content, dict) and content.get("execution_state") == "starting":
            # A new process: what the one before it executed is lost.
            self.kernel_gone(kernel, now)
            return
        request_id = parent.get("msg_id")
        if (
            parent.get("msg_type") != "execute_request"
            or not isinstance(request_id, str)
            or not isinstance(content, dict)
        ):
            return
        request = _kept(self._requests, request_id, lambda: _Request(kernel), _MAX_REQUESTS)
        if not request.progress.ended:
            request.progress.receive(str(kind), header.get("date"), content)
            request.ended = now

    def kernel_gone(self, kernel: str, now: float) -> None:
        """A kernel was shut down, restarted or died: what it executed has ended."""
        for request in self._requests.values():
            if request.kernel == kernel and not request.progress.ended:
                request.progress.ended = request.progress.lost = True
                request.ended = now

    def due(self, now: float) -> list[EndedRun]:
        """Return the runs that ended and whose page does not report it; each of them until it is `settled`."""
        forgotten = [
            request_id
            for request_id, each in self._requests.items()
            if each.progress.ended and now - each.ended > KEPT_SECONDS and request_id not in self._starts
        ]
        for request_id in forgotten:
            del self._requests[request_id]
        due = []
        for execution_id, start in self._starts.items():
            request = self._requests.get(execution_id)
            if request is None or not request.progress.ended:
                continue
            session = self._sessions.get(start.event["session_id"])
            if (session is not None and session.end is not None) or now - request.ended >= PAGE_SECONDS:
                due.append(self._report(execution_id, start, session or _Session(int(start.event["seq"])), request))
        return due

    def settled(self, run: EndedRun) -> None:
        """The end was sent, or the page reported it."""
        self._starts.pop(run.execution_id, None)
        self._requests.pop(run.execution_id, None)
        for event in run.events:
            session = self._sessions.get(event["session_id"])
            if session is not None:
                session.seq = max(session.seq, event["seq"])

    def _started(self, event: dict[str, Any], now: float) -> None:
        execution_id, began = _execution_of(event), _time_of(event)
        if execution_id is not None and began is not None and _is_uuid(event.get("event_id")):
            _kept(self._starts, execution_id, lambda: _Start(event, began, now), _MAX_RUNS)

    def _ended(self, event: dict[str, Any]) -> None:
        execution_id = _execution_of(event)
        if execution_id is not None:
            self._starts.pop(execution_id, None)
            self._requests.pop(execution_id, None)

    def _report(self, execution_id: str, started: _Start, session: _Session, request: _Request) -> EndedRun:
        start, progress = started.event, request.progress
        duration_ms = progress.duration_ms
        if duration_ms is None:
            duration_ms = max(0, round((request.ended - started.observed) * 1000))
        shared: dict[str, Any] = {
            name: start[name] for name in ("session_id", "notebook", "cell", "course") if name in start
        }
        end: dict[str, Any] = {
            **shared,
            "event_id": end_id_of(start["event_id"]),
            "type": "cell_executed",
            "schema_version": 1,
            # By the page's clock, as all events of its session.
            "occurred_at": to_text(
                started.began + min(timedelta(milliseconds=duration_ms), _LAST_TIME - started.began)
            ),
            "seq": session.seq + 1,
            "data": execution_data(execution_id, progress, duration_ms),
        }
        events = [_within_bound(end)]
        if session.end is not None:
            once_more = {
                **session.end,
                "event_id": end_id_of(session.end["event_id"]),
                "occurred_at": end["occurred_at"],
                "seq": session.seq + 2,
            }
            events.append(once_more)
        return EndedRun(execution_id, events, request.ended)


def _execution_of(event: dict[str, Any]) -> str | None:
    data = event.get("data")
    found = data.get("execution_id") if isinstance(data, dict) else None
    return found if _is_uuid(found) else None


def _time_of(event: dict[str, Any]) -> datetime | None:
    """Return when a page's clock had the event; None where it names no time that exists."""
    text = event.get("occurred_at")
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _is_uuid(value: Any) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _kept(items: OrderedDict[str, T], key: str, make: Callable[[], T], most: int) -> T:
    """Return the item of a key, made if it is missing; beyond ``most`` items the oldest is left out."""
    if key not in items:
        items[key] = make()
        while len(items) > most:
            items.popitem(last=False)
    return items[key]


def _within_bound(event: dict[str, Any]) -> dict[str, Any]:
    for most in _SMALLER:
        if len(event_json(event)) <= MAX_EVENT_BYTES:
            break
        for output in event["data"]["outputs"]:
            if len(output["text"]) > most:
                output.update(text=output["text"][:most], truncated=True)
    return event
