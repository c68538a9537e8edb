"""What a student does in a real JupyterLab and a real Notebook 7 reaches the monitor as it happened."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from cell_monitor_testing.jupyter_page import Student, cell, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

API_KEY = "test-key"

# A kernel skips only the requests that have reached it before the error.
_BROKEN = "import time\n\ndef halve(n):\n    return n / 0\n\ntime.sleep(2)\nhalve(1)"
_SLOW = "import time\nprint('waiting', flush=True)\ntime.sleep(120)"


EXERCISES = notebook(
    cell("markdown", "# Week 1\n\nSome text.", "title"),
    cell("code", "print('こんにちは')\n40 + 2", "hello"),
    cell("markdown", "## Division", "division"),
    cell("code", _BROKEN, "broken", nbgrader={"grade_id": "ex-1", "grade": True}),
    cell("code", "after = 1", "after"),
    cell("code", _SLOW, "slow"),
    cell("code", "", "blank"),
    cell_monitor={"course": "linear-algebra"},
)


@pytest.fixture
def student(chromium: Any, jupyter: Callable[..., Any], api: Any, request: pytest.FixtureRequest) -> Iterator[Student]:
    application = getattr(request, "param", "lab")
    monitored = application != "unmonitored"
    flag = "--JupyterNotebookApp" if application == "notebook" else "--LabApp"
    server = jupyter(
        application,
        environment={"CELL_MONITOR_API_URL": api.url, "CELL_MONITOR_API_KEY": API_KEY} if monitored else {},
        options=[f"{flag}.expose_app_in_browser=True"],
    )
    Path(server.log.parent, "week1.ipynb").write_text(EXERCISES, encoding="utf-8")
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    student = Student(page, api)
    student.server = server  # type: ignore[attr-defined]
    address = f"{server.url}/{'notebooks' if application == 'notebook' else 'lab/tree'}/week1.ipynb"
    student.address = address  # type: ignore[attr-defined]
    page.goto(f"{address}?token={server.token}")
    page.locator(".jp-Notebook .jp-Cell").nth(6).wait_for()
    student.wait(lambda: page.evaluate("() => !!window.jupyterapp"), page.content)
    page.wait_for_function(
        """() => {
            const shell = window.jupyterapp.shell;
            const kernel = shell.currentWidget?.sessionContext?.session?.kernel;
            return kernel?.status === 'idle';
        }"""
    )
    yield student
    context.close()
    assert student.complaints == []


def test_a_lesson_in_jupyterlab(student: Student) -> None:
    page = student.page
    hello, broken = 1, 3

    # Opening.
    started = student.wait(lambda: student.events("session_started"))[0]
    opened = student.wait(lambda: student.events("notebook_opened"))[0]
    assert started["data"]["client"]["kernel_name"] == "python3"
    assert started["data"]["client"]["lab_version"].startswith("4.")
    assert started["notebook"]["path"] == "week1.ipynb"
    assert started["course"] == "linear-algebra"
    assert [found["source_id"] for found in opened["data"]["cells"]] == [
        "title",
        "hello",
        "division",
        "ex-1",
        "after",
        "slow",
        "blank",
    ]
    assert opened["data"]["cells"][4]["heading"] == "Division"
    assert page.locator(".jp-CellMonitor-status").inner_text() == "Monitor: recording"

    # A run that is well.
    student.run(hello)
    run = student.wait(lambda: student.runs("hello"))[0]
    assert run["data"]["status"] == "ok"
    assert run["data"]["code"] == "print('こんにちは')\n40 + 2"
    assert run["data"]["outputs"] == [
        {"type": "stream", "name": "stdout", "text": "こんにちは\n", "size": 6},
        {"type": "result", "mime": "text/plain", "text": "42", "size": 2},
    ]
    assert run["data"]["execution_count"] == 1
    assert 0 <= run["data"]["duration_ms"] < 60_000
    place = {"index": 1, "type": "code", "heading": "Week 1", "ordinal": 1}
    assert run["cell"] == {"id": "hello", "source_id": "hello", **place}
    (start,) = student.events("cell_execution_started")
    assert start["data"]["execution_id"] == run["data"]["execution_id"]

    # A mistake.
    student.run(broken)
    run = student.wait(lambda: student.runs("ex-1"))[0]
    assert run["data"]["status"] == "error"
    assert run["data"]["error"]["name"] == "ZeroDivisionError"
    assert run["data"]["error"]["value"] == "division by zero"
    assert "halve(1)" in run["data"]["error"]["traceback"]
    assert "\x1b" not in run["data"]["error"]["traceback"]
    assert run["cell"]["id"] == "broken"

    # The same cell, quickly, five times: one event each.
    student.select(hello)
    for _ in range(5):
        page.keyboard.press("Control+Enter")
    student.wait(lambda: len(student.runs("hello")) == 6, lambda: len(student.runs("hello")))
    assert len({run["data"]["execution_id"] for run in student.runs("hello")}) == 6
    assert [run["data"]["execution_count"] for run in student.runs("hello")] == [1, 3, 4, 5, 6, 7]

    # All cells: what a mistake keeps from running is aborted, not well and not forgotten.
    student.command("notebook:run-all-cells")
    (skipped,) = student.wait(lambda: student.runs("after"))
    assert skipped["data"]["status"] == "aborted"
    assert "duration_ms" not in skipped["data"]
    slow = student.wait(lambda: student.runs("slow"))
    assert slow[0]["data"]["status"] == "aborted"
    assert student.runs("blank") == []

    # An interrupt.
    student.run(5)
    expect(student.outputs(5)).to_contain_text("waiting")
    student.command("notebook:interrupt-kernel")
    student.wait(lambda: len(student.runs("slow")) == 2)
    interrupted = student.runs("slow")[1]["data"]
    assert interrupted["status"] == "aborted"
    assert interrupted["error"]["name"] == "KeyboardInterrupt"
    assert interrupted["outputs"][0]["text"] == "waiting\n"

    # A restart while a cell runs.
    begun = len(student.events("cell_execution_started"))
    student.run(5)
    student.wait(lambda: len(student.events("cell_execution_started")) > begun)
    student.command("kernelmenu:restart")
    page.locator(".jp-Dialog .jp-mod-accept").click()
    student.wait(lambda: len(student.runs("slow")) == 3)
    assert student.runs("slow")[2]["data"]["status"] == "aborted"
    (restarted,) = student.wait(lambda: student.events("kernel_restarted"))
    assert restarted["data"] == {"reason": "user"}
    # And the restarted kernel is listened to.
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
    )
    student.run(hello)
    student.wait(lambda: len(student.runs("hello")) == 8, lambda: len(student.runs("hello")))
    assert student.runs("hello")[-1]["data"]["status"] == "ok"

    # Typing and pasting: a few events, never one a keystroke.
    student.cell(6).locator(".cm-content").click()
    page.keyboard.type("typed = 'a line of some length'", delay=5)
    edited = student.wait(lambda: student.events("cell_edited"))
    assert edited[-1]["cell"]["source_id"] == "blank"
    student.wait(lambda: student.events("cell_edited")[-1]["data"]["length"] == 31)
    assert len(student.events("cell_edited")) <= 3
    student.wait(lambda: [event for event in student.events("cell_selected") if event["cell"]["source_id"] == "blank"])
    page.keyboard.press("Control+s")
    saved = student.wait(lambda: student.events("notebook_saved"))
    assert saved[-1]["data"]["manual"] is True

    # Adding and removing a cell: an event each, and none for the cells that the notebook was loaded with.
    assert student.events("cell_added", "cell_removed") == []
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    (added,) = student.wait(lambda: student.events("cell_added"))
    assert (added["cell"]["index"], added["data"]) == (7, {"count": 1})
    page.keyboard.press("d")
    page.keyboard.press("d")
    (removed,) = student.wait(lambda: student.events("cell_removed"))
    assert removed["cell"] == added["cell"]
    assert removed["data"] == {"count": 1, "source_ids": [added["cell"]["source_id"]]}
    student.cell(6).locator(".cm-content").click()

    # A kernel that dies.
    page.keyboard.press("Control+a")
    page.keyboard.type("import os; os._exit(1)", delay=2)
    page.keyboard.press("Control+Enter")
    student.wait(lambda: len(student.events("kernel_restarted")) == 2)
    assert student.events("kernel_restarted")[1]["data"] == {"reason": "auto", "running": True}
    (killed,) = student.wait(lambda: student.runs("blank"))
    assert killed["data"]["status"] == "aborted"

    # Rename, then close.
    page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.context.rename('a new name.ipynb')",
    )
    page.keyboard.press("Escape")
    (renamed,) = student.wait(lambda: student.events("notebook_renamed"))
    assert renamed["notebook"] == opened["notebook"] | {"path": "a new name.ipynb", "title": "a new name"}
    student.command("application:close")
    # JupyterLab asks whether to save, and may say that the kernel died.
    button = page.locator(".jp-Dialog .jp-mod-accept")

    def closings() -> list[dict[str, Any]]:
        if button.count():
            button.last.click()
        return student.events("notebook_closed")

    (closed,) = student.wait(closings)
    assert closed["notebook"]["path"] == "a new name.ipynb"
    assert closed["notebook"]["id"] == opened["notebook"]["id"]
    (ended,) = student.wait(lambda: student.events("session_ended"))
    assert ended["data"] == {"reason": "closed", "ends_runs": False}

    # Every event of the session is here, once, numbered without a gap.
    session = [event for event in student.events() if event["session_id"] == started["session_id"]]
    # The id of a run's end is made from that of its start, so ids are not in the order of the numbers.
    assert sorted(event["seq"] for event in session) == list(range(1, len(session) + 1))
    executed = [event["data"]["execution_id"] for event in student.events("cell_executed")]
    assert len(executed) == len(set(executed))
    started_runs = {event["data"]["execution_id"] for event in student.events("cell_execution_started")}
    assert started_runs <= set(executed)


def test_asking_for_help_until_somebody_is_on_it(student: Student) -> None:
    page, api = student.page, student.api
    student.select(3)
    button = page.locator(".jp-CellMonitor-helpItem")
    expect(button).to_contain_text("Ask for help")

    # Not yet: the dialog can be left.
    button.get_by_role("button").click()
    page.locator(".jp-Dialog").get_by_role("button", name="Cancel").click()
    assert student.events("help_requested") == []

    button.get_by_role("button").click()
    page.get_by_label("What is the problem?").fill("  Why is it <b>zero</b>?  ")
    page.locator(".jp-Dialog").get_by_role("button", name="Ask for help").click()
    (asked,) = student.wait(lambda: student.events("help_requested"))
    assert asked["data"] == {"message": "Why is it <b>zero</b>?"}
    assert asked["cell"]["source_id"] == "ex-1"

    notice = {"kind": "help", "request_id": asked["event_id"], "status": "open", "by": None, "at": asked["occurred_at"]}
    api.notices = [notice]
    expect(button).to_contain_text("Help is asked for")
    api.notices = [{**notice, "status": "claimed", "by": "Prof. X"}]
    # A name is between the marks that isolate its direction.
    claimed = re.compile("\u2068Prof. X\u2069 is on it")
    expect(button).to_contain_text(claimed)
    expect(page.locator(".jp-toast-message").get_by_text(claimed)).to_be_visible()
    # For those who do not see the button.
    expect(page.locator(".jp-CellMonitor-announcement")).to_contain_text("Prof. X\u2069 has seen your request")

    # A reload does not forget it.
    page.goto(student.address)  # type: ignore[attr-defined]
    expect(page.locator(".jp-CellMonitor-helpItem")).to_contain_text(claimed)
    student.wait(lambda: [event for event in student.events("session_ended") if event["data"]["reason"] == "hidden"])

    # Taken back by the student.
    button.get_by_role("button").click()
    page.locator(".jp-Dialog").get_by_role("button", name="I no longer need help").click()
    (cancelled,) = student.wait(lambda: student.events("help_cancelled"))
    assert cancelled["data"] == {"request_id": asked["event_id"]}
    api.notices = [{**notice, "status": "cancelled", "by": None}]
    expect(button).to_contain_text("Ask for help")


def test_a_reload_during_an_outage_hides_no_request_for_help(student: Student) -> None:
    page, api = student.page, student.api
    button = page.locator(".jp-CellMonitor-helpItem")
    student.select(3)
    button.get_by_role("button").click()
    page.locator(".jp-Dialog").get_by_role("button", name="Ask for help").click()
    (asked,) = student.wait(lambda: student.events("help_requested"))
    notice = {"kind": "help", "request_id": asked["event_id"], "status": "open", "by": None, "at": asked["occurred_at"]}
    api.notices = [notice]
    expect(button).to_contain_text("Help is asked for")

    api.stop()
    page.goto(student.address)  # type: ignore[attr-defined]
    expect(button).to_contain_text("Help is asked for")
    button.get_by_role("button").click()
    page.locator(".jp-Dialog").get_by_role("button", name="I no longer need help").click()
    expect(button).to_contain_text("not taken back yet")
    page.goto(student.address)  # type: ignore[attr-defined]
    expect(button).to_contain_text("not taken back yet")

    api.start()
    (cancelled,) = student.wait(lambda: student.events("help_cancelled"))
    assert cancelled["data"] == {"request_id": asked["event_id"]}
    assert cancelled["notebook"]["id"] == asked["notebook"]["id"]
    api.notices = [{**notice, "status": "cancelled"}]
    expect(button).to_contain_text("Ask for help", timeout=90_000)


def test_an_unavailable_monitor_changes_only_the_status_bar(student: Student) -> None:
    page, api = student.page, student.api
    status = page.locator(".jp-CellMonitor-status")
    expect(status).to_have_text("Monitor: recording")
    api.stop()
    student.run(1)
    expect(status).to_have_text("Monitor: saved locally")
    expect(student.cell(1)).to_contain_text("42")
    assert page.locator(".jp-Dialog").count() == 0

    # Even without a Jupyter server the page keeps what happened, also over a reload.
    page.route("**/cell-monitor**", lambda route: route.abort())
    student.run(3)
    # The kernel's reply has come.
    expect(student.cell(3).locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"))
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
    )
    page.unroute("**/cell-monitor**")
    page.goto(student.address)  # type: ignore[attr-defined]
    api.start()
    student.wait(lambda: student.runs("ex-1") and student.runs("hello"))
    expect(status).to_have_text("Monitor: recording", timeout=90_000)
    student.complaints.clear()  # the browser itself notes requests that were cut


# In the task after the one in which the kernel's idle status arrived, before any timer, the page hangs.
_HANG_AFTER_THE_RUN = """() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
        console.log('the page hangs');
        for (;;) {}
    };
    let busy = false;
    window.jupyterapp.shell.currentWidget.sessionContext.statusChanged.connect((_, status) => {
        if (busy && status === 'idle') {
            port2.postMessage(null);
        }
        busy ||= status === 'busy';
    });
}"""


def test_a_run_that_the_student_saw_survives_the_death_of_the_pages_process(student: Student, chromium: Any) -> None:
    page, api = student.page, student.api
    student.wait(lambda: student.events("notebook_opened"))
    # No request of the page leaves: what arrives later was in the browser's store when the process died.
    page.route("**/cell-monitor", lambda _: None)
    page.evaluate(_HANG_AFTER_THE_RUN)
    with page.expect_console_message(lambda message: message.text == "the page hangs"):
        student.run(3)
    browser = chromium.new_browser_cdp_session()
    renderers = [
        process["id"]
        for process in browser.send("SystemInfo.getProcessInfo")["processInfo"]
        if process["type"] == "renderer"
    ]
    with page.expect_event("crash"):
        for pid in renderers:
            os.kill(pid, signal.SIGKILL)
    assert student.runs("ex-1") == []

    reopened = page.context.new_page()
    reopened.goto(student.address)  # type: ignore[attr-defined]
    student.page = reopened
    (run,) = student.wait(lambda: student.runs("ex-1"))
    assert run["data"]["error"]["name"] == "ZeroDivisionError"
    # A later run empties the queue, and each was sent once.
    reopened.locator(".jp-Notebook .jp-Cell").nth(6).wait_for()
    student.run(1)
    student.wait(lambda: student.runs("hello"))
    sent = [event["event_id"] for seen in api.requests for event in seen.events if event["type"] == "cell_executed"]
    assert len(sent) == len(set(sent)) == 2


# The computer's clock as its owner sets it: the monotonic one goes on.
_CLOCK = """() => {
    const real = Date.now.bind(Date);
    window.setClock = hours => { Date.now = () => real() + hours * 3600 * 1000; };
}"""


def test_a_clock_that_is_set_during_a_lesson_delays_nothing_and_makes_no_run_old(student: Student) -> None:
    page, api = student.page, student.api
    student.wait(lambda: student.events("notebook_opened"))
    page.evaluate(_CLOCK)
    for hours, index, source_id in ((10, 3, "ex-1"), (-10, 1, "hello"), (24 * 2000, 4, "after")):
        page.evaluate("hours => window.setClock(hours)", hours)
        student.run(index)
        (run,) = student.wait(lambda source_id=source_id: student.runs(source_id))
        (seen,) = [seen for seen in api.requests if run["event_id"] in {event["event_id"] for event in seen.events}]
        waited_ms = dict(zip([event["event_id"] for event in seen.events], seen.waited_ms, strict=True))
        # It left soon after it had ended, whatever the clock says; a timer set for the clock of before would take hours.
        assert 0 <= waited_ms[run["event_id"]] < 60_000
        # The clock is sent as it is: only its distances count.
        off = datetime.fromisoformat(seen.sent_at) - datetime.now(UTC)
        assert abs(off - timedelta(hours=hours)) < timedelta(minutes=5)
    numbers = [event["seq"] for event in sorted(student.events(), key=lambda event: event["seq"])]
    student.wait(lambda: len(student.events()) == max(event["seq"] for event in student.events()))
    assert numbers == sorted(set(numbers))
    assert student.complaints == []


def test_nothing_is_recorded_while_paused_except_a_call_for_help(student: Student) -> None:
    page = student.page
    status = page.locator(".jp-CellMonitor-status")
    student.wait(lambda: student.events("notebook_opened"))
    status.click()
    page.locator(".jp-Dialog").get_by_role("button", name="Pause recording").click()
    expect(status).to_have_text("Monitor: paused")
    student.wait(lambda: student.events("session_ended"))
    before = len(student.events())
    student.run(1)
    expect(student.cell(1)).to_contain_text("42")
    page.locator(".jp-CellMonitor-helpItem").get_by_role("button").click()
    page.locator(".jp-Dialog").get_by_role("button", name="Ask for help").click()
    student.wait(lambda: student.events("help_requested"))
    assert len(student.events()) == before + 1
    student.command("cell-monitor:toggle-pause")
    expect(status).to_have_text("Monitor: recording")
    student.run(1)
    student.wait(lambda: len(student.runs("hello")) == 1)
    assert len(student.events("session_started")) == 2


@pytest.mark.parametrize("student", ["notebook"], indirect=True)
def test_a_lesson_in_notebook_7(student: Student) -> None:
    page = student.page
    student.wait(lambda: student.events("notebook_opened"))
    student.run(1)
    student.run(3)
    (run,) = student.wait(lambda: student.runs("hello"))
    assert run["data"]["status"] == "ok"
    assert run["data"]["outputs"][1]["text"] == "42"
    (run,) = student.wait(lambda: student.runs("ex-1"))
    assert run["data"]["error"]["name"] == "ZeroDivisionError"
    page.locator(".jp-CellMonitor-helpItem").get_by_role("button").click()
    page.locator(".jp-Dialog").get_by_role("button", name="Ask for help").click()
    (asked,) = student.wait(lambda: student.events("help_requested"))
    assert asked["data"] == {}
    student.api.notices = [
        {
            "kind": "help",
            "request_id": asked["event_id"],
            "status": "claimed",
            "by": "先生",
            "at": "2026-04-01T09:00:00Z",
        }
    ]
    expect(page.locator(".jp-CellMonitor-helpItem")).to_contain_text("先生\u2069 is on it")


@pytest.mark.parametrize("student", ["unmonitored"], indirect=True)
def test_without_a_monitor_jupyterlab_is_as_if_the_extension_were_not_there(student: Student) -> None:
    page = student.page
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url) if "/cell-monitor" in request.url else None)
    expect(page.locator(".jp-CellMonitor-status")).to_have_text("Monitor: join a class")
    expect(page.locator(".jp-CellMonitor-help")).to_have_count(0)
    student.run(1)
    expect(student.cell(1)).to_contain_text("42")
    student.run(3)
    expect(student.cell(3)).to_contain_text("ZeroDivisionError")
    page.wait_for_timeout(4000)
    assert requests == []
    assert page.locator(".jp-Dialog").count() == 0
