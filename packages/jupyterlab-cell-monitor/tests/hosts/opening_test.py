"""Hazard: a notebook that is opened in another way is another one, or what is done while it is opened is not recorded."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Error, expect

from cell_monitor_testing.jupyter_page import cell, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

_SLOW = "import time\nprint('begun', flush=True)\ntime.sleep(2)\n1 / 0"
_NOTEBOOKS = re.compile(r"/cell-monitor/notebooks(\?|$)")


def without_ids(*sources: str) -> str:
    """A notebook of nbformat 4.4."""
    value = json.loads(notebook(*(cell("code", source, "unused") for source in sources)))
    value["nbformat_minor"] = 4
    for each in value["cells"]:
        del each["id"]
    return json.dumps(value)


def load(student: Any, name: str) -> None:
    """Load the page with a notebook, and wait for its kernel only."""
    student.page.goto(f"{student.server.url}/lab/tree/{student.folder}/{name}?token={student.server.token}&reset")
    student.page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )


def hold(student: Any) -> list[tuple[Any, Any]]:
    """Keep the server's answers about notebooks back; returns the requests that wait and their answers."""
    held: list[tuple[Any, Any]] = []

    def handle(route: Any) -> None:
        if route.request.method == "POST":
            held.append((route, route.fetch()))
        else:
            route.continue_()

    student.page.route(_NOTEBOOKS, handle)
    return held


def run_meanwhile(student: Any) -> str:
    """Insert a cell above all, and begin the run of the slow cell. Returns the time, by the page's clock."""
    student.select(0)
    student.page.keyboard.press("a")
    expect(student.page.locator(".jp-Notebook .jp-Cell")).to_have_count(3)
    student.run(2)
    expect(student.cell(2).locator(".jp-OutputArea-output")).to_have_text("begun")
    now: str = student.page.evaluate("() => new Date().toISOString()")
    return now


def check(student: Any, page: Any, begun: str) -> None:
    """Check what arrived of `run_meanwhile`: the end is seen by `page`."""
    (ended,) = page.wait(student.runs)
    (start,) = student.events("cell_execution_started")
    opened = student.events("notebook_opened")[0]
    assert start["occurred_at"] <= begun < ended["occurred_at"]
    assert start["data"]["execution_id"] == ended["data"]["execution_id"]
    assert ended["data"]["duration_ms"] >= 2000
    assert (ended["data"]["status"], ended["data"]["error"]["name"]) == ("error", "ZeroDivisionError")
    assert [outlined["source_id"] for outlined in opened["data"]["cells"]] == ["position-0", "position-1"]
    assert [event["cell"]["source_id"] for event in (start, ended)] == ["position-1"] * 2
    assert {event["notebook"]["id"] for event in student.events()} == {opened["notebook"]["id"]}
    assert [event["seq"] for event in student.events(session_id=opened["session_id"])][:3] == [1, 2, 3]


@pytest.mark.parametrize("answer", ["late", "never"])
def test_a_run_that_begins_before_the_server_knows_the_notebook_is_recorded(student: Any, answer: str) -> None:
    student.write("week1.ipynb", without_ids("a = 1", _SLOW))
    held = hold(student)
    load(student, "week1.ipynb")
    begun = run_meanwhile(student)
    if answer == "late":
        for route, response in held:
            # The page stops waiting after a while.
            with contextlib.suppress(Error):
                route.fulfill(response=response)
    check(student, student, begun)


def test_a_run_of_a_page_that_is_left_before_the_server_knows_the_notebook_is_recorded(
    new_page: Callable[[], Any],
) -> None:
    student, later = new_page(), new_page()
    student.write("week1.ipynb", without_ids("a = 1", _SLOW))
    hold(student)
    load(student, "week1.ipynb")
    begun = run_meanwhile(student)
    student.page.goto("about:blank")
    check(student, later, begun)


def identity(event: dict[str, Any]) -> tuple[str, str, bool]:
    """What a run says of its notebook and cell."""
    return event["notebook"]["id"], event["cell"]["source_id"], "restored" in event["data"]


def run(student: Any, index: int) -> dict[str, Any]:
    before = len(student.runs())
    student.run(index)
    ended: list[dict[str, Any]] = student.wait(lambda: student.runs()[before:])
    return ended[0]


def test_a_notebook_is_the_same_however_it_is_opened_and_a_copy_is_another(new_page: Callable[[], Any]) -> None:
    student = new_page()
    student.write("week2.ipynb", without_ids("a = 1"))
    student.open("week1.ipynb", notebook(cell("markdown", "[next](week2.ipynb)", "text"), cell("code", "1", "one")))
    # By a link in another notebook.
    student.cell(0).locator("a", has_text="next").click()
    student.ready("week2.ipynb")
    assert [event["data"].get("restored") for event in student.events("notebook_opened")] == [None, None]
    first = identity(run(student, 0))

    # By a file that is dragged beside the open tab.
    student.open("week1.ipynb")
    opened = len(student.opened("week2.ipynb"))
    source = student.page.locator(".jp-DirListing-item", has_text="week2.ipynb")
    source.hover()
    student.page.mouse.down()
    panel = student.page.locator(".jp-NotebookPanel").first.bounding_box()
    assert panel is not None
    x, y = panel["x"] + panel["width"] - 20, panel["y"] + panel["height"] / 2
    student.page.mouse.move(x - 100, y, steps=5)
    student.page.mouse.move(x, y, steps=5)
    student.page.mouse.up()
    expect(student.page.locator(".jp-NotebookPanel:visible")).to_have_count(2)
    student.ready("week2.ipynb")
    event = student.wait(lambda: student.opened("week2.ipynb")[opened:])[0]
    assert (event["notebook"]["id"], event["data"].get("restored")) == (first[0], None)

    # As the only document of a page, and in Notebook 7, in two browser tabs at once.
    for address in ("doc/tree", "notebooks"):
        other = new_page()
        opened = len(student.opened("week2.ipynb"))
        other.page.goto(f"{other.server.url}/{address}/{other.folder}/week2.ipynb?token={other.server.token}")
        other.page.wait_for_function("() => !!window.jupyterapp")
        other.ready("week2.ipynb")
        event = other.wait(lambda opened=opened: student.opened("week2.ipynb")[opened:])[0]
        assert (address, event["data"].get("restored")) == (address, None)
        assert identity(run(other, 0)) == first

    # Duplicated; uploaded under another name, and over the file that was there.
    made = student.page.evaluate(
        """async path => {
            const { contents } = window.jupyterapp.serviceManager;
            const folder = path.slice(0, path.lastIndexOf('/'));
            const copy = await contents.copy(path, folder);
            const { content } = await contents.get(path, { content: true, type: 'notebook' });
            await contents.save(`${folder}/uploaded.ipynb`, { type: 'notebook', format: 'json', content });
            await contents.save(path, { type: 'notebook', format: 'json', content });
            return [copy.path, `${folder}/uploaded.ipynb`, path].map(each => each.slice(each.lastIndexOf('/') + 1));
        }""",
        f"{student.folder}/week2.ipynb",
    )
    found = []
    for name in made:
        page = new_page()
        page.open(name)
        found.append(run(page, 0))
    assert identity(found[2]) == first
    assert len({event["notebook"]["id"] for event in found}) == 3
