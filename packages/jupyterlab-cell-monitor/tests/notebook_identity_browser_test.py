"""Hazards, in a real JupyterLab: one notebook or cell under two ids, or two under one; a program's act moves the student.

The hazards of which there is an instance for every supported version are in `tests/hosts`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, expect

from cell_monitor_testing.jupyter_page import Student, cell, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

API_KEY = "test-key"

_FAILS = 'raise ValueError("x")'


class FrontStudent(Student):
    """A student whose cells are those of the tab in front, also while the tabs behind it are not hidden yet."""

    def cell(self, index: int) -> Locator:
        """Return a cell of the notebook in front."""
        panel = self.page.evaluate("() => window.jupyterapp.shell.currentWidget.id")
        return self.page.locator(f"[id='{panel}'] .jp-Cell").nth(index)


class Lab:
    """A student's Jupyter server, and the browsers in which the student works with it."""

    def __init__(self, chromium: Any, server: Any, api: Any) -> None:
        self.home = Path(server.log.parent)
        self.api = api
        self.students: list[Student] = []
        self._chromium = chromium
        self._server = server

    def write(self, path: str, text: str) -> None:
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def browser(self, path: str, *, others: int = 0) -> Student:
        """Open a notebook in a browser that has never been here, as from a link; `others` tabs are open already."""
        page = self._chromium.new_context(viewport={"width": 1280, "height": 1000}).new_page()
        page.set_default_timeout(60_000)
        student = FrontStudent(page, self.api)
        # JupyterLab says that it converts an old format, and that the folder that its file browser shows is gone.
        notice = page.locator(".jp-Dialog", has_text=re.compile("Notebook converted|Directory not found"))
        page.add_locator_handler(notice, lambda shown: shown.locator(".jp-mod-accept").click())
        self.students.append(student)
        # A workspace of its own: the tabs of other browsers are not restored.
        workspace = f"browser-{len(self.students)}"
        page.goto(f"{self._server.url}/lab/workspaces/{workspace}/tree/{quote(path)}?token={self._server.token}")
        self.ready(student, path)
        student.wait(lambda: len(student.events("notebook_opened")) > others)
        return student

    def ready(self, student: Student, path: str) -> None:
        student.page.wait_for_function(
            """path => {
                const widget = window.jupyterapp?.shell.currentWidget;
                return widget?.context?.path === path && widget.sessionContext?.session?.kernel?.status === 'idle';
            }""",
            arg=path,
        )

    def reload(self, student: Student, path: str) -> None:
        before = len(student.events("notebook_opened"))
        student.reload()
        self.ready(student, path)
        student.wait(lambda: len(student.events("notebook_opened")) > before)

    def open_tab(self, student: Student, path: str) -> None:
        student.page.evaluate("path => window.jupyterapp.commands.execute('docmanager:open', {path})", path)
        self.ready(student, path)

    def close(self) -> None:
        for student in self.students:
            student.page.context.close()


@pytest.fixture
def lab(chromium: Any, jupyter: Callable[..., Any], api: Any) -> Iterator[Lab]:
    server = jupyter(
        "lab",
        environment={"CELL_MONITOR_API_URL": api.url, "CELL_MONITOR_API_KEY": API_KEY},
        options=["--LabApp.expose_app_in_browser=True"],
    )
    lab = Lab(chromium, server, api)
    yield lab
    lab.close()
    assert [complaint for student in lab.students for complaint in student.complaints] == []


def save(student: Student) -> None:
    before = len(student.events("notebook_saved"))
    student.page.keyboard.press("Control+s")
    student.wait(lambda: len(student.events("notebook_saved")) > before)


def run(student: Student, index: int) -> dict[str, Any]:
    """Run a cell and return its event."""
    before = len(student.runs())
    student.run(index)
    return student.wait(lambda: student.runs()[before:])[0]


def generated(*sources: str) -> str:
    """A notebook whose cells have no ids, as a program that writes nbformat 4.5 without them makes it."""
    value = json.loads(notebook(*(cell("code", source, "unused") for source in sources)))
    for each in value["cells"]:
        del each["id"]
    return json.dumps(value)


def format_3(*sources: str) -> str:
    cells = [
        {"cell_type": "code", "input": source, "outputs": [], "language": "python", "metadata": {}}
        for source in sources
    ]
    metadata = {"name": "", "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": metadata, "worksheets": [{"cells": cells}]})


