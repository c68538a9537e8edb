"""Hazard: a script that is opened as a notebook, or the notebook paired with it, has other cells after each reload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from cell_monitor_testing.jupyter_page import cell, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

_SCRIPT = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %%
a = 1

# %%
raise ValueError("x")

# %%
b = 2
"""


def load(student: Any, name: str) -> None:
    """Open a file as a notebook, whatever opens it otherwise, and wait for its kernel."""
    student.page.goto(f"{student.server.url}/lab?token={student.server.token}&reset")
    student.page.wait_for_function("() => !!window.jupyterapp")
    student.page.evaluate(
        """async path => {
            await window.jupyterapp.restored;
            void window.jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'});
        }""",
        f"{student.folder}/{name}",
    )
    student.ready(name)


def run(student: Any, index: int) -> dict[str, Any]:
    before = len(student.runs())
    student.run(index)
    ended: list[dict[str, Any]] = student.wait(lambda: student.runs()[before:])
    return ended[0]


def save_and_store_ids(student: Any) -> None:
    with student.page.expect_response(lambda answer: answer.request.method == "PUT" and "notebooks" in answer.url):
        student.page.keyboard.press("Control+s")


def insert_above(student: Any) -> None:
    student.select(0)
    student.page.keyboard.press("a")
    expect(student.page.locator(".jp-Notebook .jp-Cell")).to_have_count(4)
    student.page.keyboard.press("Enter")
    student.page.keyboard.type("added = 1")
    student.page.keyboard.press("Escape")


def test_the_cells_of_a_script_are_the_same_after_an_insertion_and_a_reload(new_page: Callable[[], Any]) -> None:
    student = new_page()
    student.write("week1.py", _SCRIPT)
    load(student, "week1.py")
    first = run(student, 1)
    assert first["cell"]["source_id"] == "position-1"
    insert_above(student)
    save_and_store_ids(student)
    other = new_page()
    for page in (student, other):
        load(page, "week1.py")
        again = run(page, 2)
        assert (again["cell"]["source_id"], again["notebook"]["id"]) == ("position-1", first["notebook"]["id"])


def test_a_notebook_is_another_one_than_the_script_that_is_paired_with_it(new_page: Callable[[], Any]) -> None:
    student = new_page()
    cells = [cell("code", "a = 1", "one"), cell("code", 'raise ValueError("x")', "two"), cell("code", "b = 2", "three")]
    student.write("week1.ipynb", notebook(*cells, jupytext={"formats": "ipynb,py:percent"}))
    load(student, "week1.ipynb")
    first = run(student, 1)
    assert first["cell"]["source_id"] == "two"
    # Until both files are written: Jupytext goes by the newer one.
    student.save()
    script = student.server.folder / student.folder / "week1.py"
    assert script.exists()
    # Jupytext reads the cells' text from the script, which another program changed.
    script.write_text(script.read_text().replace("a = 1", "added = 1\n\n# %%\na = 1"), encoding="utf-8")
    load(student, "week1.ipynb")
    expect(student.page.locator(".jp-Notebook .jp-Cell")).to_have_count(4)
    again = run(student, 2)
    assert (again["cell"]["source_id"], again["notebook"]["id"]) == ("two", first["notebook"]["id"])
    load(student, "week1.py")
    assert run(student, 2)["notebook"]["id"] != first["notebook"]["id"]
