"""Hazards: a notebook or a cell has two ids, or two share one; a program's act moves the student. One of each, in each host."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from cell_monitor_testing.jupyter_page import cell, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

_FAILS = 'raise ValueError("x")'


def without_ids(*cells: dict[str, Any]) -> str:
    """A notebook of nbformat 4.4, whose cells have no ids."""
    value = json.loads(notebook(*cells))
    value["nbformat_minor"] = 4
    for each in value["cells"]:
        del each["id"]
    return json.dumps(value)


def run(student: Any, index: int) -> dict[str, Any]:
    """Run a cell and return the event of its end."""
    before = len(student.runs())
    student.run(index)
    ended: list[dict[str, Any]] = student.wait(lambda: student.runs()[before:])
    return ended[0]


def save(student: Any) -> None:
    before = len(student.events("notebook_saved"))
    student.save()
    student.soon(lambda: len(student.events("notebook_saved")) > before)


def save_and_store_ids(student: Any) -> None:
    """Save, and wait until the server has taken what the page knows of the cells."""
    with student.page.expect_response(lambda answer: answer.request.method == "PUT" and "notebooks" in answer.url):
        save(student)


def reload(student: Any, name: str) -> None:
    before = len(student.events("session_started"))
    student.reload()
    student.ready(name)
    student.wait(lambda: len(student.events("session_started")) > before)


@pytest.fixture(params=["lab", "notebook"])
def application(request: pytest.FixtureRequest, host: Any) -> str:
    """Each application that the host has."""
    name = str(request.param)
    if name == "notebook" and host.packages and host.version_of("notebook") is None:
        pytest.skip("this host has no Notebook 7")
    return name


def test_each_cell_of_a_file_without_ids_keeps_one_id_of_its_own(new_page: Callable[[], Any], application: str) -> None:
    student = new_page()
    cells = [
        cell("code", "a = 1", "unused"),
        cell("code", _FAILS, "unused"),
        cell("code", "raise KeyError", "unused", nbgrader={"grade_id": "ex-1", "solution": True}),
    ]
    student.open("week1.ipynb", without_ids(*cells), application=application)
    first = run(student, 1)
    assert first["cell"]["source_id"] == "position-1"
    reload(student, "week1.ipynb")
    assert run(student, 2)["cell"]["source_id"] == "ex-1"
    # The exercise is copied, and a cell is inserted above all.
    student.select(2)
    student.page.keyboard.press("c")
    student.page.keyboard.press("v")
    expect(student.page.locator(".jp-Notebook .jp-Cell")).to_have_count(4)
    copy = run(student, 3)["cell"]["source_id"]
    student.select(0)
    student.page.keyboard.press("a")
    expect(student.page.locator(".jp-Notebook .jp-Cell")).to_have_count(5)
    moved = run(student, 2)
    assert (moved["cell"]["source_id"], moved["cell"]["index"]) == ("position-1", 2)
    save_and_store_ids(student)
    reload(student, "week1.ipynb")
    other = new_page()
    other.open("week1.ipynb", application=application)
    for page in (student, other):
        assert [run(page, index)["cell"]["source_id"] for index in (2, 3, 4)] == ["position-1", "ex-1", copy]
    assert copy not in {"position-0", "position-1", "position-2", "ex-1"}
    assert {event["notebook"]["id"] for event in student.events()} == {first["notebook"]["id"]}


def test_two_new_notebooks_that_are_renamed_have_two_ids(new_page: Callable[[], Any], application: str) -> None:
    student = new_page()
    ids = []
    for name in ("task1.ipynb", "task2.ipynb"):
        student.open("Untitled.ipynb", notebook(cell("code", "2 + 2", "same")), application=application)
        student.page.evaluate("name => window.jupyterapp.shell.currentWidget.context.rename(name)", name)
        student.page.wait_for_function(
            "name => window.jupyterapp.shell.currentWidget.context.path.endsWith(name)", arg=name
        )
        renamed = run(student, 0)["notebook"]
        assert renamed["path"].endswith(f"/{name}")
        ids.append(renamed["id"])
    for name, identity in zip(("task1.ipynb", "task2.ipynb"), ids, strict=True):
        student.open(name, application=application)
        assert run(student, 0)["notebook"]["id"] == identity
    assert ids[0] != ids[1]


def wait_for_heartbeat(student: Any, session_id: str, name: str | None, cell_id: str | None) -> None:
    """Make the page send heartbeats, as when it becomes visible, until one names this notebook and cell.

    One that the page's timer made before may still be on its way.
    """

    def beats() -> list[dict[str, Any]]:
        sent = [event for event in list(student.api.stored.values()) if event["type"] == "heartbeat"]
        return [event for event in sent if event["session_id"] == session_id]

    def place(beat: dict[str, Any]) -> tuple[str | None, str | None]:
        path = beat.get("notebook", {}).get("path")
        return path and path.rpartition("/")[2], beat.get("cell", {}).get("source_id")

    before = len(beats())

    def found() -> bool:
        student.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        return (name, cell_id) in [place(beat) for beat in beats()[before:]]

    student.soon(found, lambda: [place(beat) for beat in beats()])


def test_what_programs_do_and_what_is_restored_is_no_act_of_the_student(student: Any) -> None:
    cells = notebook(cell("code", "a = 1", "a"), cell("code", "b = 2", "b"))
    student.open("week1.ipynb", cells, workspace="acts")
    assert "restored" not in student.events("notebook_opened")[0]["data"]
    with student.page.expect_response(
        # JupyterLab stores the tabs that it restores.
        lambda answer: "api/workspaces" in answer.url and "week2" in (answer.request.post_data or "")
    ):
        student.open_beside("week2.ipynb", cells)
    student.soon(lambda: len(student.events("notebook_opened")) == 2)
    acts = ("cell_selected", "cell_edited", "notebook_saved", "cell_added", "notebook_opened")
    before = len(student.events(*acts))
    reload(student, "week2.ipynb")
    restored = student.soon(lambda: student.events(*acts)[before + 1 :] and student.events(*acts)[before:])
    assert {(event["type"], event["data"].get("restored")) for event in restored} == {("notebook_opened", True)}

    before = len(student.events(*acts))
    student.page.evaluate(
        """() => {
            const panel = window.jupyterapp.shell.currentWidget;
            panel.content.activeCellIndex = 1;
            panel.model.sharedModel.getCell(0).setSource('changed by a program');
            panel.model.sharedModel.insertCell(1, {cell_type: 'code', source: 'added by a program'});
        }"""
    )
    student.stored("week2.ipynb")
    student.page.evaluate(
        """async () => {
            const { shell, commands } = window.jupyterapp;
            await shell.currentWidget.context.save();
            await commands.execute('docmanager:save');
        }"""
    )
    student.soon(lambda: len(student.events("notebook_saved")) == 2 and student.events("cell_added"))
    done = student.events(*acts)[before:]
    assert {event["type"] for event in done} == {"notebook_saved", "cell_added"}
    assert {event["data"].get("manual", event["data"].get("own")) for event in done} == {False}

    # The student's own acts count, in the tab where they are.
    student.page.locator(".lm-TabBar-tab", has_text="week1.ipynb").click()
    # In front, before a run is asked for: one of the other notebook would take the focus back.
    student.ready("week1.ipynb")
    selected = student.soon(lambda: student.events("cell_selected"))
    assert selected[-1]["notebook"]["path"].endswith("/week1.ipynb")
    save(student)
    assert student.events("notebook_saved")[-1]["data"] == {"manual": True}
    assert student.events("notebook_saved")[-1]["notebook"]["path"].endswith("/week1.ipynb")

    # A heartbeat names the cell in front, and no notebook where a file that is none is in front.
    session = student.events("notebook_saved")[-1]["session_id"]
    wait_for_heartbeat(student, session, "week1.ipynb", "a")
    student.write("notes.txt", "text")
    student.page.evaluate(
        "path => void window.jupyterapp.commands.execute('docmanager:open', {path})", f"{student.folder}/notes.txt"
    )
    student.page.locator(".jp-FileEditor").wait_for()
    wait_for_heartbeat(student, session, None, None)