@pytest.mark.parametrize(
    "text",
    [
        generated("a = 1", _FAILS, "b = 2"),
        format_3("a = 1", _FAILS, "b = 2"),
    ],
    ids=["nbformat 4.5 of a generator", "nbformat 3"],
)
def test_a_cell_without_an_id_is_one_cell_after_insertions_saves_reloads_and_in_another_browser(
    lab: Lab, text: str
) -> None:
    lab.write("week1.ipynb", text)
    student = lab.browser("week1.ipynb")
    # As every student sees it who was given the file.
    assert run(student, 1)["cell"]["source_id"] == "position-1"
    lab.reload(student, "week1.ipynb")
    assert run(student, 1)["cell"]["source_id"] == "position-1"
    student.select(0)
    student.page.keyboard.press("a")
    expect(student.page.locator(".jp-Notebook .jp-Cell")).to_have_count(4)
    failed = run(student, 2)
    assert (failed["cell"]["source_id"], failed["cell"]["index"]) == ("position-1", 2)
    with student.page.expect_response(lambda answer: answer.request.method == "PUT" and "notebooks" in answer.url):
        save(student)
    lab.reload(student, "week1.ipynb")
    assert run(student, 2)["cell"]["source_id"] == "position-1"
    other = lab.browser("week1.ipynb", others=len(student.events("notebook_opened")))
    assert run(other, 2)["cell"]["source_id"] == "position-1"
    # A heartbeat names a notebook only while one is in front.
    named = [event["notebook"]["id"] for event in student.events() if "notebook" in event]
    assert set(named) == {named[0]}


def test_a_copied_exercise_is_a_cell_of_its_own_and_hides_no_failure_of_the_original(lab: Lab) -> None:
    exercise = cell("code", 'raise ValueError("ex")', "original", nbgrader={"grade_id": "ex-1", "solution": True})
    lab.write("week1.ipynb", notebook(exercise))
    student = lab.browser("week1.ipynb")
    page = student.page
    assert run(student, 0)["cell"]["source_id"] == "ex-1"
    student.select(0)
    page.keyboard.press("c")
    page.keyboard.press("v")
    expect(page.locator(".jp-Notebook .jp-Cell")).to_have_count(2)
    student.cell(1).locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.type("print(1)")
    page.keyboard.press("Control+Enter")
    copy = student.wait(lambda: student.runs()[1:])[0]
    assert copy["data"]["status"] == "ok"
    assert copy["cell"]["source_id"] != "ex-1"
    assert run(student, 0)["cell"]["source_id"] == "ex-1"
    assert [event["data"]["status"] for event in student.runs("ex-1")] == ["error", "error"]
    # The copy is moved above the original, which is the first one of the file from now on.
    student.select(1)
    page.keyboard.press("Control+Shift+ArrowUp")
    expect(student.cell(0)).to_contain_text("print(1)")
    with page.expect_response(lambda answer: answer.request.method == "PUT" and "notebooks" in answer.url):
        save(student)
    lab.reload(student, "week1.ipynb")
    assert run(student, 0)["cell"]["source_id"] == copy["cell"]["source_id"]
    assert run(student, 1)["cell"]["source_id"] == "ex-1"


def test_a_deleted_cell_that_is_put_back_is_the_same_and_one_pasted_twice_is_another(lab: Lab) -> None:
    lab.write("week1.ipynb", notebook(cell("code", _FAILS, "first"), cell("code", "b = 2", "second")))
    student = lab.browser("week1.ipynb")
    page = student.page
    cells = page.locator(".jp-Notebook .jp-Cell")
    student.select(0)
    page.keyboard.press("d")
    page.keyboard.press("d")
    expect(cells).to_have_count(1)
    page.keyboard.press("z")
    expect(cells).to_have_count(2)
    assert run(student, 0)["cell"]["source_id"] == "first"
    # Cut, put back by an undo, and pasted: JupyterLab then has two cells of one id.
    student.select(0)
    page.keyboard.press("x")
    expect(cells).to_have_count(1)
    page.keyboard.press("z")
    expect(cells).to_have_count(2)
    student.select(1)
    page.keyboard.press("v")
    expect(cells).to_have_count(3)
    assert [run(student, index)["cell"]["source_id"] for index in (0, 1)] == ["first", "second"]
    pasted = run(student, 2)["cell"]
    assert pasted["source_id"] not in {"first", "second"}
    assert pasted["index"] == 2


