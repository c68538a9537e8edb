"""Hazard: a run that the Jupyter server executes has neither the name of its error nor a start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

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


def test_an_interrupt_of_a_run_of_the_server_that_arrives_as_another_exception_is_no_failure(student: Any) -> None:
    student.open("bash.ipynb", notebook(cell("code", "%%bash\necho begun\nsleep 120", "bash")))
    student.run(0)
    expect(student.outputs(0)).to_contain_text("begun")
    student.wait(lambda: student.events("cell_execution_started"))
    student.command("notebook:interrupt-kernel")
    (run,) = student.ended(1, "bash")
    assert (run["status"], run["error"]["name"]) == ("aborted", "CalledProcessError")


def test_an_error_of_the_server_that_is_only_text_has_the_name_that_the_student_reads(student: Any) -> None:
    student.open("magic.ipynb", notebook(cell("code", "%nosuchmagic", "magic")))
    student.run(0)
    (run,) = student.ended(1, "magic")
    assert (run["status"], run["error"]["name"]) == ("error", "UsageError")
    assert "nosuchmagic" in run["error"]["value"]


@pytest.mark.parametrize("tags", [[], ["raises-exception"]], ids=["plain", "expected"])
def test_a_run_of_the_server_during_which_the_page_is_loaded_again_has_one_start_and_one_end(
    student: Any, tags: list[str]
) -> None:
    slow = "import time\nprint('begun', flush=True)\ntime.sleep(6)\n1 / 0"
    student.open("reloaded.ipynb", notebook(cell("code", slow, "slow", tags=tags), cell("code", "1", "quick")))
    student.run(0)
    expect(student.outputs(0)).to_contain_text("begun")
    (start,) = student.wait(lambda: student.events("cell_execution_started"))
    student.open("reloaded.ipynb")
    (run,) = student.ended(1, "slow")
    assert (run["status"], run["error"]["name"]) == ("error", "ZeroDivisionError")
    assert run.get("error_expected") == (True if tags else None)
    assert run["execution_id"] == start["data"]["execution_id"]
    student.run(1)
    student.ended(1, "quick")
    assert len(student.runs("slow")) == 1
    assert len(student.events("cell_execution_started")) == 2


def test_an_interrupted_run_of_the_server_is_aborted(student: Any) -> None:
    student.open("interrupt.ipynb", notebook(cell("code", "import time\ntime.sleep(120)", "endless")))
    student.run(0)
    student.wait(lambda: student.events("cell_execution_started"))
    student.command("notebook:interrupt-kernel")
    (run,) = student.ended(1, "endless")
    assert (run["status"], run["error"]["name"]) == ("aborted", "KeyboardInterrupt")


def test_runs_of_the_server_that_go_on_after_their_page_was_closed_have_each_a_start_and_an_end(
    new_page: Callable[[], Any],
) -> None:
    student, later = new_page(), new_page()
    slow = "import time\nprint('begun', flush=True)\ntime.sleep(5)"
    student.open(
        "left.ipynb",
        notebook(
            cell("code", slow, "slow"),
            cell("code", "print('next')", "next"),
            cell("code", "1 / 0", "fails", tags=["raises-exception"]),
            cell("code", "print('never')", "dropped"),
        ),
    )
    student.command("notebook:run-all-cells")
    expect(student.outputs(0)).to_contain_text("begun")
    student.wait(lambda: student.events("cell_execution_started"))
    student.page.goto("about:blank")
    later.ended(4)
    ends = {run["cell"]["source_id"]: run["data"] for run in later.runs()}
    assert [
        (ends[cell_id]["status"], ends[cell_id].get("error_expected")) for cell_id in ("slow", "next", "fails")
    ] == [
        ("ok", None),
        ("ok", None),
        ("error", True),
    ]
    assert [output["text"] for output in ends["slow"]["outputs"]] == ["begun\n"]
    assert ends["fails"]["error"]["name"] == "ZeroDivisionError"
    # The server drops what waits behind a failure.
    assert ends["dropped"]["status"] == "aborted"
    starts = {start["data"]["execution_id"] for start in later.events("cell_execution_started")}
    assert starts == {ends[cell_id]["execution_id"] for cell_id in ("slow", "next", "fails")}
    assert len(later.runs()) == 4
