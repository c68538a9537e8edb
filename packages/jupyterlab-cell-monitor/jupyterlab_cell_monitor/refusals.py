"""Which events the monitor does not record, and why: counted by code, for the student's page, the status and the log.

The codes are those of the ingest, and `spool_full` (docs/dev/contracts.md, "Jupyter Server half").
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .ingest_body import course_of, notebook_id_of
from .timestamps import to_text

__all__ = ["MEMBERSHIP_REASONS", "SENTENCES", "SPOOL_FULL", "Refusals"]

MEMBERSHIP_REASONS = frozenset({"course_forbidden", "course_required", "no_course"})
"""Refusals that depend on the sender's courses, which a new token may name differently."""

SPOOL_FULL = "spool_full"
_OTHER = "other"

SENTENCES = {
    "course_required": "The student belongs to several courses and the notebook names none: set CELL_MONITOR_COURSE "
    "(CellMonitorApp.course) for this server, or name the course in the notebook's metadata.",
    "no_course": "The student is on the roster of no course: add the student to the course's roster.",
    "course_forbidden": "The student is not on the roster of the course that the events name, or there is no such "
    "course: correct the course's id (CELL_MONITOR_COURSE, the notebook's metadata) or the roster.",
    "invalid_event": "The monitor cannot read these events: install versions of the extension and the services that "
    "belong together, and report the error if that does not help.",
    "invalid_event_id": "The ids of these events are not UUIDs of version 7: update the extension.",
    "event_too_large": "These events are larger than 64 KiB.",
    "unsupported_schema_version": "The extension is too old for the monitor: update jupyterlab-cell-monitor.",
    SPOOL_FULL: "The monitor could not be reached for so long that the oldest events were deleted: make it reachable, "
    "or raise CellMonitorApp.spool_max_bytes.",
    _OTHER: "The monitor refuses these events: its log and cell_monitor_ingest_requests_total name the reason.",
}
"""What the operator of this server can do, by code."""

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_CODES = 32
_MAX_CURRENT = 16
_KEPT_S = 600.0
# A page sends an event a minute: of one that is still refused another event was refused within this time.
_GOES_ON_S = 150.0
_NO_NOTEBOOK = ""

# What events that are refused together have in common: their course hint, and the notebook where the reason is in the events
# themselves. One event that cannot be read says nothing of the other notebooks of its course.
_Key = tuple[str | None, str | None]


@dataclass(slots=True)
class _Count:
    """All events that were refused with one code."""

    events: int = 0
    last_at: float = 0.0


@dataclass(slots=True)
class _Current:
    """The refusals of one course hint, or of one notebook.

    Attributes:
        reason: the code of the newest.
        events: how many.
        everything: whether no event with this hint, of this notebook, was accepted since.
        last: when the newest was refused, in monotonic seconds.
    """

    reason: str
    events: int
    everything: bool
    last: float

    @property
    def of_course(self) -> bool:
        """Whether the reason concerns all events with the course hint."""
        return self.reason in MEMBERSHIP_REASONS


