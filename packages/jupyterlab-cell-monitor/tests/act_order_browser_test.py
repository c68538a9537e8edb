"""Hazard: an act that is reported late brings the student back to the cell or the notebook that was left meanwhile."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from cell_monitor_core.derivation.facts import read_event
from cell_monitor_core.derivation.records import fold_all
from cell_monitor_core.derivation.shown_state import student_state
from cell_monitor_testing.jupyter_page import Student, cell, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

_PLACES = ("cell_selected", "cell_edited", "cell_added", "cell_execution_started", "help_requested")


@pytest.fixture
def student(chromium: Any, jupyter: Callable[..., Any], api: Any) -> Iterator[Student]:
    """A student with a notebook of three cells in front."""
    server = jupyter(
        "lab",
        environment={"CELL_MONITOR_API_URL": api.url, "CELL_MONITOR_API_KEY": "test-key"},
        options=["--LabApp.expose_app_in_browser=True"],
    )
    for name in ("week1", "week2"):
        cells = (cell("code", f"{letter} = 1", f"{name}-{letter}") for letter in "abc")
        (server.log.parent / f"{name}.ipynb").write_text(notebook(*cells), encoding="utf-8")
    page = chromium.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    page.set_default_timeout(60_000)
    student = Student(page, api)
    page.goto(f"{server.url}/lab/tree/week1.ipynb?token={server.token}")
    ready(student, "week1.ipynb")
    student.wait(lambda: student.events("notebook_opened"))
    yield student
    page.context.close()
    assert student.complaints == []


def ready(student: Student, path: str) -> None:
    student.page.wait_for_function(
        """path => {
            const widget = window.jupyterapp?.shell.currentWidget;
            return widget?.context?.path === path && widget.sessionContext?.session?.kernel?.status === 'idle';
        }""",
        arg=path,
    )


def type_in(student: Student, index: int) -> None:
    """Type in a cell of the notebook in front."""
    student.cell(index).locator(".cm-content").click()
    student.page.keyboard.press("End")
    student.page.keyboard.type("2")


def acts(student: Student) -> list[tuple[str, str]]:
    """The acts that say where the student is, in the order of their numbers: each with its cell."""
    found = sorted(student.events(*_PLACES), key=lambda event: (event["session_id"], event["seq"]))
    return [(event["type"], event["cell"]["id"]) for event in found]


def made_at(student: Student, event: dict[str, Any]) -> datetime:
    """When an event was made, by what its request says of its wait."""
    for seen in student.api.requests:  # type: ignore[attr-defined]
        # A request without events says nothing of waits.
        for sent, waited_ms in zip(seen.events, seen.waited_ms or [], strict=True):
            if sent["event_id"] == event["event_id"]:
                return datetime.fromisoformat(seen.sent_at) - timedelta(milliseconds=waited_ms)
    raise AssertionError(f"not sent: {event}")


def test_in_one_notebook_what_the_student_did_last_is_the_last_event(student: Student) -> None:
    page = student.page
    type_in(student, 0)
    student.select(1)
    student.wait(lambda: ("cell_selected", "week1-b") in acts(student))
    assert acts(student)[-2:] == [("cell_edited", "week1-a"), ("cell_selected", "week1-b")]

    type_in(student, 1)
    student.run(2)
    student.wait(lambda: ("cell_selected", "week1-c") in acts(student))
    edited, started = ("cell_edited", "week1-b"), ("cell_execution_started", "week1-c")
    assert acts(student).index(edited) < acts(student).index(started)
    assert edited not in acts(student)[acts(student).index(started) :]

    type_in(student, 2)
    page.locator(".jp-CellMonitor-helpItem").get_by_role("button").click()
    page.locator(".jp-Dialog").get_by_role("button", name="Ask for help").click()
    student.wait(lambda: student.events("help_requested"))
    assert acts(student)[-2:] == [("cell_edited", "week1-c"), ("help_requested", "week1-c")]

    # A cell that is added, and the run of another one.
    student.select(2)
    page.keyboard.press("b")
    expect(page.locator(".jp-Notebook .jp-Cell")).to_have_count(4)
    before = len(student.events("cell_execution_started"))
    student.run(0)
    student.wait(lambda: len(student.events("cell_execution_started")) > before)
    (added,) = student.wait(lambda: student.events("cell_added"))
    (start,) = student.events("cell_execution_started")[before:]
    assert added["seq"] < start["seq"]


def test_what_was_typed_before_the_student_went_to_another_notebook_is_earlier(student: Student) -> None:
    page = student.page
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:open', {path: 'week2.ipynb'})")
    ready(student, "week2.ipynb")
    page.locator(".lm-TabBar-tab", has_text="week1.ipynb").click()
    ready(student, "week1.ipynb")
    type_in(student, 0)
    page.locator(".lm-TabBar-tab", has_text="week2.ipynb").click()
    ready(student, "week2.ipynb")
    student.wait(lambda: student.events("cell_edited"))
    student.wait(
        lambda: [event for event in student.events("cell_selected") if event["notebook"]["path"] == "week2.ipynb"]
    )
    (edited,) = student.events("cell_edited")
    selected = student.events("cell_selected")[-1]
    assert (edited["notebook"]["path"], selected["notebook"]["path"]) == ("week1.ipynb", "week2.ipynb")
    assert edited["occurred_at"] < selected["occurred_at"]
    # The server goes by how long they waited: that is since the act, not since its report.
    assert made_at(student, edited) < made_at(student, selected)


def test_what_was_typed_before_the_tab_or_the_page_is_closed_is_recorded(student: Student) -> None:
    page = student.page
    type_in(student, 0)
    page.keyboard.press("Control+s")
    student.wait(lambda: student.events("notebook_saved"))
    type_in(student, 1)
    student.command("application:close")
    page.locator(".jp-Dialog").get_by_role("button", name="Discard").click()
    student.wait(lambda: student.events("session_ended"))
    assert [event["cell"]["id"] for event in student.events("cell_edited")] == ["week1-a", "week1-b"]

    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:open', {path: 'week2.ipynb'})")
    ready(student, "week2.ipynb")
    type_in(student, 2)
    page.goto("about:blank")
    student.wait(lambda: len(student.events("session_ended")) == 2)
    assert student.events("cell_edited")[-1]["cell"]["id"] == "week2-c"
    last = [event["type"] for event in student.events(session_id=student.events("session_ended")[-1]["session_id"])]
    assert last.index("cell_edited") < last.index("session_ended")


def test_a_cell_that_an_undo_puts_back_is_not_where_the_student_is(student: Student) -> None:
    page = student.page
    cells = page.locator(".jp-Notebook .jp-Cell")
    student.select(0)
    student.wait(lambda: shown_cell(student) == "week1-a")
    page.keyboard.press("d")
    page.keyboard.press("d")
    expect(cells).to_have_count(2)
    student.wait(lambda: shown_cell(student) == "week1-b")
    page.keyboard.press("z")
    expect(cells).to_have_count(3)
    (added,) = student.wait(lambda: student.events("cell_added"))
    assert added["data"]["source_ids"] == [added["cell"]["source_id"]] == ["week1-a"]
    # JupyterLab's active cell did not move.
    expect(student.cell(1)).to_have_class(re.compile("jp-mod-active"))
    assert shown_cell(student) == "week1-b"
    # The first part of a cell that is split is the new one; the focus stays in the last.
    student.cell(1).locator(".cm-content").click()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Control+Shift+Minus")
    expect(cells).to_have_count(4)
    student.wait(lambda: len(student.events("cell_added")) == 2)
    expect(student.cell(2)).to_have_class(re.compile("jp-mod-active"))
    (part,) = student.events("cell_added")[1:]
    assert shown_cell(student) != part["cell"]["source_id"]
    # A cell that is made becomes the active one.
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    expect(cells).to_have_count(5)
    made = student.wait(lambda: student.events("cell_added")[2:])[0]["cell"]["source_id"]
    student.wait(lambda: shown_cell(student) == made)


def shown_cell(student: Student) -> str | None:
    """The cell that staff see the student in."""
    facts = [read_event(json.dumps(event).encode(), 2**42).fact for event in student.events()]
    cell_ = student_state("s", 1, fold_all(facts).fold).cell
    return None if cell_ is None else cell_.source_id
