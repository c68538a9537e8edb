"""The events of a run that are made here because its page is gone.

All ids are made from the id of the run's start, which the page chose: the start or the end of a run, and the death of the
kernel that it caused, count once, however often they are reported, by the page or here (docs/dev/contracts.md, "Runs that go on").
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from .ingest_body import MAX_EVENT_BYTES, event_json
from .kernel_request import DeathType
from .timestamps import to_text

__all__ = ["ReportedRun", "RunReport", "death_of", "end_id_of", "end_of", "ended_session_of", "shared_of", "start_of"]

_LAST_TIME = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
# What is cut from an event that is too large although each of its texts is within its bound: bytes of each output.
_SMALLER = (2048, 512, 0)
_SHARED = ("session_id", "notebook", "cell", "course")
_END_BIT = 1
_SESSION_BIT = 2
_DEATH_BIT = 4


@dataclass(frozen=True, slots=True)
class ReportedRun:
    """How events name a run.

    Attributes:
        start_id: the event id of its start.
        shared: ``session_id``, ``notebook``, ``cell`` and, if there is one, ``course``.
        began: when it was asked for, or started, by the page's clock.
    """

    start_id: str
    shared: dict[str, Any]
    began: datetime

    def later(self, seconds: float) -> str:
        """The page's time so many seconds after ``began``, as an event has it."""
        return to_text(self.began + min(timedelta(seconds=max(0.0, seconds)), _LAST_TIME - self.began))


@dataclass(frozen=True, slots=True)
class RunReport:
    """What is to be sent of a run.

    Attributes:
        execution_id: the run.
        events: its `cell_execution_started`, its `cell_executed`, or both, after the latter the death of the kernel, if it
            died while it executed the run, and where the page had ended its session, the session's end once more.
        times: when each of them happened, by the monotonic clock of the caller.
    """

    execution_id: str
    events: list[dict[str, Any]]
    times: list[float]

    @property
    def ends(self) -> bool:
        """Whether the run's end is among the events."""
        return any(event["type"] == "cell_executed" for event in self.events)


def shared_of(value: dict[str, Any]) -> dict[str, Any]:
    """Return what all events of a run have in common, of one of them or of what a page hands over."""
    return {name: value[name] for name in _SHARED if value.get(name) is not None}


def end_id_of(start_id: str) -> str:
    """Return the event id of a run's end: that of its start with the last bit inverted."""
    return _with(start_id, _END_BIT)


def start_of(run: ReportedRun, execution_id: str, seq: int, after_s: float) -> dict[str, Any]:
    """Return the ``cell_execution_started`` of a run that began when its page was gone, so long after ``run.began``."""
    # The student is not there: it is no act of theirs.
    data = {"execution_id": execution_id, "queued": True}
    return _event(run, run.start_id, "cell_execution_started", seq, run.later(after_s), data)


def end_of(run: ReportedRun, seq: int, after_s: float, data: dict[str, Any]) -> dict[str, Any]:
    """Return the ``cell_executed`` of a run, with its ``data`` cut until the monitor takes it."""
    return _within_bound(_event(run, end_id_of(run.start_id), "cell_executed", seq, run.later(after_s), data))


def death_of(run: ReportedRun, kind: DeathType, seq: int, after_s: float) -> dict[str, Any]:
    """Return the death of the kernel that executed a run. Its id is that of the start with the last bit but two inverted."""
    data = {"reason": "auto"} if kind == "kernel_restarted" else {}
    return _event(run, _with(run.start_id, _DEATH_BIT), kind, seq, run.later(after_s), {**data, "running": True})


def ended_session_of(session_end: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
    """Return the end of a session once more, after an event in it: a session in which something happens later is open."""
    again = {"event_id": _with(event["event_id"], _SESSION_BIT), "occurred_at": event["occurred_at"]}
    return {**session_end, **again, "seq": event["seq"] + 1}


def _with(event_id: str, bit: int) -> str:
    return str(uuid.UUID(int=uuid.UUID(event_id).int ^ bit))


def _event(
    run: ReportedRun, event_id: str, kind: str, seq: int, occurred_at: str, data: dict[str, Any]
) -> dict[str, Any]:
    head = {"event_id": event_id, "type": kind, "schema_version": 1, "occurred_at": occurred_at, "seq": seq}
    return {**run.shared, **head, "data": data}


def _within_bound(event: dict[str, Any]) -> dict[str, Any]:
    for most in _SMALLER:
        if len(event_json(event)) <= MAX_EVENT_BYTES:
            break
        for output in event["data"]["outputs"]:
            if len(output["text"]) > most:
                output.update(text=output["text"][:most], truncated=True)
    return event
