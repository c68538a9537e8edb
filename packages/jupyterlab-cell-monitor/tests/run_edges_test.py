"""Hazard: a run has two starts or ends, none, or a false one, because of the order in which pages and servers end."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cell_monitor_core.derivation.facts import read_event
from cell_monitor_core.derivation.records import StudentRecord, fold_all
from jupyterlab_cell_monitor.handed_runs import read_runs
from jupyterlab_cell_monitor.run_follower import PAGE_SECONDS, RECOVERED_SECONDS, RunFollower

KERNEL = "3c9c4f4e-5a50-4b0c-8a6b-0f5b1b0a9f11"
RUN = "0b7d3a52-8a55-4a52-b0fb-0a5f6f0b6c11"
START = "01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0e"
END = "01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0f"
NOTEBOOK = {"id": "n", "path": "week1.ipynb", "title": "week1"}
CELL = {"id": "c", "source_id": "c", "index": 0, "type": "code"}
BEGAN = datetime(2026, 4, 1, 9, 0, tzinfo=UTC)


class World:
    """One run of one student: its browser, a Jupyter server with a kernel, and a monitor that knows events by their ids.

    The page is what `src/capture/runs.ts` is where the server half follows runs: it reports what it sees, leaves to the
    server half what it does not see, and its browser keeps what was not sent.
    """

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.now = 0.0
        self.serial = 0
        self.monitor: dict[str, tuple[dict[str, Any], float]] = {}
        self.browser: list[tuple[dict[str, Any], float]] = []
        self.follower = RunFollower(process=1)
        self.saved: list[dict[str, Any]] = []
        self.state = "sent"
        self.begun = self.killed = self.known = False
        self.page: str | None = None
        self.owner: str | None = None
        self.seq = 0
        self.open()
        self.owner, self.requested = self.page, self.now

    def event(self, kind: str, data: dict[str, Any], event_id: str = "", *, cell: bool = False) -> dict[str, Any]:
        self.serial += 1
        self.seq += 1
        return {
            "event_id": event_id or f"01924c5e-0000-7000-8000-{self.serial:012x}",
            "type": kind,
            "schema_version": 1,
            "occurred_at": f"{(BEGAN + timedelta(seconds=self.now)).isoformat(timespec='milliseconds')[:-6]}Z",
            "session_id": self.page,
            "seq": self.seq,
            "notebook": NOTEBOOK,
            **({"cell": CELL} if cell else {}),
            "data": data,
        }

    def message(self, kind: str, **content: Any) -> None:
        header = {"msg_type": kind, "date": BEGAN + timedelta(seconds=self.now)}
        parent = {"msg_id": RUN, "msg_type": "execute_request"}
        self.follower.message(KERNEL, {"header": header, "parent_header": parent, "content": content}, self.now)

    def store(self, event: dict[str, Any], at: float) -> None:
        self.monitor.setdefault(event["event_id"], (event, at))

    # What happens.

    def open(self) -> None:
        """A page of this browser; its kernel answers when it has nothing else to do."""
        if self.page is None:
            self.serial += 1
            self.page = f"6f1c4f0e-6f59-4f0e-9d5d-{self.serial:012x}"
            self.seq = 0
            started = {"client": {"extension_version": "0.1.0"}, "ends_runs": False}
            self.browser.append((self.event("session_started", started), self.now))
        if self.state in {"ended", "lost"}:
            self.browser.append((self.event("kernel_connected", {}), self.now))

    def hand_over(self) -> None:
        if self.page is not None and self.page == self.owner and self.state in {"sent", "begun"}:
            self.known = True
            run = {
                "execution_id": RUN,
                "start_id": START,
                "session_id": self.page,
                "seq": self.seq,
                "notebook": NOTEBOOK,
                "cell": CELL,
                "kernel": KERNEL,
                "requested_at": "2026-04-01T09:00:00.000Z",
                "age_ms": int(1000 * (self.now - self.requested)),
            }
            self.follower.hand_over(read_runs([run]), self.now)
            self.save()

    def begin(self) -> None:
        if self.state == "sent":
            self.state, self.begun = "begun", True
            self.message("status", execution_state="busy")
            self.message("execute_input", code="work()", execution_count=1)
            if self.page is not None and self.page == self.owner:
                self.known = True
                start = self.event("cell_execution_started", {"execution_id": RUN}, START, cell=True)
                self.browser.append((start, self.now))

    def finish(self) -> None:
        if self.state == "begun":
            self.state = "ended"
            if self.fails:
                self.message("error", ename="ValueError", evalue="bad", traceback=[])
            self.message("status", execution_state="idle")
            if self.page is not None and self.page == self.owner:
                data = {"execution_id": RUN, "status": "ok", "code": "work()", "outputs": []}
                if self.fails:
                    data |= {"status": "error", "error": {"name": "ValueError", "value": "bad", "traceback": ""}}
                self.browser.append((self.event("cell_executed", data, END, cell=True), self.now))

    def send(self) -> None:
        """The page's request, with its answer."""
        if self.page is not None:
            self.send_without_answer()
            self.save()
            self.browser.clear()

    def send_without_answer(self) -> None:
        """The monitor has the events; the page does not learn it, and sends them again."""
        self.reach_the_server()
        if self.page is not None:
            for event, at in self.browser:
                self.store(event, at)

    def reach_the_server(self) -> None:
        """The server half has the events and is not able to send them on."""
        if self.page is not None:
            waits = [self.now - at for _, at in self.browser]
            self.follower.observe([event for event, _ in self.browser], self.now, waits)

    def leave(self) -> None:
        if self.page is not None:
            self.browser.append((self.event("session_ended", {"reason": "hidden", "ends_runs": False}), self.now))
            self.hand_over()
            self.send()
            self.crash()

    def crash(self) -> None:
        self.page = None

    def kill(self) -> None:
        """The server is killed, and its kernel with it; another one is started."""
        self.killed = True
        if self.state in {"sent", "begun"}:
            self.state = "lost"
        # The page leaves the end of its run to the server half.
        self.owner = None
        self.follower = RunFollower(process=1)
        self.follower.recover(json.loads(json.dumps(self.saved)), self.now, 0.0)

    def tick(self) -> None:
        self.report()
        for report in self.follower.due(self.now):
            self.follower.settled(report)
        self.save()

    def report(self) -> None:
        """What is due reaches the monitor, and the server half does not learn it."""
        for report in self.follower.due(self.now):
            for event, at in zip(report.events, report.times, strict=True):
                self.store(event, at)

    def save(self) -> None:
        self.saved = self.follower.saved()

    def soon(self) -> None:
        self.now += 1.0

    def later(self) -> None:
        self.now += PAGE_SECONDS + 1.0

    def settle(self) -> None:
        """The student comes back, and the kernel goes on until nothing is left to do."""
        self.open()
        self.send()
        if self.page == self.owner or self.begun:
            self.begin()
        self.finish()
        self.send()
        self.open()
        self.send()
        for _ in range(3):
            self.later()
            self.tick()
        self.now += RECOVERED_SECONDS
        self.tick()

    def derived(self) -> StudentRecord:
        return fold_all(
            read_event(json.dumps(event).encode(), int(1000 * at) + 1_000_000).fact
            for event, at in self.monitor.values()
        )


