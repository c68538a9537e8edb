"""Reports the starts and ends of runs whose page is gone: pure, without a clock, a kernel or a connection of its own.

The page hands over each run that is still open when it sends something, and reports the start and the end of each while
it is there. Only runs that it handed over, or whose start it reported, are followed here. The ids of both events are made
from one that the page chose, so that the monitor counts one start and one end even if both report them
(docs/dev/contracts.md, "Runs that go on").
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .followed_runs import FollowedRun, FollowedSession
from .handed_runs import HandedRun, is_uuid
from .ingest_body import notebook_id_of
from .kernel_request import DeathType, KernelRequest, execution_data
from .run_reports import RunReport, death_of, end_of, ended_session_of, start_of

T = TypeVar("T")

__all__ = ["KEPT_SECONDS", "PAGE_SECONDS", "RECOVERED_SECONDS", "UNSENT_SECONDS", "RunFollower"]

_MAX_SESSIONS = 500
_MAX_RUNS = 2000
_MAX_REQUESTS = 1000
PAGE_SECONDS = 10.0
"""How long an open page may take to report a start or an end before it is reported here."""
KEPT_SECONDS = 120.0
"""How long an ended request is kept for the run that its page may still report or hand over."""
RECOVERED_SECONDS = 120.0
"""How long a page may take, after a start of the server, to report the end of a run that it had seen before."""

UNSENT_SECONDS = 600.0
"""How long a run that has not begun stays open after its page is gone, while its kernel executes nothing."""

# How long a page's request may be on its way: so much earlier its run may have been asked for than it says.
_ON_ITS_WAY_SECONDS = 5.0

# What jupyter_client of this process names its requests: session, process id, number.
_OWN_REQUEST = re.compile(r".*_(\d+)_\d+", re.DOTALL)


@dataclass(slots=True)
class _Request:
    kernel: str
    own: bool
    progress: KernelRequest = field(default_factory=KernelRequest)
    began: float = 0.0
    ended: float = 0.0
    taken: bool = False

    @property
    def failed(self) -> bool:
        """Whether it ended, and an error is shown."""
        return self.progress.ended and self.progress.outputs.error is not None


class RunFollower:
    """Joins what pages report with what kernels say. All times are seconds of one monotonic clock.

    Args:
        process: the process id of the server: requests that it makes itself, in place of a page, are known by it.
    """

    def __init__(self, process: int | None = None) -> None:
        self._process = os.getpid() if process is None else process
        self._sessions: OrderedDict[str, FollowedSession] = OrderedDict()
        self._runs: OrderedDict[str, FollowedRun] = OrderedDict()
        self._requests: OrderedDict[str, _Request] = OrderedDict()
        self._finished: OrderedDict[str, bool] = OrderedDict()
        self._active: OrderedDict[str, float] = OrderedDict()

    @property
    def open_runs(self) -> int:
        """Runs that a page handed over or whose start it reported, and whose end nobody reported yet."""
        return len(self._runs)

    @property
    def kernels(self) -> set[str]:
        """The kernels that pages named for the runs that are open."""
        return {run.kernel for run in self._runs.values() if run.kernel is not None}

    def observe(self, events: Iterable[Any], now: float, waits: Sequence[float] = ()) -> None:
        """Take events that a page sends, which are not validated; ``waits``: seconds that each waited in the browser."""
        for number, event in enumerate(events):
            if not isinstance(event, dict):
                continue
            kind, session_id, seq = event.get("type"), event.get("session_id"), event.get("seq")
            if not isinstance(kind, str) or not isinstance(session_id, str) or not isinstance(seq, int):
                continue
            self._session_of(session_id, seq, now).take(event)
            at = now - (waits[number] if number < len(waits) else 0.0)
            if kind == "cell_execution_started":
                self._started(event, at)
            elif kind == "cell_executed":
                self._ended(event)
            elif kind == "kernel_connected":
                self._connected(event, at, now)

    def hand_over(self, runs: Iterable[HandedRun], now: float) -> None:
        """Take runs that a page hands over."""
        for run in runs:
            if run.execution_id in self._finished:
                continue
            self._session_of(run.session_id, run.seq, now)
            handed = FollowedRun.handed(run, now - run.age_s)
            _added(self._runs, run.execution_id, handed, _MAX_RUNS).complete(run)
        self._match()

    def message(self, kernel: str, message: dict[str, Any], now: float) -> None:
        """Take an IOPub message of a kernel, with its content."""
        header, parent = message.get("header") or {}, message.get("parent_header") or {}
        kind, content = header.get("msg_type"), message.get("content")
        state = content.get("execution_state") if kind == "status" and isinstance(content, dict) else None
        if state == "starting":
            # A new process: what the one before it executed is lost.
            self.kernel_gone(kernel, now)
            return
        if state == "busy":
            # What the kernel is asked for on its control channel, it begins at once, also while it executes a cell.
            if parent.get("msg_type") == "interrupt_request":
                self.interrupted(kernel)
            elif parent.get("msg_type") == "shutdown_request":
                self.kernel_gone(kernel, now)
        request_id = parent.get("msg_id")
        if (
            parent.get("msg_type") != "execute_request"
            or not isinstance(request_id, str)
            or not isinstance(content, dict)
            # A thread that the run has started may still print.
            or request_id in self._finished
        ):
            return
        request = _kept(self._requests, request_id, lambda: self._request(kernel, request_id), _MAX_REQUESTS)
        progress = request.progress
        if progress.ended:
            return
        had_begun = progress.begun
        progress.receive(str(kind), header.get("date"), content)
        request.ended = self._active[kernel] = now
        while len(self._active) > _MAX_REQUESTS:
            self._active.popitem(last=False)
        if progress.begun and not had_begun:
            request.began = now
            self._match()
        if request.own and request.failed:
            self._dropped(kernel, now)

    def interrupted(self, kernel: str) -> None:
        """Somebody asked for an interrupt of a kernel: an error of what it executes is no failure."""
        for request in self._requests.values():
            if request.kernel == kernel and request.progress.begun and not request.progress.ended:
                request.progress.interrupted = True

    def kernel_gone(self, kernel: str, now: float, death: DeathType | None = None) -> None:
        """A kernel was shut down, restarted or died: what it executed has ended, and what waited for it is in doubt.

        Of a death its event is given; None where somebody asked for the end of the process, or it is not known why it ended.
        """
        for request in self._requests.values():
            if request.kernel == kernel and not request.progress.ended:
                request.progress.ended = request.progress.lost = True
                request.progress.death = death if request.progress.begun else None
                request.ended = now
        for run in self._runs.values():
            if run.kernel == kernel and self._request_of(run) is None:
                run.doubt(now)

    def due(self, now: float) -> list[RunReport]:
        """Return what happened and no page reports; the same again until it is `settled`."""
        self._forget(now)
        reports = (self.report(execution_id, now) for execution_id in self._runs)
        return [report for report in reports if report is not None]

    def report(self, execution_id: str, now: float) -> RunReport | None:
        """Return what is due of one run, numbered after all that was `settled`; None if nothing is."""
        run = self._runs.get(execution_id)
        if run is None:
            return None
        session = self._sessions.get(run.session_id)
        return self._due(run, session or FollowedSession(run.seq, seen=now), now)

    def settled(self, report: RunReport) -> None:
        """What `due` returned was sent."""
        run = self._runs.get(report.execution_id)
        if run is not None:
            run.take_report(report.events[0], report.times[0])
        if report.ends:
            self._finish(report.execution_id)
        for event in report.events:
            session = self._sessions.get(event["session_id"])
            if session is not None:
                session.seq = max(session.seq, event["seq"])

    def saved(self) -> list[dict[str, Any]]:
        """Return the open runs as JSON values, for the process that comes after this one."""
        return [run.saved(self._sessions.get(run.session_id)) for run in self._runs.values()]

    def recover(self, runs: Iterable[Any], now: float, ago_s: float) -> None:
        """Take the runs that an earlier process of the server had `saved`, so many seconds ago: their kernels are gone."""
        for value in runs:
            read = FollowedRun.read(value, now - ago_s)
            if read is None or read[0].execution_id in self._finished:
                continue
            run, session = read
            run.recovered = now
            known = _added(self._sessions, run.session_id, session, _MAX_SESSIONS)
            known.seq = max(known.seq, session.seq)
            _added(self._runs, run.execution_id, run, _MAX_RUNS)

    def _due(self, run: FollowedRun, session: FollowedSession, now: float) -> RunReport | None:
        request = self._request_of(run)
        left = session.end is not None
        if request is not None and request.progress.ended:
            if not request.progress.begun and request.progress.lost and not session.is_gone(now):
                # The page may send it again to the new process of the kernel, or reports it.
                return None
            if left or now - request.ended >= PAGE_SECONDS:
                return self._report(run, session, request, request.ended)
        elif request is not None and request.progress.begun:
            if not run.started and (left or now - request.began >= PAGE_SECONDS):
                return self._report(run, session, request, None)
        elif request is None and self._is_lost(run, session, now):
            lost = run.doubtful if run.recovered is None else run.requested
            return self._report(run, session, None, now if lost is None else lost)
        return None

    def _is_lost(self, run: FollowedRun, session: FollowedSession, now: float) -> bool:
        """Whether the end of a run, of which no message was received, will not be known."""
        if run.recovered is not None and now - run.recovered >= RECOVERED_SECONDS:
            return True
        doubtful = run.doubtful is not None and now - run.doubtful >= PAGE_SECONDS
        if doubtful and (run.started or run.recovered is not None):
            return True
        # One that did not begin may still wait: in its page, or in the kernel behind another one.
        if run.started or not session.is_gone(now):
            return False
        if any(each.kernel == run.kernel and not each.progress.ended for each in self._requests.values()):
            return False
        active = self._active.get(run.kernel or "", run.requested)
        if doubtful:
            return now - active >= PAGE_SECONDS
        # The page was gone before it could send it, or the kernel's messages about it were missed.
        return now - max(active, session.seen) >= UNSENT_SECONDS

    def _started(self, event: dict[str, Any], at: float) -> None:
        run = FollowedRun.of_start(event, at)
        if run is None or run.execution_id in self._finished:
            return
        _added(self._runs, run.execution_id, run, _MAX_RUNS).take_start(run)

    def _ended(self, event: dict[str, Any]) -> None:
        data = event.get("data")
        execution_id = data.get("execution_id") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not is_uuid(execution_id):
            return
        run = self._runs.get(str(execution_id))
        if execution_id not in self._requests and (run is None or self._request_of(run) is None):
            # The server executed it, and this page saw all of it: the request is no other run's.
            self._take_request_like(data.get("code"), data.get("execution_count"))
        self._finish(str(execution_id))

    def _connected(self, event: dict[str, Any], at: float, now: float) -> None:
        """A kernel answered a page: what it had begun before for this notebook has ended, and what was sent before is answered."""
        notebook_id = notebook_id_of(event)
        for run in self._runs.values():
            if run.notebook_id != notebook_id or self._request_of(run) is not None:
                continue
            own = run.session_id == event["session_id"]
            if run.started:
                after = run.seq < event["seq"] if own else at >= run.requested
            else:
                # The queue of the server is not the kernel's.
                after = not own and run.server_code is None and at > run.requested + _ON_ITS_WAY_SECONDS
            if after or run.recovered is not None:
                run.doubt(now)

    def _request_of(self, run: FollowedRun) -> _Request | None:
        request_id = run.request_id
        return None if request_id is None else self._requests.get(request_id)

    def _request(self, kernel: str, request_id: str) -> _Request:
        own = _OWN_REQUEST.fullmatch(request_id)
        return _Request(kernel, own is not None and int(own[1]) == self._process)

    def _dropped(self, kernel: str, now: float) -> None:
        """A run of the server failed: jupyter-server-nbmodel then drops those that wait for the kernel, or begins the next."""
        for run in self._runs.values():
            if run.kernel == kernel and run.server_code is not None and run.request_id is None:
                run.doubt(now)

    def _match(self) -> None:
        """Join runs that the server executes with its requests: the oldest of each kernel that have the same code."""
        waiting = [run for run in self._runs.values() if run.request_id is None and run.server_code is not None]
        if not waiting:
            return
        for request_id, request in self._requests.items():
            if not request.own or request.taken or not request.progress.begun:
                continue
            for run in waiting:
                since = run.requested - _ON_ITS_WAY_SECONDS
                if run.kernel == request.kernel and request.began >= since and run.has_code(request.progress):
                    run.request_id, request.taken = request_id, True
                    waiting.remove(run)
                    break

    def _take_request_like(self, code: Any, count: Any) -> None:
        if not isinstance(code, str):
            return
        for request in self._requests.values():
            progress = request.progress
            if request.own and not request.taken and progress.count == count and progress.code.startswith(code):
                request.taken = True
                return

    def _session_of(self, session_id: str, seq: int, now: float) -> FollowedSession:
        session = _kept(self._sessions, session_id, lambda: FollowedSession(seq, seen=now), _MAX_SESSIONS)
        session.seq, session.seen = max(session.seq, seq), now
        return session

    def _finish(self, execution_id: str) -> None:
        run = self._runs.pop(execution_id, None)
        request_id = (run.request_id if run is not None else None) or execution_id
        self._requests.pop(request_id, None)
        for finished in {execution_id, request_id}:
            _added(self._finished, finished, True, 2 * _MAX_RUNS)

    def _forget(self, now: float) -> None:
        followed = {run.request_id for run in self._runs.values()}
        forgotten = [
            request_id
            for request_id, each in self._requests.items()
            if each.progress.ended and now - each.ended > KEPT_SECONDS and request_id not in followed
        ]
        for request_id in forgotten:
            del self._requests[request_id]

    def _report(
        self, run: FollowedRun, session: FollowedSession, request: _Request | None, ended: float | None
    ) -> RunReport:
        """Make the report of a run: of its end, where it is given, with a death, and of its start, where no page reported it."""
        progress = KernelRequest(ended=True, lost=True) if request is None else request.progress
        events: list[dict[str, Any]] = []
        times: list[float] = []
        named = run.reported
        if request is not None and progress.begun and not run.started:
            times.append(request.began)
            events.append(start_of(named, run.execution_id, session.seq + 1, request.began - run.requested))
        if ended is not None:
            times.append(ended)
            began = run.requested if request is None or run.started else request.began
            duration_ms = progress.duration_ms
            if duration_ms is None and request is not None and (progress.begun or run.started):
                duration_ms = max(0, round((ended - began) * 1000))
            after = ended - run.requested
            if run.started and duration_ms is not None:
                # By the kernel's clock, which is more exact.
                after = duration_ms / 1000
            data = execution_data(run.execution_id, progress, duration_ms, error_expected=run.error_expected)
            events.append(end_of(named, session.seq + len(events) + 1, after, data))
            if progress.death is not None:
                times.append(ended)
                events.append(death_of(named, progress.death, session.seq + len(events) + 1, after))
        if session.end is not None:
            times.append(times[-1])
            events.append(ended_session_of(session.end, events[-1]))
        return RunReport(run.execution_id, events, times)


def _added(items: OrderedDict[str, T], key: str, item: T, most: int) -> T:
    """Return the item of a key, this one if it is missing; see `_kept`."""
    return _kept(items, key, lambda: item, most)


def _kept(items: OrderedDict[str, T], key: str, make: Callable[[], T], most: int) -> T:
    """Return the item of a key, made if it is missing; beyond ``most`` items the oldest is left out."""
    if key not in items:
        items[key] = make()
        while len(items) > most:
            items.popitem(last=False)
    return items[key]
