"""Hazard: the extension does not load, or records nothing, in a JupyterLab that its metadata says it supports."""

from __future__ import annotations

from typing import Any

import pytest

from cell_monitor_testing.jupyter_page import cell, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_a_run_and_a_failing_run_are_recorded(student: Any, host: Any) -> None:
    student.open("week1.ipynb", notebook(cell("code", "40 + 2", "good"), cell("code", "1 / 0", "bad")))
    (started,) = student.wait(lambda: student.events("session_started"))
    version = host.version_of("jupyterlab")
    assert version is None or started["data"]["client"]["lab_version"] == version
    student.run(0)
    (good,) = student.ended(1, "good")
    assert good["status"] == "ok"
    assert [output["text"] for output in good["outputs"]] == ["42"]
    student.run(1)
    (bad,) = student.ended(1, "bad")
    assert bad["status"] == "error"


def test_the_host_has_the_shared_modules_that_the_extension_asks_for(student: Any) -> None:
    student.open("week1.ipynb", notebook(cell("code", "1", "only")))
    unsatisfied = [text for text in student.warnings if "jupyterlab-cell-monitor" in text]
    assert unsatisfied == []