def test_two_cells_of_one_id_in_a_file_are_two_cells(lab: Lab) -> None:
    lab.write("week1.ipynb", notebook(cell("code", "a = 1", "same"), cell("code", _FAILS, "same")))
    student = lab.browser("week1.ipynb")
    first, second = (run(student, index)["cell"]["source_id"] for index in (0, 1))
    assert first == "same"
    assert second != "same"
    lab.reload(student, "week1.ipynb")
    assert run(student, 1)["cell"]["source_id"] == second


@pytest.mark.parametrize(
    "path",
    ["Ü 1: a%20b #c [d]/wörk? 1.ipynb", "Week 1: 変数 😀.ipynb"],
    ids=["folder with a colon", "file with a colon"],
)
def test_odd_characters_in_a_path_change_no_id(lab: Lab, path: str) -> None:
    lab.write(path, generated("a = 1", _FAILS))
    student = lab.browser(path)
    first = run(student, 1)
    assert first["cell"]["source_id"] == "position-1"
    assert first["notebook"]["path"] == path
    lab.reload(student, path)
    again = run(student, 1)
    assert (again["notebook"], again["cell"]["source_id"]) == (first["notebook"], "position-1")
    # Moved by another program.
    (lab.home / path).rename(lab.home / "moved.ipynb")
    moved = lab.browser("moved.ipynb", others=len(student.events("notebook_opened")))
    after = run(moved, 1)
    assert (after["notebook"]["id"], after["cell"]["source_id"]) == (first["notebook"]["id"], "position-1")


def format_4_0(*sources: str) -> str:
    value = json.loads(generated(*sources))
    value["nbformat_minor"] = 0
    return json.dumps(value)


def test_a_change_that_is_not_saved_changes_no_id_after_a_reload(lab: Lab) -> None:
    lab.write("week1.ipynb", format_4_0("a = 1", _FAILS, "b = 2"))
    student = lab.browser("week1.ipynb")
    student.command("docmanager:toggle-autosave")
    first = run(student, 1)
    assert first["cell"]["source_id"] == "position-1"
    student.select(0)
    # The page stores what it knows of the cells, and the file stays as it was.
    with student.page.expect_response(lambda answer: answer.request.method == "PUT" and "notebooks" in answer.url):
        student.page.keyboard.press("a")
    expect(student.page.locator(".jp-Notebook .jp-Cell")).to_have_count(4)
    assert run(student, 2)["cell"]["source_id"] == "position-1"
    student.page.once("dialog", lambda dialog: dialog.accept())
    lab.reload(student, "week1.ipynb")
    expect(student.page.locator(".jp-Notebook .jp-Cell")).to_have_count(3)
    again = [run(student, index) for index in range(3)]
    assert [each["cell"]["source_id"] for each in again] == ["position-0", "position-1", "position-2"]
    assert {each["notebook"]["id"] for each in again} == {first["notebook"]["id"]}