STEPS: dict[str, Callable[[World], None]] = {
    step.__name__: step
    for step in (
        World.open,
        World.hand_over,
        World.begin,
        World.finish,
        World.send,
        World.send_without_answer,
        World.reach_the_server,
        World.leave,
        World.crash,
        World.kill,
        World.tick,
        World.report,
        World.save,
        World.soon,
        World.later,
    )
}


@settings(max_examples=300)
@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=16), st.booleans())
# The page ends the run, the server half ends it, the server is killed before it learns that the monitor has it.
@example(["hand_over", "begin", "send", "finish", "later", "report", "kill", "send"], True)
# The server is killed while the page loads again, before and after the start was sent on.
@example(["hand_over", "begin", "send", "tick", "leave", "kill", "open", "send"], False)
@example(["begin", "reach_the_server", "crash", "kill", "open", "send"], False)
# The end waits in the browser when the server is killed.
@example(["begin", "send", "tick", "finish", "kill", "send", "later", "later", "tick"], True)
# Queued when the page is closed; the server half and the browser both have the start.
@example(["hand_over", "crash", "begin", "later", "tick", "finish", "open", "send", "tick"], True)
@example(["hand_over", "begin", "crash", "later", "tick", "open", "send", "finish", "tick"], True)
@example(["hand_over", "leave", "begin", "tick", "kill", "open"], False)
def test_whatever_ends_first_a_run_has_one_start_and_one_end_and_no_false_one(steps: list[str], fails: bool) -> None:
    world = World(fails)
    for step in steps:
        STEPS[step](world)
    world.settle()

    starts = [event for event, _ in world.monitor.values() if event["type"] == "cell_execution_started"]
    ends = [event for event, _ in world.monitor.values() if event["type"] == "cell_executed"]
    truth = "error" if fails else "ok"
    if world.known and world.begun:
        assert len(starts) <= 1
        assert len(starts) == 1 or world.killed
        assert len(ends) == 1
        # What the server took with it is not known; nothing else is said of it.
        assert ends[0]["data"]["status"] == truth or (world.killed and ends[0]["data"]["status"] == "aborted")
    else:
        # Nobody knew of it, or no kernel executed it.
        assert starts == []
        assert [end["data"]["status"] for end in ends] in ([], ["aborted"])
    derived = world.derived()
    assert derived.fold.runs == len(ends)
    assert derived.fold.running is None
    if ends:
        assert world.follower.open_runs == 0


@pytest.mark.parametrize("page_first", [True, False])
def test_the_start_of_a_run_that_both_report_counts_once(page_first: bool) -> None:
    world = World(fails=False)
    world.hand_over()
    world.begin()
    world.crash()
    if page_first:
        world.open()
        world.send()
    world.later()
    world.tick()
    world.open()
    world.send()
    world.finish()
    world.later()
    world.tick()
    assert [event_id for event_id in world.monitor if event_id in {START, END}] == [START, END]
