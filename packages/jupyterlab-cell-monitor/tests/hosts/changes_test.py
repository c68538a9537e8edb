"""Hazard: a cell gets another id, or that of another cell, when the student or a reload changes the list of cells."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from playwright.sync_api import expect

from cell_monitor_testing.jupyter_page import cell, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

_SOURCES = ("first = 1", 'print("upper")\nraise ValueError("lower")', "last = 1")


@pytest.fixture(params=["ids in the file", "no ids in the file"])
def text(request: pytest.FixtureRequest) -> str:
    """A notebook of three cells."""
    value = json.loads(notebook(*(cell("code", source, f"cell-{n}") for n, source in enumerate(_SOURCES))))
    if request.param == "no ids in the file":
        value["nbformat_minor"] = 4
        for each in value["cells"]:
            del each["id"]
    return json.dumps(value)


def ids(student: Any) -> list[str]:
    """Run each cell of the notebook, and return the source ids that the monitor has for them, from the first on."""
    count = student.page.locator(".jp-Notebook .jp-Cell").count()
    found = []
    for index in range(count):
        before = len(student.runs())
        student.run(index)
        (ended,) = student.wait(lambda before=before: student.runs()[before:])
        assert ended["cell"]["index"] == index
        found.append(ended["cell"]["source_id"])
    assert len(set(found)) == count, f"one id for two cells: {found}"
    return found


def cells_are(student: Any, count: int) -> None:
    expect(student.page.locator(".jp-Notebook .jp-Cell")).to_have_count(count)


def confirm(student: Any, command: str) -> None:
    """Carry out a command that asks first."""
    student.command(command)
    student.page.locator(".jp-Dialog .jp-mod-accept").click()
    expect(student.page.locator(".jp-Dialog")).to_have_count(0)


def test_cells_are_the_same_after_changes_of_the_list_and_an_undo_of_them(student: Any, text: str) -> None:
    student.open("week1.ipynb", text)
    before = ids(student)
    # Another type, and back.
    student.select(1)
    student.page.keyboard.press("m")
    expect(student.page.locator(".jp-Notebook .jp-MarkdownCell")).to_have_count(1)
    student.page.keyboard.press("y")
    expect(student.page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(3)
    assert ids(student) == before

    # Deleted, and put back.
    student.select(1)
    student.page.keyboard.press("d")
    student.page.keyboard.press("d")
    cells_are(student, 2)
    assert ids(student) == [before[0], before[2]]
    student.page.keyboard.press("z")
    cells_are(student, 3)
    assert ids(student) == before

    # Split: the last part is the cell.
    student.cell(1).locator(".cm-line", has_text="lower").click()
    student.page.keyboard.press("Home")
    student.page.keyboard.press("Control+Shift+-")
    cells_are(student, 4)
    student.page.keyboard.press("Escape")
    with contextlib.suppress(AssertionError):
        # JupyterLab 4.2 goes back to the last part a moment later, whatever was selected meanwhile.
        student.select(0)
    split = ids(student)
    assert [split[0], *split[2:]] == before
    # Merged: it is the cell that was there first.
    student.select(1)
    student.page.keyboard.press("Shift+ArrowDown")
    student.page.keyboard.press("Shift+m")
    cells_are(student, 3)
    assert ids(student) == before
    student.select(1)
    student.page.keyboard.press("z")
    cells_are(student, 4)
    assert ids(student) == split


def changed(student: Any, kind: str, count: int) -> list[str] | None:
    """Return the cells that the newest of `count` events of a kind names."""
    *_, newest = student.wait(lambda: events if len(events := student.events(kind)) == count else None)
    named: list[str] | None = newest["data"].get("source_ids")
    return named


def test_a_cell_that_an_undo_or_a_paste_puts_back_is_known_to_be_there_again(student: Any, text: str) -> None:
    student.open("week1.ipynb", text)
    _, failing, _ = ids(student)
    for attempt, (key, back) in enumerate((("dd", "z"), ("x", "v")), start=1):
        student.select(1)
        for letter in key:
            student.page.keyboard.press(letter)
        cells_are(student, 2)
        assert changed(student, "cell_removed", attempt) == [failing]
        student.select(0)
        student.page.keyboard.press(back)
        cells_are(student, 3)
        assert changed(student, "cell_added", attempt) == [failing]
    assert ids(student)[1] == failing


def test_cells_are_the_same_after_the_notebook_was_loaded_again(student: Any, text: str) -> None:
    student.open("week1.ipynb", text)
    before = ids(student)
    shared = student.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.model.collaborative")
    # A shared document does not follow its file to a checkpoint, which is older than what the server has loaded.
    if not shared:
        # As "Save" does.
        student.page.evaluate(
            """async () => {
                const { context } = window.jupyterapp.shell.currentWidget;
                await context.save();
                await context.createCheckpoint();
            }"""
        )
        student.select(0)
        student.page.keyboard.press("a")
        cells_are(student, 4)
        # JupyterLab 4.2 takes a moment until the new cell has the focus.
        student.cell(0).locator(".cm-content").fill("added = 1")
        expect(student.cell(0)).to_contain_text("added = 1")
        assert ids(student)[1:] == before
        # As it was when it was saved.
        confirm(student, "docmanager:restore-checkpoint")
        cells_are(student, 3)
        assert ids(student) == before

    # As another program wrote it meanwhile.
    value = json.loads(text)
    added = value["cells"][0] | {"source": "added = 1"}
    if "id" in added:
        added["id"] = "added"
    value["cells"].insert(1, added)
    student.write("week1.ipynb", json.dumps(value))
    # A shared document follows its file.
    if not shared:
        confirm(student, "docmanager:reload")
    cells_are(student, 4)
    expect(student.cell(1)).to_contain_text("added = 1")
    now = ids(student)
    assert [now[0], *now[2:]] == before