def test_cells_that_are_deleted_again_dragged_or_pasted_into_another_notebook_have_one_id_each(lab: Lab) -> None:
    lab.write("week1.ipynb", generated("a = 1", "b = 2", "c = 3"))
    lab.write("week2.ipynb", generated("d = 4", "e = 5"))
    student = lab.browser("week1.ipynb")
    page = student.page
    cells = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell")
    before = [run(student, index)["cell"]["source_id"] for index in range(3)]
    assert before == ["position-0", "position-1", "position-2"]
    # Deleted, put back, deleted again, put back.
    student.select(1)
    for keys, count in (("dd", 2), ("z", 3), ("Z", 2), ("z", 3)):
        for key in keys:
            page.keyboard.press(f"Shift+{key}" if key.isupper() else key)
        expect(cells).to_have_count(count)
    assert [run(student, index)["cell"]["source_id"] for index in range(3)] == before

    # Copied into another notebook, twice; cut here and pasted there.
    student.select(0)
    page.keyboard.press("c")
    lab.open_tab(student, "week2.ipynb")
    student.wait(lambda: len(student.events("notebook_opened")) == 2)
    student.select(0)
    page.keyboard.press("v")
    page.keyboard.press("v")
    expect(student.cell(3)).to_be_visible()
    found = [run(student, index) for index in range(4)]
    names = [each["cell"]["source_id"] for each in found]
    assert len(set(names)) == 4
    assert {"position-0", "position-1"} <= set(names)
    assert len({each["notebook"]["id"] for each in found}) == 1
    # The originals are as they were.
    lab.open_tab(student, "week1.ipynb")
    assert [run(student, index)["cell"]["source_id"] for index in range(3)] == before

    # Dragged to the end of the notebook.
    handle = student.cell(0).locator(".jp-InputPrompt")
    target = student.cell(2).bounding_box()
    source = handle.bounding_box()
    assert source is not None
    assert target is not None
    page.mouse.move(source["x"] + 10, source["y"] + 10)
    page.mouse.down()
    page.mouse.move(target["x"] + 60, target["y"] + target["height"] / 2, steps=8)
    page.mouse.move(target["x"] + 60, target["y"] + target["height"] - 2, steps=4)
    page.mouse.up()
    student.wait(lambda: "a = 1" not in student.cell(0).inner_text())
    moved = {run(student, index)["data"]["code"]: student.runs()[-1]["cell"]["source_id"] for index in range(3)}
    assert moved == {"a = 1": "position-0", "b = 2": "position-1", "c = 3": "position-2"}


def given(lab: Lab) -> Student:
    """Return a student who opened and ran a notebook that names its id."""
    lab.write("given/week1.ipynb", notebook(cell("code", "a = 1", "first"), cell_monitor={"notebook_id": "week-1"}))
    student = lab.browser("given/week1.ipynb")
    assert run(student, 0)["notebook"]["id"] == "week-1"
    return student


def test_a_copy_of_a_notebook_is_another_one_also_if_both_name_one_id(lab: Lab) -> None:
    student = given(lab)
    # By a program outside of Jupyter, while the original exists.
    shutil.copy(lab.home / "given/week1.ipynb", lab.home / "copy.ipynb")
    lab.open_tab(student, "copy.ipynb")
    copy = run(student, 0)["notebook"]
    assert copy["path"] == "copy.ipynb"
    assert copy["id"] != "week-1"
    # "Save as" closes the notebook, whose outputs are not saved yet, and opens the new file.
    lab.open_tab(student, "given/week1.ipynb")
    student.page.keyboard.press("Control+Shift+s")
    student.page.locator(".jp-Dialog input").fill("given/final.ipynb")
    student.page.locator(".jp-Dialog .jp-mod-accept").click()
    student.page.locator(".jp-Dialog", has_text="Save your work").get_by_role("button", name="Save").click()
    # JupyterLab shows the new file and has the focus elsewhere.
    student.page.locator(".lm-TabBar-tab", has_text="final.ipynb").click()
    lab.ready(student, "given/final.ipynb")
    student.wait(lambda: student.events("notebook_opened")[-1]["notebook"]["path"] == "given/final.ipynb")
    final = run(student, 0)["notebook"]
    assert final["id"] not in {"week-1", copy["id"]}
    assert student.events("notebook_renamed") == []
    other = lab.browser("given/week1.ipynb", others=len(student.events("notebook_opened")))
    assert run(other, 0)["notebook"]["id"] == "week-1"


def test_a_notebook_is_the_same_one_after_its_folder_was_renamed_and_its_file_was_moved(lab: Lab) -> None:
    student = given(lab)
    # While the notebook is open.
    student.page.evaluate("() => window.jupyterapp.serviceManager.contents.rename('given', 'mine')")
    lab.ready(student, "mine/week1.ipynb")
    # At once, and not with what the student does next.
    (renamed,) = student.wait(lambda: student.events("notebook_renamed"))
    assert (renamed["notebook"]["id"], renamed["notebook"]["path"]) == ("week-1", "mine/week1.ipynb")
    moved = run(student, 0)["notebook"]
    assert (moved["id"], moved["path"]) == ("week-1", "mine/week1.ipynb")
    other = lab.browser("mine/week1.ipynb", others=len(student.events("notebook_opened")))
    assert run(other, 0)["notebook"]["id"] == "week-1"
    # By another program; the pages that have it open do not know.
    (lab.home / "mine/week1.ipynb").rename(lab.home / "moved.ipynb")
    again = lab.browser("moved.ipynb", others=len(student.events("notebook_opened")))
    assert run(again, 0)["notebook"]["id"] == "week-1"


