"""Hazard: what the monitor says of a run is not what the student sees below the cell."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from cell_monitor_testing.jupyter_page import cell, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

_SHOWN_ERRORS = """index => {
    const cell = window.jupyterapp.shell.currentWidget.content.widgets[index];
    return cell.outputArea.model.toJSON().filter(output => output.output_type === 'error').map(output => output.ename);
}"""
"""The errors that the page shows below a cell."""

_FAILS = "def g():\n    return not_defined\ng()\n"
_ENDLESS = "import time\nprint('begun', flush=True)\nwhile True:\n    time.sleep(0.1)\n"

# What the cell is, and the name of the error that the student sees; None for none.
_SHOWN = {
    "run-script": ("%run fails.py", "NameError"),
    "capture": ("%%capture\n1 / 0", "ZeroDivisionError"),
    "time": ("%%time\n{}['x']", "KeyError"),
    "bash": ("%%bash\nexit 3", "CalledProcessError"),
    "traceback": (
        "try:\n    int('x')\nexcept ValueError:\n    get_ipython().showtraceback()\nprint('goes on')",
        "ValueError",
    ),
    "exit": ("import sys\nsys.exit(1)", "SystemExit"),
    "printed": ("import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()", None),
    "cleared": ("from IPython.display import clear_output\nget_ipython().run_cell('1 / 0')\nclear_output()", None),
    "shell": ("!exit 3", None),
}


def test_a_run_has_failed_where_the_student_sees_an_error_whatever_the_kernel_replies(student: Any) -> None:
    student.write("fails.py", _FAILS)
    student.open("shown.ipynb", notebook(*(cell("code", code, name) for name, (code, _) in _SHOWN.items())))
    for index, (name, (_, error)) in enumerate(_SHOWN.items()):
        student.run(index)
        (run,) = student.ended(1, name)
        assert (name, run["status"], (run.get("error") or {}).get("name")) == (name, "error" if error else "ok", error)
        assert student.page.evaluate(_SHOWN_ERRORS, index) == ([error] if error else [])
    assert "not_defined" in student.ended(1, "run-script")[0]["error"]["traceback"]


def test_an_interrupt_inside_a_script_is_an_interrupt(student: Any) -> None:
    student.write("endless.py", _ENDLESS)
    student.open("endless.ipynb", notebook(cell("code", "%run endless.py", "endless")))
    student.run(0)
    expect(student.outputs(0)).to_contain_text("begun")
    student.command("notebook:interrupt-kernel")
    (run,) = student.ended(1, "endless")
    assert (run["status"], run["error"]["name"]) == ("aborted", "KeyboardInterrupt")


def test_an_error_that_the_author_allows_is_marked_and_the_cells_after_it_run(student: Any) -> None:
    cells = [cell("code", "1 / 0", "meant", tags=["raises-exception"]), cell("code", "print('goes on')", "after")]
    student.open("meant-to-fail.ipynb", notebook(*cells))
    student.command("notebook:run-all-cells")
    (after,) = student.ended(1, "after")
    (meant,) = student.ended(1, "meant")
    assert (meant["status"], meant["error"]["name"], meant["error_expected"]) == ("error", "ZeroDivisionError", True)
    assert (after["status"], after.get("error_expected")) == ("ok", None)


_LIVE = {
    "update": (
        "h = display('0 %', display_id='p')\nfor i in (33, 66, 100):\n    display(f'{i} %', display_id='p', update=True)",
        "'100 %'",
    ),
    "return": (
        "import sys, time\nfor i in range(0, 101, 25):\n    print(f'\\r{i} %', end='', flush=True)\n    time.sleep(0.05)",
        "100 %",
    ),
    "overwritten": ("import time\nprint('loading', end='', flush=True)\ntime.sleep(0.3)\nprint('\\rdone')", "doneing"),
    "backspace": (
        "import time\nprint('|', end='', flush=True)\nfor mark in '/-':\n    print('\\b' + mark, end='', flush=True)\n    time.sleep(0.05)\nprint('\\b!')",
        "!",
    ),
    "clear": (
        "from IPython.display import clear_output\nfor i in range(3):\n    clear_output(wait=True)\n    print(f'round {i}')",
        "round 2",
    ),
}


def test_the_recorded_output_is_what_the_student_sees_at_the_end(student: Any) -> None:
    student.open("live.ipynb", notebook(*(cell("code", code, name) for name, (code, _) in _LIVE.items())))
    for index, (name, (_, shown)) in enumerate(_LIVE.items()):
        student.run(index)
        (run,) = student.ended(1, name)
        expect(student.cell(index).locator(".jp-OutputArea-output")).to_have_text(shown)
        assert (name, [output["text"].rstrip("\n") for output in run["outputs"]]) == (name, [shown])


def test_a_run_goes_on_while_the_student_looks_at_another_notebook(student: Any) -> None:
    # JupyterLab asks the debugger whenever a notebook is shown, and the kernel says "idle" after that answer.
    slow = "import time\ntime.sleep(6)\nraise ValueError('at the end')"
    student.open("long-run.ipynb", notebook(cell("code", slow, "slow")))
    student.open_beside("other.ipynb", notebook(cell("code", "1", "other")))
    student.show("long-run.ipynb")
    student.run(0)
    student.wait(lambda: student.events("cell_execution_started"))
    student.show("other.ipynb")
    student.show("long-run.ipynb")
    (run,) = student.ended(1, "slow")
    assert (run["status"], run["error"]["value"]) == ("error", "at the end")
    assert run["duration_ms"] >= 6000
    assert student.page.evaluate(_SHOWN_ERRORS, 0) == ["ValueError"]
    assert len(student.runs("slow")) == 1


def test_a_second_view_of_a_notebook_does_not_count_its_runs_again(student: Any) -> None:
    student.open("two-views.ipynb", notebook(cell("code", "print(1)", "good"), cell("code", "1 / 0", "bad")))
    student.command("docmanager:clone")
    panels = student.page.locator(".jp-NotebookPanel")
    expect(panels).to_have_count(2)
    student.page.wait_for_function("() => !!window.jupyterapp.shell.currentWidget?.content?.activeCell")
    student.command("notebook:run-all-cells")
    student.ended(1, "bad")
    # A save is reported after the runs: what would have been reported twice has been by then.
    student.command("docmanager:save")
    student.wait(lambda: student.events("notebook_saved"))
    assert [(run["cell"]["id"], run["data"]["status"]) for run in student.runs()] == [("good", "ok"), ("bad", "error")]
    assert len(student.events("cell_execution_started")) == 2
    assert len(student.events("session_started")) == 1
    assert len(student.events("notebook_saved")) == 1
    # The session lasts until the last view is closed.
    student.command("application:close")
    expect(panels).to_have_count(1)
    student.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.context?.path?.endsWith('two-views.ipynb')"
    )
    student.run(0)
    student.ended(2, "good")
    assert student.events("session_ended") == []
    student.command("docmanager:save")
    student.wait(lambda: len(student.events("notebook_saved")) == 2)
    student.command("application:close")
    student.wait(lambda: student.events("session_ended"))


def test_each_run_belongs_to_the_page_that_asked_for_it(new_page: Callable[[], Any]) -> None:
    first, second = new_page(), new_page()
    text = notebook(cell("code", "import time\ntime.sleep(4)\nprint('slow')", "slow"), cell("code", "1", "quick"))
    first.open("two-windows.ipynb", text)
    first.run(0)
    (start,) = first.wait(lambda: first.events("cell_execution_started"))
    second.page.goto(
        f"{second.server.url}/lab/tree/{second.folder}/two-windows.ipynb?token={second.server.token}&reset"
    )
    opened = second.wait(lambda: len(second.events("session_started")) == 2 and second.events("session_started"))[1]
    # The run that goes on is not ended by the second window.
    assert opened["data"]["ends_runs"] is False
    (run,) = first.ended(1, "slow")
    assert (run["status"], run["execution_id"]) == ("ok", start["data"]["execution_id"])
    connected = second.wait(lambda: second.events("kernel_connected", session_id=opened["session_id"]))[0]
    ended = first.runs("slow")[0]
    # By the kernel's time: one page may read its messages later than the other.
    kernel_end = datetime.fromisoformat(ended["data"]["started_at"]) + timedelta(milliseconds=run["duration_ms"])
    assert kernel_end <= datetime.fromisoformat(connected["occurred_at"])
    second.ready("two-windows.ipynb")
    second.run(1)
    second.ended(1, "quick")
    assert second.runs("quick")[0]["session_id"] == opened["session_id"]
    assert len(first.runs()) == 2


def test_runs_of_others_on_the_same_kernel_are_not_the_notebooks(student: Any) -> None:
    student.open("console.ipynb", notebook(cell("code", "x", "own")))
    student.page.evaluate(
        """async () => {
            const { serviceManager, shell } = window.jupyterapp;
            const model = shell.currentWidget.sessionContext.session.kernel.model;
            const other = serviceManager.kernels.connectTo({ model });
            await other.requestExecute({ code: 'x = 40 + 2' }).done;
            await other.requestExecute({ code: '1 / 0' }, true, { cellId: 'own' }).done;
        }"""
    )
    student.run(0)
    (run,) = student.ended(1)
    assert [output["text"] for output in run["outputs"]] == ["42"]


def test_a_kernel_that_a_cell_kills_is_the_cells_doing_and_counts_once(new_page: Callable[[], Any]) -> None:
    first, second = new_page(), new_page()
    # What is printed leaves the process in a thread of its own.
    killer = "import os, signal, time\nprint('start', flush=True)\ntime.sleep(1)\nos.kill(os.getpid(), signal.SIGKILL)"
    first.open("killer.ipynb", notebook(cell("code", "1", "other"), cell("code", killer, "killer")))
    second.open("killer.ipynb")
    first.run(1)
    (run,) = first.ended(1, "killer")
    assert (run["status"], run["outputs"][0]["text"]) == ("aborted", "start\n")
    restarts = first.wait(lambda: len(first.events("kernel_restarted")) == 2 and first.events("kernel_restarted"))
    by_session = {event["session_id"]: event for event in restarts}
    own = by_session.pop(first.runs("killer")[0]["session_id"])
    assert (own["data"], own["cell"]["id"]) == ({"reason": "auto", "running": True}, "killer")
    (seen,) = by_session.values()
    assert (seen["data"], seen.get("cell")) == ({"reason": "auto", "running": False}, None)


def test_a_cell_that_kills_the_kernel_at_once_is_named(student: Any) -> None:
    student.open("at-once.ipynb", notebook(cell("code", "import os\nos._exit(1)", "killer")))
    student.run(0)
    (restarted,) = student.wait(lambda: student.events("kernel_restarted"))
    assert (restarted["data"], restarted["cell"]["id"]) == ({"reason": "auto", "running": True}, "killer")
    assert student.ended(1, "killer")[0]["status"] == "aborted"


def test_a_lost_connection_loses_no_outcome(student: Any) -> None:
    slow = "import time\nprint('begun', flush=True)\ntime.sleep(3)\n1 / 0"
    student.open("connection.ipynb", notebook(cell("code", slow, "slow"), cell("code", "1", "after")))
    student.run(0)
    expect(student.outputs(0)).to_contain_text("begun")
    # As a proxy that closes the connection: JupyterLab connects again, and the server replays what it kept.
    student.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel._ws.close(4000)")
    (run,) = student.ended(1, "slow")
    assert (run["status"], run["error"]["name"]) == ("error", "ZeroDivisionError")
    student.run(1)
    assert student.ended(1, "after")[0]["status"] == "ok"
    assert len(student.runs("slow")) == 1


def test_a_cell_that_is_run_before_there_is_a_kernel_is_not_ok(student: Any) -> None:
    held: list[Any] = []
    sessions = re.compile(r"/api/sessions(\?|$)")
    student.page.route(
        sessions, lambda route: held.append(route) if route.request.method == "POST" else route.continue_()
    )
    student.write("starting.ipynb", notebook(cell("code", "print(1)", "early")))
    student.page.goto(
        f"{student.server.url}/lab/tree/{student.folder}/starting.ipynb?token={student.server.token}&reset"
    )
    student.wait(lambda: student.events("notebook_opened") and held)
    student.run(0)
    student.page.wait_for_timeout(500)
    early = [event["data"]["status"] for event in student.runs("early")]
    assert early in ([], ["aborted"])
    assert student.events("cell_execution_started") == []
    expect(student.cell(0).locator(".jp-OutputArea-output")).to_have_count(0)
    for route in held:
        route.continue_()
    student.page.unroute(sessions)
    student.ready("starting.ipynb")
    # The kernel that came may still execute it; then that is a run, and it is one of its own.
    student.run(0)
    student.wait(lambda: [run for run in student.runs("early") if run["data"]["status"] == "ok"])
