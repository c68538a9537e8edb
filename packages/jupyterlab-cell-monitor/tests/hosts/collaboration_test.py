"""Hazard: what another person does in a shared notebook counts as the student's, or its cells have other ids for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from cell_monitor_testing.jupyter_page import cell, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

_FAILS = 'raise ValueError("x")'
_ACTS = ("cell_selected", "cell_edited", "cell_execution_started", "cell_executed", "notebook_saved")


def without_ids(*sources: str) -> str:
    """A notebook of nbformat 4.4, whose cells have no ids."""
    value = json.loads(notebook(*(cell("code", source, "unused") for source in sources)))
    value["nbformat_minor"] = 4
    for each in value["cells"]:
        del each["id"]
    return json.dumps(value)


def opened(student: Any, text: str | None = None) -> str:
    """Open the shared notebook and return the id of the page's session."""
    before = len(student.events("session_started"))
    student.open("shared.ipynb", text)
    started = student.wait(lambda: student.events("session_started")[before:])
    return str(started[0]["session_id"])


def cells_are(count: int, *students: Any) -> None:
    for student in students:
        expect(student.page.locator(".jp-Notebook .jp-Cell")).to_have_count(count)


def run(student: Any, index: int, session_id: str) -> dict[str, Any]:
    """Run a cell and return the event of its end, which is the page's own."""
    before = len(student.runs())
    student.run(index)
    ended: list[dict[str, Any]] = student.wait(lambda: student.runs()[before:])
    assert [event["session_id"] for event in ended] == [session_id]
    return ended[0]


def test_acts_are_of_the_person_who_did_them_and_all_see_the_same_cells(new_page: Callable[[], Any]) -> None:
    first, second = new_page(), new_page()
    mine = opened(first, without_ids("a = 1", _FAILS, "b = 2"))
    other = opened(second)
    # At once, before the first page has stored what it knows of the cells.
    first.select(0)
    first.page.keyboard.press("b")
    cells_are(4, first, second)
    added = first.soon(lambda: first.events("cell_added", session_id=mine))
    assert "own" not in added[0]["data"]
    seen = first.soon(lambda: first.events("cell_added", session_id=other))
    assert seen[0]["data"]["own"] is False
    assert [event["cell"]["source_id"] for event in (added[0], seen[0])] == [added[0]["cell"]["source_id"]] * 2
    runs = len(first.runs())
    assert {event["session_id"] for event in first.runs()} <= {mine}

    # The other person writes, adds and runs.
    before = {session: len(first.events(*_ACTS, session_id=session)) for session in (mine, other)}
    second.cell(3).locator(".cm-content").click()
    second.page.keyboard.press("End")
    second.page.keyboard.type(" + 1")
    expect(first.cell(3)).to_contain_text("b = 2 + 1")
    second.page.keyboard.press("Escape")
    assert run(second, 2, other)["cell"]["source_id"] == "position-1"
    second.soon(lambda: second.events("cell_edited", session_id=other))
    assert len(first.events(*_ACTS, session_id=mine)) == before[mine]
    assert len(first.events(*_ACTS, session_id=other)) > before[other]
    assert [event["session_id"] for event in first.runs()[runs:]] == [other] * (len(first.runs()) - runs)

    # What the student does next is the student's, although the last change of the document was another's.
    selected = len(first.events("cell_selected", session_id=mine))
    first.select(0)
    selection = second.soon(lambda: first.events("cell_selected", session_id=mine)[selected:])
    assert [event["cell"]["source_id"] for event in selection] == ["position-0"]
    for student, session in ((first, mine), (second, other)):
        assert run(student, 2, session)["cell"]["source_id"] == "position-1"
        assert run(student, 3, session)["cell"]["source_id"] == "position-2"

    # After a reload, too; the file has been written by the server meanwhile, or not.
    again = opened(second)
    assert run(second, 2, again)["cell"]["source_id"] == "position-1"
    assert len({event["notebook"]["id"] for event in first.events()}) == 1


def test_a_change_of_the_file_by_another_program_changes_no_id(new_page: Callable[[], Any]) -> None:
    first, second = new_page(), new_page()
    text = without_ids("a = 1", _FAILS, "b = 2")
    mine = opened(first, text)
    other = opened(second)
    assert run(first, 1, mine)["cell"]["source_id"] == "position-1"
    value = json.loads(text)
    value["cells"].insert(0, value["cells"][0] | {"source": "added = 1"})
    value["cells"][2]["source"] = f"{_FAILS}  # and a remark"
    first.write("shared.ipynb", json.dumps(value))
    cells_are(4, first, second)
    expect(first.cell(2)).to_contain_text("and a remark")
    for student, session in ((first, mine), (second, other)):
        ids = [run(student, index, session)["cell"]["source_id"] for index in range(4)]
        assert ids[1:] == ["position-0", "position-1", "position-2"]
    # Nobody did that.
    assert {event["data"].get("own") for event in first.events("cell_added", "cell_removed")} <= {False}
