"""Hazard: JupyterLab says that it records while everything is refused; or a request's state and end look like no request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from cell_monitor_testing.jupyter_page import Student, cell, notebook

WITHIN_MS = 60_000
"""A generous time-out for a busy machine."""

expect.set_options(timeout=WITHIN_MS)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

CELLS = (cell("code", "1 + 1", "good"), cell("code", "int('x')", "bad"))


@pytest.fixture
def open_student(chromium: Any, jupyter: Callable[..., Any], api: Any) -> Iterator[Callable[..., Student]]:
    """Open the first notebook of a student's own Jupyter server, in JupyterLab or Notebook 7."""
    opened: list[Student] = []

    def open_one(application: str = "lab", *, width: int = 1280, environment: dict[str, str] | None = None) -> Student:
        flag = "--JupyterNotebookApp" if application == "notebook" else "--LabApp"
        server = jupyter(
            application,
            environment={"CELL_MONITOR_API_URL": api.url, "CELL_MONITOR_API_KEY": "test-key", **(environment or {})},
            options=[f"{flag}.expose_app_in_browser=True"],
        )
        (server.log.parent / "week1.ipynb").write_text(notebook(*CELLS), "utf-8")
        algebra = notebook(*CELLS, cell_monitor={"course": "algebra"})
        (server.log.parent / "of-a-course.ipynb").write_text(algebra, "utf-8")
        page = chromium.new_context(viewport={"width": width, "height": 900}).new_page()
        page.set_default_timeout(WITHIN_MS)
        student = Student(page, api)
        opened.append(student)
        student.server = server  # type: ignore[attr-defined]
        path = "notebooks" if application == "notebook" else "lab/tree"
        page.goto(f"{server.url}/{path}/week1.ipynb?token={server.token}")
        page.locator(".jp-Notebook .jp-Cell").nth(1).wait_for()
        return student

    yield open_one
    for student in opened:
        student.page.context.close()
        assert student.complaints == []