class Refusals:
    """Counts refusals since the start, and knows which are current.

    All events of a course hint count as refused from an answer in which none of them was accepted to the next one in which one
    was; so do those of a notebook where the reason is in the events themselves. Where only some are refused, that is reported
    for ten minutes.

    Args:
        log: gets one line when a code becomes current and one when it ends.
        clock: seconds, monotonic.
        wall_clock: seconds since the epoch.
    """

    def __init__(
        self,
        log: logging.Logger | logging.LoggerAdapter[Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._clock = clock
        self._wall_clock = wall_clock
        self._counts: dict[str, _Count] = {}
        self._current: dict[_Key, _Current] = {}
        self._full: _Current | None = None
        self._logged: set[str] = set()
        self.events = 0
        """Events that were refused since this process began, without those that the spool dropped."""

    def note(self, events: Iterable[Any], results: list[dict[str, Any]]) -> None:
        """Applies an answer of the monitor.

        Args:
            events: JSON values, in the order of `results`; not read where nothing is or was refused.
            results: as the ingest answers; those to be sent again do not count.
        """
        if not self._current and all(result["status"] != "rejected" for result in results):
            return
        accepted: set[_Key] = set()
        refused: dict[_Key, list[str]] = {}
        for event, result in zip(events, results, strict=True):
            course, notebook = course_of(event), notebook_id_of(event) or _NO_NOTEBOOK
            if result["status"] == "rejected":
                reason = self._count(result.get("reason"), 1)
                refused.setdefault((course, None if reason in MEMBERSHIP_REASONS else notebook), []).append(reason)
                self.events += 1
            elif result["status"] != "retry":
                # An event of a notebook is also one with its course hint.
                accepted |= {(course, notebook), (course, None), (course, _NO_NOTEBOOK)}
        for key in accepted:
            self._accept(key)
        for key, reasons in refused.items():
            self._refuse(key, reasons[-1], len(reasons), everything=key not in accepted)
        self._log_changes()

    def note_all(self, events: list[Any], reason: str) -> list[dict[str, Any]]:
        """Applies the refusal of a whole request and returns one result for each of its events."""
        results: list[dict[str, Any]] = [{"status": "rejected", "reason": reason} for _ in events]
        self.note(events, results)
        return results

    def note_dropped(self, count: int) -> None:
        """Applies that the spool deleted `count` events to stay within its bound."""
        if count <= 0:
            return
        self._count(SPOOL_FULL, count)
        before = self._full.events if self._full and self._is_shown(self._full) else 0
        self._full = _Current(SPOOL_FULL, before + count, everything=False, last=self._clock())
        self._log_changes()

    @property
    def everything(self) -> bool:
        """Whether there is a course hint or a notebook whose events are all refused, and still come."""
        now = self._clock()
        return any(current.everything and now - current.last < _GOES_ON_S for _, current in self._shown())

    def current(self) -> list[dict[str, Any]]:
        """What the front end shows: one entry for each course hint or notebook with current refusals, and one for a full spool."""
        return [
            {
                "reason": current.reason,
                "course": course,
                "events": current.events,
                "everything": current.everything,
                **({} if current.of_course or current is self._full else {"notebook": notebook or None}),
            }
            for (course, notebook), current in self._shown()
        ]

    def by_code(self) -> dict[str, dict[str, Any]]:
        """What `GET status` answers: events, the last time, whether it goes on, and what to do, by code."""
        current = {each.reason for _, each in self._shown()}
        return {
            code: {
                "events": count.events,
                "last_at": to_text(datetime.fromtimestamp(count.last_at, UTC), "seconds"),
                "current": code in current,
                "sentence": SENTENCES.get(code, SENTENCES[_OTHER]),
            }
            for code, count in self._counts.items()
        }

    def _is_shown(self, current: _Current) -> bool:
        return self._clock() < current.last + _KEPT_S

    def _shown(self) -> list[tuple[_Key, _Current]]:
        for key in [key for key, current in self._current.items() if not self._is_shown(current)]:
            del self._current[key]
        if self._full is not None and not self._is_shown(self._full):
            self._full = None
        return [*self._current.items(), *([((None, None), self._full)] if self._full else [])]

    def _count(self, reason: object, events: int) -> str:
        code = self._known(reason)
        count = self._counts.setdefault(code, _Count())
        count.events += events
        count.last_at = self._wall_clock()
        return code

    def _known(self, reason: object) -> str:
        """The code as it is counted: one that a newer monitor introduced is kept, another text is not."""
        if not isinstance(reason, str) or not _CODE.fullmatch(reason):
            return _OTHER
        return reason if reason in self._counts or reason in SENTENCES or len(self._counts) < _MAX_CODES else _OTHER

    def _accept(self, key: _Key) -> None:
        current = self._current.get(key)
        if current is None:
            return
        if current.of_course:
            del self._current[key]
        else:
            current.everything = False

    def _refuse(self, key: _Key, reason: str, events: int, *, everything: bool) -> None:
        before = self._current.pop(key, None)
        if len(self._current) >= _MAX_CURRENT:
            del self._current[next(iter(self._current))]
        # Taken out and put back: the first key is the one that was refused the longest time ago.
        counted = before.events if before and self._is_shown(before) else 0
        self._current[key] = _Current(reason, counted + events, everything, self._clock())

    def _log_changes(self) -> None:
        current = {each.reason for _, each in self._shown()}
        for code in sorted(current - self._logged):
            self._log.warning("Events are not recorded (%s). %s", code, SENTENCES.get(code, SENTENCES[_OTHER]))
        for code in sorted(self._logged - current):
            self._log.info("Events are no longer refused (%s), after %d events.", code, self._counts[code].events)
        self._logged = current