def test_what_programs_do_is_no_act_of_the_student(lab: Lab) -> None:
    for name in ("week1.ipynb", "week2.ipynb"):
        lab.write(name, notebook(cell("code", "a = 1", "a"), cell("code", "b = 2", "b"), cell("code", "c = 3", "c")))
    student = lab.browser("week1.ipynb")
    page = student.page
    # Opened by a link.
    (opened,) = student.events("notebook_opened")
    assert "restored" not in opened["data"]
    run(student, 1)
    lab.open_tab(student, "week2.ipynb")
    student.wait(lambda: len(student.events("notebook_opened")) == 2)
    student.select(2)
    student.wait(lambda: [event for event in student.events("cell_selected") if event["cell"]["source_id"] == "c"])
    acts = ("cell_selected", "cell_edited", "notebook_saved", "cell_added", "notebook_opened")

    # JupyterLab loads the page again and restores both tabs.
    before = len(student.events(*acts))
    lab.reload(student, "week2.ipynb")
    page.locator(".lm-TabBar-tab", has_text="week1.ipynb").wait_for()
    # Each tab is opened when its file is loaded, in either order.
    student.wait(lambda: len(student.events("notebook_opened")) == 4)
    restored = student.events(*acts)[before:]
    assert {(event["type"], event["data"].get("restored")) for event in restored} == {("notebook_opened", True)}
    assert sorted(event["notebook"]["path"] for event in restored) == ["week1.ipynb", "week2.ipynb"]

    # A program selects, edits, adds and saves, in front and behind.
    before = len(student.events(*acts))
    page.evaluate(
        """async () => {
            const { shell, commands } = window.jupyterapp;
            const panel = shell.currentWidget;
            panel.content.activeCellIndex = 0;
            panel.model.sharedModel.getCell(0).setSource('changed by a program');
            panel.model.sharedModel.insertCell(1, {cell_type: 'code', source: 'added by a program'});
            await panel.context.save();
            await commands.execute('docmanager:save');
        }"""
    )
    student.wait(lambda: len(student.events("notebook_saved")) >= 2 and student.events("cell_added"))
    done = student.events(*acts)[before:]
    assert {event["type"] for event in done} == {"notebook_saved", "cell_added"}
    assert {event["data"].get("manual", event["data"].get("own")) for event in done} == {False}

    # The student goes to the other tab: where the student is follows, although no cell there was selected.
    page.locator(".lm-TabBar-tab", has_text="week1.ipynb").click()
    student.wait(lambda: student.events("cell_selected")[-1]["notebook"]["path"] == "week1.ipynb")
    # And what the student does counts.
    lab.ready(student, "week1.ipynb")
    student.select(0)
    page.keyboard.press("b")
    added = student.wait(lambda: [event for event in student.events("cell_added") if "own" not in event["data"]])
    assert added[-1]["notebook"]["path"] == "week1.ipynb"
    save(student)
    assert student.events("notebook_saved")[-1]["data"] == {"manual": True}


def test_of_two_pages_the_one_of_the_last_act_says_where_the_student_is(lab: Lab) -> None:
    for name in ("week1.ipynb", "week2.ipynb"):
        lab.write(name, notebook(cell("code", "a = 1", "a"), cell("code", "b = 2", "b")))
    first = lab.browser("week1.ipynb")
    run(first, 0)
    second = lab.browser("week2.ipynb", others=1)
    run(second, 0)
    second.wait(lambda: [event["notebook"]["path"] for event in second.events("cell_selected")][-1:] == ["week2.ipynb"])
    first.page.bring_to_front()
    # The active cell of the first page is active already: an act in it counts all the same.
    first.page.evaluate("() => window.dispatchEvent(new Event('blur'))")
    first.cell(0).locator(".cm-content").click()
    first.wait(lambda: [event["notebook"]["path"] for event in first.events("cell_selected")][-1:] == ["week1.ipynb"])
    assert first.events("cell_selected")[-1]["cell"]["source_id"] == "a"
