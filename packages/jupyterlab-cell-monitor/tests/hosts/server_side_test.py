"""Hazard: a run that the Jupyter server executes has neither the name of its error nor a start."""

from __future__ import annotations

from typing import Any

import pytest

from cell_monitor_testing.jupyter_page import cell, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_a_run_of_the_server_starts_when_it_starts_and_has_the_error_that_the_student_sees(student: Any) -> None:
    slow = "import time\nprint('begun', flush=True)\ntime.sleep(5)\n1 / 0"
    student.open("server-side.ipynb", notebook(cell("code", slow, "slow"), cell("code", "40 + 2", "good")))
    student.run(0)
    (start,) = student.wait(lambda: student.events("cell_execution_started"))
    assert student.runs() == []
    (run,) = student.ended(1, "slow")
    assert run["execution_id"] == start["data"]["execution_id"]
    assert (run["status"], run["error"]["name"], run["error"]["value"]) == (
        "error",
        "ZeroDivisionError",
        "division by zero",
    )
    assert "1 / 0" in run["error"]["traceback"]
    assert [output["text"] for output in run["outputs"]] == ["begun\n"]
    student.run(1)
    (good,) = student.ended(1, "good")
    assert (good["status"], [output["text"] for output in good["outputs"]]) == ("ok", ["42"])
    # The failing run once more: nothing of the run before is taken for it.
    student.run(0)
    again = student.ended(2, "slow")[1]
    assert (again["status"], again["execution_count"]) == ("error", good["execution_count"] + 1)
    assert len(student.events("cell_execution_started")) == len(student.runs()) == 3


def test_an_interrupted_run_of_the_server_is_aborted(student: Any) -> None:
    student.open("interrupt.ipynb", notebook(cell("code", "import time\ntime.sleep(120)", "endless")))
    student.run(0)
    student.wait(lambda: student.events("cell_execution_started"))
    student.command("notebook:interrupt-kernel")
    (run,) = student.ended(1, "endless")
    assert (run["status"], run["error"]["name"]) == ("aborted", "KeyboardInterrupt")