def wait_for_kernel(student: Student) -> None:
    """Wait until the kernel of the notebook in front is idle."""
    student.page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Save a screenshot in ``build/screenshots`` for review."""
    folder = Path(request.config.rootpath) / "build" / "screenshots"

    def taken(page: Page, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")

    return taken


def status(page: Page) -> Locator:
    return page.locator(".jp-CellMonitor-status")


def test_a_student_in_two_courses_sees_that_a_notebook_of_none_is_not_recorded(
    open_student: Callable[..., Student], api: Any, screenshot: Callable[[Page, str], None]
) -> None:
    api.status_of = lambda event: "accepted" if event.get("course") == "algebra" else "rejected"
    student = open_student()
    page = student.page
    expect(status(page)).to_have_text("Not recorded: which course?")
    toast = page.locator(".jp-toast-message", has_text="Not recorded: which course?")
    expect(toast).to_have_count(1)
    screenshot(page, "not-recorded-lab")

    # What to do about it, in the dialog; and never what is only so when recording.
    status(page).click()
    dialog = page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("Enter the course in Settings → Cell Monitor → Course, or tell your instructor.")
    record = dialog.get_by_role("list", name="The latest events").get_by_role("listitem")
    expect(
        record.filter(has_text="The recording of this notebook began").filter(has_text="not recorded")
    ).to_be_visible()
    expect(dialog).not_to_contain_text("Your instructors see which cells you run")
    screenshot(page, "not-recorded-dialog")
    dialog.get_by_role("button", name="Close").click()

    # The help dialog warns before the student relies on it.
    page.get_by_role("button", name="Ask for help").click()
    expect(dialog).to_contain_text("may not reach your instructors")
    dialog.get_by_role("button", name="Cancel").click()

    # The operator of the server sees it, with what to do.
    with student.server.client() as client:  # type: ignore[attr-defined]
        reported = client.get("/cell-monitor/status").json()
    assert reported["state"] == "refused"
    assert reported["refused"]["course_required"]["events"] >= 1
    assert "CELL_MONITOR_COURSE" in reported["refused"]["course_required"]["sentence"]
    assert "(course_required)" in student.server.log.read_text("utf-8")  # type: ignore[attr-defined]

    # Another notebook, which names a course, is recorded; the state is that of the notebook in front.
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:open', {path: 'of-a-course.ipynb'})")
    expect(status(page)).to_have_text("Monitor: recording")

    # What the student can do: the setting. The next event is recorded.
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:open', {path: 'week1.ipynb'})")
    expect(status(page)).to_have_text("Not recorded: which course?")
    with student.server.client() as client:  # type: ignore[attr-defined]
        client.put(
            "/lab/api/settings/jupyterlab-cell-monitor:plugin", json={"raw": '{"course": "algebra"}'}
        ).raise_for_status()
    page.reload()
    page.locator(".jp-Notebook .jp-Cell").nth(1).wait_for()
    expect(status(page)).to_have_text("Monitor: recording")


def test_recording_resumes_with_the_next_event_after_the_roster_was_corrected(
    open_student: Callable[..., Student], api: Any
) -> None:
    roster = {"member": False}
    api.reason_of = lambda _: "no_course"
    api.status_of = lambda _: "accepted" if roster["member"] else "rejected"
    student = open_student()
    page = student.page
    expect(status(page)).to_have_text("Not recorded: you are in no course")
    wait_for_kernel(student)
    roster["member"] = True
    student.run(0)
    expect(status(page)).to_have_text("Monitor: recording")


def test_notebook_7_notifies_the_student_for_it_has_no_status_bar(
    open_student: Callable[..., Student], api: Any, screenshot: Callable[[Page, str], None]
) -> None:
    api.reason_of = lambda _: "course_forbidden"
    api.status_of = lambda _: "rejected"
    student = open_student("notebook")
    page = student.page
    expect(page.locator(".jp-toast-message", has_text="you are not in this course")).to_have_count(1)
    screenshot(page, "not-recorded-notebook-7")


@pytest.mark.parametrize(
    ("environment", "label", "sentence"),
    [
        ({"CELL_MONITOR_API_KEY": "a revoked key"}, "Monitor: saved, not sent", "set up wrongly"),
        ({"CELL_MONITOR_API_URL": "monitor.example"}, "Monitor: not set up", "not set up completely"),
    ],
    ids=["key refused", "no address"],
)
def test_a_connection_that_is_set_up_wrongly_does_not_look_like_recording_or_an_outage(
    open_student: Callable[..., Student], environment: dict[str, str], label: str, sentence: str
) -> None:
    student = open_student(environment=environment)
    page = student.page
    expect(status(page)).to_have_text(label)
    toast = page.locator(".jp-toast-message", has_text=label)
    expect(toast).to_have_count(1)
    # The way from the notification to what to do.
    page.get_by_role("button", name="Details").click()
    expect(page.locator(".jp-Dialog")).to_contain_text(sentence)
    expect(page.locator(".jp-Dialog")).to_contain_text("Tell your instructor or the person who runs your JupyterLab.")


def _ask(page: Page) -> None:
    page.get_by_role("button", name="Ask for help").click()
    page.locator(".jp-Dialog").get_by_role("button", name="Ask for help").click()


def _asked(student: Student) -> dict[str, Any]:
    event: dict[str, Any] = student.wait(lambda: student.events("help_requested"))[-1]
    return event


@pytest.mark.parametrize("application", ["lab", "notebook"])
def test_each_state_of_a_help_request_looks_and_reads_different(
    open_student: Callable[..., Student], api: Any, screenshot: Callable[[Page, str], None], application: str
) -> None:
    student = open_student(application)
    page = student.page
    button = page.locator(".jp-CellMonitor-help")
    looks: dict[str, tuple[str, str]] = {}

    def note(phase: str, label: str, *, pressed: bool) -> None:
        expect(button).to_contain_text(label)
        expect(button).to_have_attribute("aria-pressed", "true" if pressed else "false")
        frame = button.evaluate("node => getComputedStyle(node).outline")
        looks[phase] = (button.locator("svg").first.inner_html(), frame)
        screenshot(page, f"help-{application}-{phase}")

    note("idle", "Ask for help", pressed=False)
    _ask(page)
    event = _asked(student)
    notice = {"kind": "help", "request_id": event["event_id"], "by": None, "at": event["occurred_at"]}
    api.notices = [{**notice, "status": "open"}]
    note("open", "Help is asked for", pressed=True)
    # A name that would turn the text around it, or hide.
    api.notices = [{**notice, "status": "claimed", "by": "\u202eAnna\u200b Ito"}]
    note("claimed", "\u2068Anna Ito\u2069 is on it", pressed=True)
    api.notices = [{**notice, "status": "resolved", "by": "Anna Ito"}]
    note("resolved", "Help: resolved", pressed=False)
    expect(page.locator(".jp-CellMonitor-announcement")).to_contain_text("marked your help request as resolved")
    expect(page.locator(".jp-toast-message", has_text="marked your help request as resolved")).to_have_count(1)
    assert len({icon for icon, _ in looks.values()}) == 4
    assert len({frame for _, frame in looks.values()}) >= 3
    # Shown once: not in the next page, although the monitor lists it for ten minutes.
    expect(button).to_contain_text("Ask for help")
    page.reload()
    expect(button).to_contain_text("Ask for help", timeout=60_000)
    student.run(0)
    expect(page.locator(".jp-toast-message", has_text="marked your help request as resolved")).to_have_count(0)


def test_a_request_that_ended_while_no_page_was_open_is_shown_on_return(
    open_student: Callable[..., Student], api: Any
) -> None:
    notice = {
        "kind": "help",
        "request_id": "0192f0a0-0000-7000-8000-000000000001",
        "by": None,
        "at": "2026-04-01T09:00:00Z",
    }
    api.notices = [{**notice, "status": "expired"}]
    student = open_student()
    page = student.page
    expect(page.locator(".jp-CellMonitor-help")).to_contain_text("Help: closed")
    expect(page.locator(".jp-toast-message", has_text="closed because you had left")).to_have_count(1)


def test_in_a_narrow_window_the_help_button_is_reachable_and_keeps_its_state(
    open_student: Callable[..., Student], api: Any, screenshot: Callable[[Page, str], None]
) -> None:
    student = open_student(width=520)
    page = student.page
    page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
    button = page.locator(".jp-CellMonitor-help")
    opener = page.locator(".jp-NotebookPanel-toolbar .jp-Toolbar-responsive-opener")
    if not button.is_visible():
        opener.click()
    button.click()
    page.locator(".jp-Dialog").get_by_role("button", name="Ask for help").click()
    event = _asked(student)
    name = "A name that is as long as a name may be and longer than any toolbar"
    api.notices = [
        {"kind": "help", "request_id": event["event_id"], "status": "claimed", "by": name, "at": event["occurred_at"]}
    ]
    if not button.is_visible():
        opener.click()
    expect(button).to_contain_text("A name that is as long")
    box = button.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 520
    screenshot(page, "help-narrow")


def test_the_record_is_sentences_and_the_data_behind_them(
    open_student: Callable[..., Student], api: Any, screenshot: Callable[[Page, str], None]
) -> None:
    student = open_student()
    page = student.page
    wait_for_kernel(student)
    student.run(1)
    student.wait(lambda: len(student.runs("bad")) == 1)
    student.run(0)
    student.wait(lambda: len(student.runs("good")) == 1)
    status(page).click()
    dialog = page.locator(".jp-Dialog")
    record = dialog.get_by_role("list", name="The latest events")
    expect(record.get_by_role("listitem").filter(has_text="You ran cell 2: \u2068ValueError\u2069")).to_have_count(1)
    expect(record.get_by_role("listitem").filter(has_text="You ran cell 1: no error")).to_have_count(1)
    expect(record.get_by_role("listitem").filter(has_text="week1.ipynb").first).to_be_visible()
    raw = dialog.locator("pre")
    expect(raw).to_be_hidden()
    screenshot(page, "record-dialog")
    dialog.get_by_text("The same as it is sent").click()
    expect(raw).to_be_visible()
    expect(raw).to_contain_text('"type": "cell_executed"')


def _take_back(page: Page) -> None:
    page.locator(".jp-CellMonitor-help:visible").click()
    page.locator(".jp-Dialog").get_by_role("button", name="I no longer need help").click()


@pytest.mark.parametrize("unreachable", ["monitor", "jupyter"])
def test_a_request_of_another_course_is_taken_back_and_looks_so_only_when_the_monitor_reports_it(
    open_student: Callable[..., Student], api: Any, screenshot: Callable[[Page, str], None], unreachable: str
) -> None:
    # Known from the monitor only, as after a reload; the notebook here names a course in which the student is not.
    request_id = "0192f0a0-0000-7000-8000-000000000001"
    notice = {
        "kind": "help",
        "request_id": request_id,
        "course": "programming-1",
        "notebook": {"id": "nb-other", "path": "elsewhere/week9.ipynb", "title": None},
        "status": "open",
        "by": None,
        "at": "2026-04-01T09:00:00Z",
    }
    api.notices = [notice]
    api.status_of = lambda event: "rejected" if event.get("course") == "algebra" else "accepted"
    api.reason_of = lambda _: "course_forbidden"
    student = open_student()
    page = student.page
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:open', {path: 'of-a-course.ipynb'})")
    expect(status(page)).to_have_text("Not recorded: you are not in this course")
    button = page.locator(".jp-CellMonitor-help:visible")
    expect(button).to_contain_text("Help is asked for")

    # Refused: it does not look done, and a message reports it.
    api.status_of = lambda event: "rejected" if event["type"] == "help_cancelled" else "accepted"
    _take_back(page)
    toast = page.locator(".jp-toast-message", has_text="was not taken back")
    expect(toast).to_have_count(1)
    expect(toast).to_contain_text("Try again, or tell them in person")
    expect(button).to_contain_text("Help is asked for")
    screenshot(page, "help-not-taken-back")

    # Nobody can be reached: it is said that it waits, until the monitor has it.
    api.status_of = lambda event: "rejected" if event.get("course") == "algebra" else "accepted"
    if unreachable == "monitor":
        api.stop()
    else:
        page.route("**/cell-monitor**", lambda route: route.abort())
    _take_back(page)
    expect(button).to_contain_text("Help: not taken back yet")
    expect(button).to_have_attribute("title", re.compile("until then your instructors may see it"))
    screenshot(page, "help-not-taken-back-yet")
    api.notices = [{**notice, "status": "cancelled"}]
    api.start()
    page.unroute("**/cell-monitor**")
    expect(button).to_contain_text("Ask for help")
    (cancelled,) = student.wait(lambda: student.events("help_cancelled"))
    assert cancelled["data"] == {"request_id": request_id}
    assert cancelled["course"] == "programming-1"
    assert cancelled["notebook"]["path"] == "elsewhere/week9.ipynb"
    student.complaints.clear()  # the browser itself notes requests that were cut
