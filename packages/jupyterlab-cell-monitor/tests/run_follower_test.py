"""Hazard: a run that goes on after its page was closed has no end, two ends, or one that its student did not see."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterlab_cell_monitor.followed_runs import SILENT_SECONDS
from jupyterlab_cell_monitor.handed_runs import HandedRun, read_runs
from jupyterlab_cell_monitor.kernel_request import DeathType, KernelRequest, execution_data
from jupyterlab_cell_monitor.run_follower import KEPT_SECONDS, PAGE_SECONDS, UNSENT_SECONDS, RunFollower
from jupyterlab_cell_monitor.run_reports import end_id_of
from jupyterlab_cell_monitor.shown_outputs import OutputCollector

SESSION = "6f1c4f0e-6f59-4f0e-9d5d-2d8f3a1b0c01"
KERNEL = "kernel-1"
START = "01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0e"
BEGAN = datetime(2026, 4, 1, 9, 0, tzinfo=UTC)
CELL = {"id": "c", "source_id": "c", "index": 0, "type": "code"}
NOTEBOOK = {"id": "n", "path": "week1.ipynb", "title": "week1"}


class Page:
    """What one page sends: numbered events of one session."""

    def __init__(self, session: str = SESSION) -> None:
        self.session = session
        self.seq = 0

    def event(self, kind: str, data: dict[str, Any], event_id: str = "") -> dict[str, Any]:
        self.seq += 1
        return {
            "event_id": event_id or str(uuid.uuid4()),
            "type": kind,
            "schema_version": 1,
            # This page's clock is an hour behind the kernel's.
            "occurred_at": "2026-04-01T08:00:00.250Z",
            "session_id": self.session,
            "seq": self.seq,
            "notebook": NOTEBOOK,
            "cell": CELL,
            "course": "intro",
            "data": data,
        }

    def start(self, run: str) -> dict[str, Any]:
        return self.event("cell_execution_started", {"execution_id": run})

    def end(self, run: str) -> dict[str, Any]:
        return self.event("cell_executed", {"execution_id": run, "status": "ok", "code": "", "outputs": []})

    def left(self) -> dict[str, Any]:
        return self.event("session_ended", {"reason": "closed", "ends_runs": False})


def message(kind: str, content: dict[str, Any], parent: str, after_s: float = 0.0) -> dict[str, Any]:
    return {
        "header": {"msg_type": kind, "date": BEGAN + timedelta(seconds=after_s)},
        "parent_header": {"msg_id": parent, "msg_type": "execute_request"},
        "content": content,
    }


def begin(follower: RunFollower, run: str, code: str = "work()") -> None:
    follower.message(KERNEL, message("status", {"execution_state": "busy"}, run), 0.0)
    follower.message(KERNEL, message("execute_input", {"code": code, "execution_count": 7}, run), 0.0)


def finish(follower: RunFollower, run: str, now: float, after_s: float = 28.0) -> None:
    follower.message(KERNEL, message("status", {"execution_state": "idle"}, run, after_s), now)


def fail(follower: RunFollower, run: str, name: str = "ValueError") -> None:
    content = {"ename": name, "evalue": "late", "traceback": ["\x1b[31mTraceback\x1b[0m", f"{name}: late"]}
    follower.message(KERNEL, message("error", content, run), 20.0)


@pytest.fixture
def run() -> str:
    return str(uuid.uuid4())


def test_the_end_of_a_run_whose_page_was_closed_is_reported_once_with_what_the_student_would_see(run: str) -> None:
    follower, page = RunFollower(), Page()
    start = page.start(run)
    follower.observe([start], 0.0)
    begin(follower, run, "for _ in range(28): work()")
    left = page.left()
    follower.observe([left], 0.0)
    assert follower.due(5.0) == []
    fail(follower, run)
    finish(follower, run, now=28.0)

    (ended,) = follower.due(28.0)
    executed, closed = ended.events
    assert executed == {
        "event_id": str(uuid.UUID(int=uuid.UUID(start["event_id"]).int ^ 1)),
        "type": "cell_executed",
        "schema_version": 1,
        "occurred_at": "2026-04-01T08:00:28.250Z",
        "session_id": SESSION,
        "seq": 3,
        "notebook": NOTEBOOK,
        "cell": CELL,
        "course": "intro",
        "data": {
            "execution_id": run,
            "status": "error",
            "code": "for _ in range(28): work()",
            "outputs": [],
            "execution_count": 7,
            "duration_ms": 28_000,
            "started_at": "2026-04-01T09:00:00.000Z",
            "error": {"name": "ValueError", "value": "late", "traceback": "Traceback\nValueError: late"},
        },
    }
    # The session of the closed page stays closed.
    assert (closed["type"], closed["seq"], closed["data"]) == ("session_ended", 4, left["data"])
    assert closed["event_id"] != left["event_id"]
    follower.settled(ended)
    assert follower.due(1000.0) == []


@pytest.mark.parametrize("by_message", [False, True])
@pytest.mark.parametrize("interrupted", [False, True])
def test_an_interrupt_that_arrives_as_another_exception_is_no_failure_after_its_page_was_closed(
    run: str, by_message: bool, interrupted: bool
) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run), page.left()], 0.0)
    begin(follower, run)
    if interrupted and by_message:
        asked = message("status", {"execution_state": "busy"}, "some-request")
        asked["parent_header"]["msg_type"] = "interrupt_request"
        follower.message(KERNEL, asked, 20.0)
    elif interrupted:
        follower.interrupted(KERNEL)
    # Of another kernel.
    follower.interrupted("kernel-2")
    fail(follower, run, "CalledProcessError")
    finish(follower, run, now=28.0)
    (ended,) = follower.due(28.0)
    data = ended.events[0]["data"]
    assert (data["status"], data["error"]["name"]) == ("aborted" if interrupted else "error", "CalledProcessError")


def test_a_run_ends_when_its_kernel_is_asked_to_shut_down_not_when_it_has(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run), page.left()], 0.0)
    begin(follower, run)
    asked = message("status", {"execution_state": "busy"}, "some-request")
    asked["parent_header"]["msg_type"] = "shutdown_request"
    follower.message(KERNEL, asked, 20.0)
    (ended,) = follower.due(20.0)
    assert ended.events[0]["data"]["status"] == "aborted"


def test_an_end_that_the_page_reports_is_not_reported_again(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run)], 0.0)
    begin(follower, run)
    finish(follower, run, now=28.0)
    assert follower.due(28.0 + PAGE_SECONDS / 2) == []
    follower.observe([page.end(run), page.left()], 0.0)
    assert follower.due(1000.0) == []


def test_the_end_that_a_crashed_page_does_not_report_is_reported_and_its_session_stays_as_it_is(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run)], 0.0)
    begin(follower, run)
    finish(follower, run, now=28.0)
    (ended,) = follower.due(28.0 + PAGE_SECONDS)
    assert [event["type"] for event in ended.events] == ["cell_executed"]
    assert ended.events[0]["data"]["status"] == "ok"


def test_page_and_server_make_the_same_id_for_the_end_of_a_run_so_that_it_counts_once(run: str) -> None:
    start_id = "01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0e"
    assert end_id_of(start_id) == "01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0f"
    follower, page = RunFollower(), Page()
    follower.observe([page.event("cell_execution_started", {"execution_id": run}, start_id), page.left()], 0.0)
    begin(follower, run)
    finish(follower, run, now=1.0)
    assert follower.due(1.0)[0].events[0]["event_id"] == end_id_of(start_id)


def test_a_run_whose_first_messages_were_missed_has_the_time_since_its_start_and_says_what_is_missing(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run), page.left()], 5.0)
    fail(follower, run)
    finish(follower, run, now=33.0)
    data = follower.due(33.0)[0].events[0]["data"]
    assert (data["status"], data["duration_ms"]) == ("error", 28_000)
    assert (data["code_truncated"], data["outputs_truncated"]) == (True, True)
    assert "started_at" not in data


def test_only_runs_whose_start_a_page_reported_are_reported(run: str) -> None:
    follower, page = RunFollower(), Page()
    others = str(uuid.uuid4())
    follower.observe([page.start(run), page.left()], 0.0)
    for each in (run, others, "console_1"):
        begin(follower, each, "secret()")
        finish(follower, each, now=1.0)
    assert [ended.execution_id for ended in follower.due(1000.0)] == [run]


@pytest.mark.parametrize(
    ("began", "ended"),
    [
        ("0009-04-01T08:00:00.250Z", "0009-04-01T08:00:28.250Z"),
        ("9999-12-31T23:59:59.500Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_page_whose_clock_is_centuries_off_has_ends_that_the_monitor_can_read(
    run: str, began: str, ended: str
) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run) | {"occurred_at": began}, page.left()], 0.0)
    begin(follower, run)
    finish(follower, run, 28.0)
    [reported] = follower.due(28.0)
    assert [event["occurred_at"] for event in reported.events] == [ended, ended]


def test_a_start_at_a_time_that_does_not_exist_stops_no_other_report(run: str) -> None:
    follower, page, odd = RunFollower(), Page(), str(uuid.uuid4())
    follower.observe([page.start(odd) | {"occurred_at": "2026-13-45T99:99:99Z"}, page.start(run), page.left()], 0.0)
    for each in (odd, run):
        begin(follower, each)
        finish(follower, each, 28.0)
    assert [reported.execution_id for reported in follower.due(28.0)] == [run]


def test_a_start_that_arrives_after_its_run_ended_is_joined_with_it(run: str) -> None:
    follower, page = RunFollower(), Page()
    begin(follower, run)
    finish(follower, run, now=1.0)
    assert follower.due(2.0) == []
    follower.observe([page.start(run), page.left()], 0.0)
    assert [ended.execution_id for ended in follower.due(3.0)] == [run]


def test_messages_of_runs_that_nobody_reports_are_forgotten(run: str) -> None:
    follower, page = RunFollower(), Page()
    begin(follower, run)
    finish(follower, run, now=1.0)
    assert follower.due(2.0 + KEPT_SECONDS) == []
    follower.observe([page.start(run), page.left()], 0.0)
    assert follower.due(3.0 + KEPT_SECONDS) == []


@pytest.mark.parametrize("how", ["gone", "starting"])
def test_a_run_whose_kernel_is_shut_down_or_restarted_ends_as_aborted(run: str, how: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run), page.left()], 0.0)
    begin(follower, run)
    if how == "gone":
        follower.kernel_gone(KERNEL, 9.0)
    else:
        starting = message("status", {"execution_state": "starting"}, "")
        follower.message(KERNEL, starting | {"parent_header": {}}, 9.0)
    (ended,) = follower.due(9.0)
    assert ended.events[0]["data"]["status"] == "aborted"
    # Somebody asked for it: no cell has killed the kernel.
    assert [event["type"] for event in ended.events] == ["cell_executed", "session_ended"]
    # A late message of the old process changes nothing.
    fail(follower, run)
    assert follower.due(9.0)[0].events[0]["data"]["status"] == "aborted"


@pytest.mark.parametrize(
    ("death", "data"),
    [("kernel_restarted", {"reason": "auto", "running": True}), ("kernel_died", {"running": True})],
)
def test_a_cell_that_kills_the_kernel_after_its_page_is_gone_is_named_once(
    run: str, death: DeathType, data: dict[str, Any]
) -> None:
    start_id = "01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0e"
    follower, page = RunFollower(), Page()
    follower.observe([page.event("cell_execution_started", {"execution_id": run}, start_id), page.left()], 0.0)
    begin(follower, run)
    waiting = str(uuid.uuid4())
    follower.hand_over(handed(page, waiting), 1.0)
    follower.kernel_gone(KERNEL, 9.0, death)
    # The new process says that it starts.
    follower.message(KERNEL, message("status", {"execution_state": "starting"}, "") | {"parent_header": {}}, 9.5)
    (report,) = [each for each in follower.due(9.5) if each.execution_id == run]
    ended, died, left = report.events
    assert [each["type"] for each in report.events] == ["cell_executed", death, "session_ended"]
    assert (died["data"], died["notebook"], died["cell"], died["course"]) == (data, NOTEBOOK, CELL, "intro")
    assert [each["seq"] for each in report.events] == [page.seq + 1, page.seq + 2, page.seq + 3]
    assert died["occurred_at"] == ended["occurred_at"]
    assert report.times == [9.0, 9.0, 9.0]
    # A page that was only slow makes the same event: it counts once.
    assert died["event_id"] == "01924c5e-7b2a-7c3d-8e4f-5a6b7c8d9e0a"
    assert len({each["event_id"] for each in (*report.events, left)}) == 3
    follower.settled(report)
    # What only waited has not killed it.
    (lost,) = follower.due(1000.0)
    assert (lost.execution_id, [each["type"] for each in lost.events]) == (waiting, ["cell_executed", "session_ended"])


def test_a_page_that_is_there_reports_the_death_itself(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run)], 0.0)
    begin(follower, run)
    follower.kernel_gone(KERNEL, 9.0, "kernel_restarted")
    assert follower.due(9.0 + PAGE_SECONDS - 0.1) == []
    follower.observe([page.end(run)], 10.0)
    assert follower.due(1000.0) == []


def test_another_kernel_that_goes_ends_no_run(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run), page.left()], 0.0)
    begin(follower, run)
    follower.kernel_gone("kernel-2", 9.0)
    assert follower.due(1000.0) == []


def test_an_interrupt_ends_a_run_as_aborted(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run), page.left()], 0.0)
    begin(follower, run)
    fail(follower, run, "KeyboardInterrupt")
    finish(follower, run, now=9.0)
    data = follower.due(9.0)[0].events[0]["data"]
    assert (data["status"], data["error"]["name"]) == ("aborted", "KeyboardInterrupt")


def test_the_idle_status_of_a_debug_request_ends_no_run(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run), page.left()], 0.0)
    begin(follower, run)
    idle = message("status", {"execution_state": "idle"}, str(uuid.uuid4()))
    idle["parent_header"]["msg_type"] = "debug_request"
    follower.message(KERNEL, idle, 3.0)
    assert follower.due(1000.0) == []


def test_an_event_is_cut_until_the_monitor_takes_it(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run), page.left()], 0.0)
    begin(follower, run, "x" * 100_000)
    for index in range(30):
        content = {"data": {"text/plain": "語" * 9000}, "metadata": {}}
        follower.message(KERNEL, message("display_data", content, run, float(index)), 2.0)
    finish(follower, run, now=9.0)
    (ended,) = follower.due(9.0)
    data = ended.events[0]["data"]
    assert len(json.dumps(ended.events[0])) <= 64 * 1024
    assert len(data["outputs"]) == 20
    assert all(output["truncated"] for output in data["outputs"])
    assert (len(data["code"]), data["code_truncated"], data["outputs_truncated"]) == (16 * 1024, True, True)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {"type": "cell_execution_started"},
        {"type": "cell_execution_started", "session_id": SESSION, "seq": 1, "data": {"execution_id": 5}},
        {"type": "cell_execution_started", "session_id": SESSION, "seq": "1", "data": {}},
        {"type": "session_ended", "session_id": SESSION, "seq": 2, "event_id": "x"},
    ],
)
def test_events_that_are_none_change_nothing(bad: Any, run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run), bad], 0.0)
    begin(follower, run)
    finish(follower, run, now=1.0)
    assert follower.due(1.0) == []
    assert len(follower.due(1.0 + PAGE_SECONDS)) == 1


@given(st.lists(st.sampled_from(["start", "begin", "finish", "die", "page_end", "left", "report"]), max_size=14))
def test_whatever_the_order_each_run_and_each_death_is_reported_at_most_once(steps: list[str]) -> None:
    follower, page, run = RunFollower(), Page(), "0b7d3a52-8a55-4a52-b0fb-0a5f6f0b6c11"
    start = page.start(run)
    reported, deaths, page_reported, now = [], 0, False, 0.0
    running = killed = False
    for step in steps:
        now += 1
        if step == "start":
            follower.observe([start], 0.0)
        elif step == "begin":
            begin(follower, run)
            running = True
        elif step == "finish":
            finish(follower, run, now)
            running = False
        elif step == "die":
            killed = killed or running
            running = False
            follower.kernel_gone(KERNEL, now, "kernel_restarted")
        elif step == "page_end":
            follower.observe([page.end(run)], 0.0)
            page_reported = True
        elif step == "left":
            follower.observe([page.left()], 0.0)
        else:
            for ended in follower.due(now):
                reported.append(ended.events[0]["event_id"])
                deaths += sum(event["type"] == "kernel_restarted" for event in ended.events)
                follower.settled(ended)
    # It killed the kernel if it had begun and not ended when the kernel died.
    assert deaths <= int(killed)
    assert deaths <= len(reported)
    assert set(reported) <= {end_id_of(start["event_id"])}
    assert len(reported) <= 1
    if page_reported and reported:
        assert "report" in steps[: steps.index("page_end")]


def test_the_recorded_outputs_are_those_that_the_student_sees_at_the_end() -> None:
    shown = OutputCollector()
    shown.add("display_data", {"data": {"text/plain": "'0 %'"}, "transient": {"display_id": "p"}})
    shown.add("update_display_data", {"data": {"text/plain": "'100 %'"}, "transient": {"display_id": "p"}})
    shown.add("stream", {"name": "stdout", "text": "loading\r"})
    shown.add("stream", {"name": "stdout", "text": "done\n12\b3\n\x1b[32mgreen\x1b[0m"})
    records, missed = shown.records()
    assert [record["text"] for record in records] == ["'100 %'", "doneing\n13\ngreen"]
    assert not missed
    shown.add("error", {"ename": "ValueError"})
    shown.add("clear_output", {"wait": True})
    assert shown.error is not None
    shown.add("stream", {"name": "stdout", "text": "round 2"})
    assert [record["text"] for record in shown.records()[0]] == ["round 2"]
    assert shown.error is None


def test_a_run_of_which_only_the_end_was_received_is_neither_ok_nor_failed_and_has_no_duration() -> None:
    data = execution_data("0b7d3a52-8a55-4a52-b0fb-0a5f6f0b6c11", KernelRequest(ended=True), None)
    assert "duration_ms" not in data
    # An error may be shown that was missed.
    assert (data["status"], data["outputs_truncated"]) == ("aborted", True)


def handed(page: Page, run: str, **more: Any) -> list[HandedRun]:
    """What a page hands over of a run."""
    value = {
        "execution_id": run,
        "start_id": START,
        "session_id": page.session,
        "seq": page.seq,
        "notebook": NOTEBOOK,
        "cell": CELL,
        "course": "intro",
        "kernel": KERNEL,
        "requested_at": "2026-04-01T08:00:00.250Z",
        "age_ms": 0,
    }
    return read_runs([{**value, **more}])


@pytest.mark.parametrize("server_code", [None, {"head": "work()", "bytes": 6}], ids=["page", "server"])
def test_a_run_that_its_page_never_sent_does_not_stay_open(run: str, server_code: dict[str, Any] | None) -> None:
    follower, page, other = RunFollower(), Page(), str(uuid.uuid4())
    follower.hand_over(handed(page, run, **({} if server_code is None else {"server_code": server_code})), 0.0)
    follower.observe([page.left()], 0.0)
    # While the kernel executes another client's cell, it may wait behind that.
    begin(follower, other)
    assert follower.due(2 * UNSENT_SECONDS) == []
    finish(follower, other, now=2 * UNSENT_SECONDS)
    assert follower.due(3 * UNSENT_SECONDS - 1) == []
    (lost,) = follower.due(3 * UNSENT_SECONDS)
    assert lost.events[0]["data"]["status"] == "aborted"
    follower.settled(lost)
    assert follower.open_runs == 0


def test_what_a_page_makes_up_of_a_run_does_not_fill_the_memory(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([{**page.start(run), "cell": {**CELL, "heading": "x" * 100_000}}], 0.0)
    assert follower.open_runs == 0


def test_a_run_that_was_queued_when_its_page_was_closed_has_a_start_when_it_starts_and_an_end(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.hand_over(handed(page, run), 0.0)
    follower.observe([page.left()], 1.0)
    assert follower.due(500.0) == []
    follower.message(KERNEL, message("status", {"execution_state": "busy"}, run), 600.0)
    follower.message(KERNEL, message("execute_input", {"code": "work()", "execution_count": 7}, run), 600.0)
    (begun,) = follower.due(600.0)
    start, closed = begun.events
    assert start == {
        "event_id": START,
        "type": "cell_execution_started",
        "schema_version": 1,
        "occurred_at": "2026-04-01T08:10:00.250Z",
        "session_id": SESSION,
        "seq": 2,
        "notebook": NOTEBOOK,
        "cell": CELL,
        "course": "intro",
        # The student is not there: it is no act of theirs.
        "data": {"execution_id": run, "queued": True},
    }
    assert (closed["type"], closed["seq"], begun.times) == ("session_ended", 3, [600.0, 600.0])
    follower.settled(begun)
    assert follower.due(650.0) == []
    finish(follower, run, 660.0, 60.0)
    (ended,) = follower.due(660.0)
    end, closed_again = ended.events
    assert (end["event_id"], end["seq"], end["occurred_at"]) == (end_id_of(START), 4, "2026-04-01T08:11:00.250Z")
    assert (end["data"]["status"], end["data"]["duration_ms"]) == ("ok", 60_000)
    # The monitor takes each end of the session for another event.
    assert len({closed["event_id"], closed_again["event_id"], START, end["event_id"]}) == 4
    follower.settled(ended)
    assert (follower.due(1000.0), follower.open_runs) == ([], 0)


def test_a_queued_run_that_the_kernel_skips_after_an_error_is_aborted_and_has_no_start(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.hand_over(handed(page, run), 0.0)
    follower.observe([page.left()], 1.0)
    follower.message(KERNEL, message("status", {"execution_state": "busy"}, run), 5.0)
    finish(follower, run, 5.0)
    (skipped,) = follower.due(5.0)
    assert [event["type"] for event in skipped.events] == ["cell_executed", "session_ended"]
    data = skipped.events[0]["data"]
    assert (data["status"], data["outputs"], "duration_ms" in data, "outputs_truncated" in data) == (
        "aborted",
        [],
        False,
        False,
    )
    # Its code is not among what the kernel publishes.
    assert (data["code"], data["code_truncated"]) == ("", True)


def test_an_error_that_the_author_expects_is_said_to_be_so(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run)], 0.0)
    follower.hand_over(handed(page, run, error_expected=True), 0.0)
    follower.observe([page.left()], 0.0)
    begin(follower, run)
    fail(follower, run)
    finish(follower, run, 28.0)
    data = follower.due(28.0)[0].events[0]["data"]
    assert (data["status"], data["error_expected"]) == ("error", True)


def test_queued_runs_of_a_kernel_that_is_restarted_end_with_it_once_their_page_is_gone(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.hand_over(handed(page, run), 0.0)
    follower.kernel_gone(KERNEL, 1.0)
    # The page that is still there reports it, or sends it to the new process.
    assert follower.due(100.0) == []
    follower.observe([page.left()], 100.0)
    (lost,) = follower.due(100.0 + PAGE_SECONDS)
    assert [event["type"] for event in lost.events] == ["cell_executed", "session_ended"]
    assert lost.events[0]["data"]["status"] == "aborted"


def test_queued_runs_of_a_browser_that_was_killed_end_with_their_kernel(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.hand_over(handed(page, run), 0.0)
    follower.kernel_gone(KERNEL, 1.0)
    assert follower.due(SILENT_SECONDS - 1) == []
    (lost,) = follower.due(SILENT_SECONDS)
    # No page ended the session, and nothing here does.
    assert [event["type"] for event in lost.events] == ["cell_executed"]


def test_a_queued_run_whose_kernel_still_executes_another_one_is_not_reported_as_lost(run: str) -> None:
    follower, page, other = RunFollower(), Page(), str(uuid.uuid4())
    follower.hand_over(handed(page, run), 0.0)
    follower.observe([page.left()], 0.0)
    follower.kernel_gone(KERNEL, 1.0)
    # Handed over before the message of the new process was read, to which the page had sent it.
    begin(follower, other)
    assert follower.due(1000.0) == []
    finish(follower, other, 1001.0)
    begin(follower, run)
    finish(follower, run, 1002.0)
    (ended,) = follower.due(1002.0)
    assert ended.events[1]["data"]["status"] == "ok"


def test_an_answer_of_the_kernel_to_another_page_ends_what_had_begun_and_not_what_was_sent_after_it(run: str) -> None:
    follower, page, second = RunFollower(), Page(), Page("6f1c4f0e-6f59-4f0e-9d5d-2d8f3a1b0c02")
    lost, queued = str(uuid.uuid4()), run
    follower.observe([page.start(lost)], 0.0)
    follower.hand_over(handed(page, queued), 20.0)
    # Answered at 15 s, reported at 25 s.
    follower.observe([second.event("kernel_connected", {})], 25.0, [10.0])
    assert [ended.execution_id for ended in follower.due(25.0 + PAGE_SECONDS)] == [lost]
    assert follower.due(25.0 + PAGE_SECONDS)[0].events[0]["data"]["status"] == "aborted"


SERVER = {"server_code": {"head": "work()", "bytes": 6}}


def by_server(follower: RunFollower, number: int, code: str, now: float, process: int = 77) -> str:
    """The server, or another program, asks the kernel to execute code."""
    request = f"a1b2c3-d4e5f6_{process}_{number}"
    follower.message(KERNEL, message("status", {"execution_state": "busy"}, request), now)
    follower.message(KERNEL, message("execute_input", {"code": code, "execution_count": number}, request), now)
    return request


def test_a_run_that_the_server_executes_is_the_request_of_this_server_with_its_code(run: str) -> None:
    follower, page = RunFollower(process=77), Page()
    follower.observe([page.start(run)], 100.0)
    # Another process on the same kernel, another cell, and the same cell an hour before.
    old = by_server(follower, 1, "work()", 1.0)
    finish(follower, old, 1.0)
    for request in (by_server(follower, 2, "work()", 100.0, process=78), by_server(follower, 3, "other()", 100.0)):
        finish(follower, request, 100.0)
    follower.hand_over(handed(page, run, **SERVER), 100.0)
    follower.observe([page.left()], 100.0)
    assert follower.due(150.0) == []
    request = by_server(follower, 4, "work()", 150.0)
    fail(follower, request)
    finish(follower, request, 160.0, 10.0)
    (ended,) = follower.due(160.0)
    data = ended.events[0]["data"]
    assert (data["execution_id"], data["status"], data["execution_count"]) == (run, "error", 4)


def test_a_run_of_the_server_that_its_page_reported_is_not_taken_for_the_next_one_of_that_code(run: str) -> None:
    follower, page, quick = RunFollower(process=77), Page(), str(uuid.uuid4())
    first = by_server(follower, 1, "work()", 0.0)
    finish(follower, first, 0.0)
    end = page.event(
        "cell_executed",
        {"execution_id": quick, "status": "ok", "code": "work()", "outputs": [], "execution_count": 1},
    )
    follower.observe([page.start(quick), end], 0.1)
    follower.hand_over(handed(page, run, **SERVER), 0.2)
    follower.observe([page.left()], 0.2)
    assert follower.due(1.0) == []
    second = by_server(follower, 2, "work()", 2.0)
    fail(follower, second)
    finish(follower, second, 3.0)
    assert [event["data"].get("status") for event in follower.due(3.0)[0].events] == [None, "error", None]


def test_what_the_server_drops_after_a_failure_is_aborted(run: str) -> None:
    follower, page, failing = RunFollower(process=77), Page(), str(uuid.uuid4())
    follower.hand_over(handed(page, failing, start_id=end_id_of(START), **SERVER), 0.0)
    follower.hand_over(handed(page, run, server_code={"head": "next()", "bytes": 6}), 0.0)
    follower.observe([page.left()], 0.0)
    request = by_server(follower, 1, "work()", 1.0)
    fail(follower, request)
    finish(follower, request, 2.0)
    (failed,) = follower.due(2.0)
    follower.settled(failed)
    (dropped,) = follower.due(2.0 + PAGE_SECONDS)
    assert (dropped.execution_id, dropped.events[0]["data"]["status"]) == (run, "aborted")


def test_what_a_thread_prints_after_the_end_of_its_run_keeps_no_kernel_busy(run: str) -> None:
    follower, page, waiting = RunFollower(), Page(), str(uuid.uuid4())
    follower.observe([page.start(run)], 0.0)
    begin(follower, run)
    finish(follower, run, 1.0)
    follower.observe([page.end(run)], 1.0)
    follower.message(KERNEL, message("stream", {"name": "stdout", "text": "late"}, run), 2.0)
    follower.hand_over(handed(page, waiting), 3.0)
    follower.observe([page.left()], 5.0)
    # The kernel answers another page: it has nothing left to do, and the request never reached it.
    second = Page("6f1c4f0e-6f59-4f0e-9d5d-2d8f3a1b0c02")
    follower.observe([second.event("kernel_connected", {})], 20.0)
    assert [lost.execution_id for lost in follower.due(50.0)] == [waiting]


def test_an_end_is_not_reported_again_when_its_start_arrives_once_more(run: str) -> None:
    follower, page = RunFollower(), Page()
    start = page.start(run)
    follower.observe([start, page.end(run)], 0.0)
    follower.observe([start], 1.0)
    follower.hand_over(handed(page, run), 1.0)
    assert follower.open_runs == 0


def test_a_wrong_use_of_a_magic_whose_error_is_in_the_reply_alone_is_not_ok(run: str) -> None:
    follower, page = RunFollower(), Page()
    follower.observe([page.start(run), page.left()], 0.0)
    follower.message(KERNEL, message("status", {"execution_state": "busy"}, run), 0.0)
    begin(follower, run, "%nosuchmagic")
    text = "UsageError: Line magic function `%nosuchmagic` not found.\n"
    follower.message(KERNEL, message("stream", {"name": "stderr", "text": text}, run), 0.0)
    finish(follower, run, 1.0)
    data = follower.due(1.0)[0].events[0]["data"]
    assert (data["status"], data["outputs"][0]["text"]) == ("aborted", text)
