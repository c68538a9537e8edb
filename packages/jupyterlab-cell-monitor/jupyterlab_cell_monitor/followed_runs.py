"""A run that is followed, and its session: what pages said of them, and how both are saved for the next process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .handed_runs import HandedRun, ServerCode, is_small, is_uuid, page_time
from .ingest_body import notebook_id_of
from .kernel_request import KernelRequest
from .run_reports import ReportedRun, shared_of
from .timestamps import to_text

__all__ = ["SILENT_SECONDS", "FollowedRun", "FollowedSession"]

SILENT_SECONDS = 180.0
"""After so long without an event a session has no page any more: each page sends one a minute."""


@dataclass(slots=True)
class FollowedSession:
    """One session of a page.

    Attributes:
        seq: the highest number that it used.
        end: its `session_ended`, while nothing came after it.
        seen: when something of it came last.
    """

    seq: int
    end: dict[str, Any] | None = None
    seen: float = 0.0

    def is_gone(self, now: float) -> bool:
        """Whether it has no page any more."""
        return self.end is not None or now - self.seen >= SILENT_SECONDS

    def take(self, event: dict[str, Any]) -> None:
        """Take an event of it, whose number is in ``seq`` already."""
        if event["type"] == "session_ended" and is_uuid(event.get("event_id")) and is_small(event):
            self.end = event
        elif event["seq"] == self.seq:
            self.end = None


@dataclass(slots=True)
class FollowedRun:
    """One run, as far as pages said it.

    Attributes:
        execution_id: the run; where a page sent the request, its id.
        start_id: the event id of its start.
        shared: what its events have in common.
        began: when it was asked for, or started, by the page's clock; ``requested`` is the same moment by the caller's.
        seq: of its session, at that moment.
        started: whether its start was reported.
        error_expected: whether its author says that it may fail.
        kernel: the id of its kernel, where the page said it.
        request_id: the request that it belongs to; None while that is not known of a run that the server executes.
        server_code: its code, where the server executes it.
        doubtful: since when its end may never be known, by the caller's clock; None where it will be.
        recovered: when this process took it over from an earlier one; None for its own.
    """

    execution_id: str
    start_id: str
    shared: dict[str, Any]
    began: datetime
    requested: float
    seq: int
    started: bool = False
    error_expected: bool = False
    kernel: str | None = None
    request_id: str | None = None
    server_code: ServerCode | None = None
    doubtful: float | None = None
    recovered: float | None = None

    @classmethod
    def handed(cls, run: HandedRun, requested: float) -> FollowedRun:
        """Return a run that a page handed over before it reported its start."""
        return cls(run.execution_id, run.start_id, run.shared, run.requested_at, requested, run.seq)

    @classmethod
    def of_start(cls, event: dict[str, Any], at: float) -> FollowedRun | None:
        """Return the run of a `cell_execution_started`, which is not validated; None where it names none."""
        data, began = event.get("data"), page_time(event.get("occurred_at"))
        execution_id = data.get("execution_id") if isinstance(data, dict) else None
        if began is None or not is_uuid(execution_id) or not is_uuid(event.get("event_id")):
            return None
        shared = shared_of(event)
        if not is_small(shared):
            return None
        run = cls(str(execution_id), event["event_id"], shared, began, at, event["seq"], started=True)
        run.request_id = run.execution_id
        return run

    @property
    def session_id(self) -> str:
        """The session that asked for it."""
        return str(self.shared["session_id"])

    @property
    def notebook_id(self) -> str | None:
        """The notebook that its cell is of, as events name it."""
        return notebook_id_of(self.shared)

    @property
    def reported(self) -> ReportedRun:
        """How the events that are made here name it."""
        return ReportedRun(self.start_id, self.shared, self.began)

    def complete(self, run: HandedRun) -> None:
        """Take what only the page that hands it over knows."""
        self.error_expected = run.error_expected
        self.kernel = run.kernel
        if run.server_code is None:
            self.request_id = self.execution_id
        elif self.server_code is None:
            self.server_code = run.server_code
            self.request_id = None

    def take_start(self, run: FollowedRun) -> None:
        """Take the start that its page reports: what happens later is as long after that."""
        self.started = True
        self.start_id, self.shared, self.seq = run.start_id, run.shared, run.seq
        self.began, self.requested = run.began, run.requested

    def take_report(self, event: dict[str, Any], at: float) -> None:
        """Take the start that was reported in place of its page, if the event is one."""
        began = page_time(event["occurred_at"])
        if event["type"] == "cell_execution_started" and began is not None:
            self.started, self.began, self.requested = True, began, at

    def doubt(self, now: float) -> None:
        """Note that its end may never be known."""
        if self.doubtful is None:
            self.doubtful = now

    def has_code(self, request: KernelRequest) -> bool:
        """Whether a request is of the same code."""
        code = self.server_code
        return code is not None and code.size == request.code_size and request.code.startswith(code.head)

    def saved(self, session: FollowedSession | None) -> dict[str, Any]:
        """Return it as a JSON value, with its session."""
        value: dict[str, Any] = {
            "execution_id": self.execution_id,
            "start_id": self.start_id,
            "shared": self.shared,
            "began": to_text(self.began),
            "seq": self.seq if session is None else session.seq,
            "started": self.started,
            "error_expected": self.error_expected,
        }
        return value if session is None or session.end is None else {**value, "session_end": session.end}

    @classmethod
    def read(cls, value: Any, requested: float) -> tuple[FollowedRun, FollowedSession] | None:
        """Return what `saved` wrote; None where a disk or a person changed it to something else."""
        if not isinstance(value, dict):
            return None
        shared, began, seq, end = (value.get(name) for name in ("shared", "began", "seq", "session_end"))
        at = page_time(began)
        if (
            not isinstance(shared, dict)
            or not is_uuid(shared.get("session_id"))
            or not is_uuid(value.get("execution_id"))
            or not is_uuid(value.get("start_id"))
            or at is None
            or not isinstance(seq, int)
        ):
            return None
        run = cls(value["execution_id"], value["start_id"], shared, at, requested, seq)
        run.started = value.get("started") is True
        run.error_expected = value.get("error_expected") is True
        ended = end if isinstance(end, dict) and is_uuid(end.get("event_id")) else None
        return run, FollowedSession(seq, ended, requested)
