"""Hazard: what somebody does to a kernel is taken for what a cell does, or the other way round."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from cell_monitor_testing.jupyter_page import cell, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

_KERNEL_ID = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id"
_HAS_KERNEL = "() => !!window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
_CONNECTED = """() =>
    window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.connectionStatus === 'connected'"""
_CONSOLE = """code => {
    const { serviceManager, shell } = window.jupyterapp;
    const model = shell.currentWidget.sessionContext.session.kernel.model;
    const console = serviceManager.kernels.connectTo({ model });
    window.consoleRun = console.requestExecute({ code });
}"""
"""Runs code as a console on the notebook's kernel does: another client of it."""
_ENDLESS = "print('begun', flush=True)\nimport time\ntime.sleep(120)"

_SUBPROCESS = """import subprocess
print('begun', flush=True)
process = subprocess.Popen(['sleep', '120'])
try:
    process.wait()
except KeyboardInterrupt:
    raise subprocess.CalledProcessError(-2, 'sleep')"""
# ipykernel 7.4 notices an interrupt when its event loop wakes up.
_AWAIT = "import asyncio\nprint('begun', flush=True)\nwhile True:\n    await asyncio.sleep(0.1)"
_CHAINED = """import time
print('begun', flush=True)
try:
    time.sleep(120)
except KeyboardInterrupt as stop:
    raise RuntimeError('stopped') from stop"""
_INTERRUPTED = {
    "bash": ("%%bash\necho begun\nsleep 120", "CalledProcessError"),
    "subprocess": (_SUBPROCESS, "CalledProcessError"),
    "await": (_AWAIT, "CancelledError"),
    "chained": (_CHAINED, "RuntimeError"),
}
"""Runs that an interrupt ends with another exception than KeyboardInterrupt, and its name."""


def killing(gate: Path) -> str:
    """Return code that says that it has begun, and kills the kernel once there is a file ``gate``."""
    return (
        "import os, time\nprint('begun', flush=True)\n"
        f"while not os.path.exists({str(gate)!r}):\n    time.sleep(0.05)\nos._exit(1)"
    )


def by_the_command(student: Any) -> None:
    student.command("notebook:interrupt-kernel")


def by_the_keys(student: Any) -> None:
    student.page.keyboard.press("Escape")
    student.page.keyboard.press("i")
    student.page.keyboard.press("i")


def by_another_client(student: Any) -> None:
    with student.server.client() as client:
        client.post(f"/api/kernels/{student.page.evaluate(_KERNEL_ID)}/interrupt").raise_for_status()


@pytest.mark.parametrize("interrupt", [by_the_command, by_the_keys, by_another_client], ids=["command", "keys", "api"])
def test_an_interrupted_run_is_no_failure_whatever_exception_the_interrupt_becomes(
    student: Any, interrupt: Callable[[Any], None]
) -> None:
    student.open(
        "interrupted.ipynb",
        notebook(*(cell("code", code, name) for name, (code, _) in _INTERRUPTED.items()), cell("code", "1 / 0", "bad")),
    )
    for index, (name, (_, error)) in enumerate(_INTERRUPTED.items()):
        student.run(index)
        expect(student.outputs(index)).to_contain_text("begun")
        student.wait(lambda: len(student.events("cell_execution_started")) == index + 1)  # noqa: B023 - called at once
        interrupt(student)
        (run,) = student.ended(1, name)
        assert (name, run["status"], run["error"]["name"]) == (name, "aborted", error)
    # What fails without an interrupt has failed.
    student.run(len(_INTERRUPTED))
    (bad,) = student.ended(1, "bad")
    assert (bad["status"], bad["error"]["name"]) == ("error", "ZeroDivisionError")


def test_a_cell_that_calls_quit_has_killed_its_kernel_each_time(student: Any) -> None:
    student.open("quit.ipynb", notebook(cell("code", "1", "other"), cell("code", "quit()", "quits")))
    # JupyterLab says in a dialog that the kernel has died.
    student.page.add_locator_handler(student.page.locator(".jp-Dialog .jp-mod-accept"), lambda button: button.click())
    for count in (1, 2, 3):
        student.run(1)
        student.wait(lambda: len(student.events("kernel_restarted")) == count)  # noqa: B023 - called at once
        student.ended(count, "quits")
        # Closed before the next run: a dialog that closes later takes the focus from the cell that is to be run.
        expect(student.page.locator(".jp-Dialog")).to_have_count(0)
        # The page connects to the new process, and does not learn of a death that comes before it has.
        student.page.wait_for_function(_CONNECTED)
    assert [(event["data"], event.get("cell", {}).get("id")) for event in student.events("kernel_restarted")] == [
        ({"reason": "auto", "running": True}, "quits")
    ] * 3
    assert [run["status"] for run in student.ended(3, "quits")] == ["aborted"] * 3


_ENDINGS = {
    "change": "context => context.changeKernel({ name: context.session.kernel.name })",
    "shutdown": "context => context.shutdown()",
    "restart": "context => context.restartKernel()",
    "running-panel": "context => window.jupyterapp.serviceManager.sessions.shutdown(context.session.id)",
    "kernel": "context => window.jupyterapp.serviceManager.kernels.shutdown(context.session.kernel.id)",
}
"""Ways in which a student ends the kernel of the notebook in front."""


@pytest.mark.parametrize("end", list(_ENDINGS))
def test_a_run_whose_kernel_is_ended_by_the_student_ends_at_once_and_the_kernel_has_not_died(
    student: Any, end: str
) -> None:
    student.open("ended.ipynb", notebook(cell("code", _ENDLESS, "endless")))
    student.run(0)
    expect(student.outputs(0)).to_contain_text("begun")
    student.wait(lambda: student.events("cell_execution_started"))
    # Changing and ending a kernel that is busy takes seconds, in which its process is asked to end.
    ended_at = student.page.evaluate(
        f"async () => {{ const end = {_ENDINGS[end]};"
        " await end(window.jupyterapp.shell.currentWidget.sessionContext);"
        " return Date.now(); }"
    )
    (run,) = student.ended(1, "endless")
    assert run["status"] == "aborted"
    (event,) = student.runs("endless")
    assert datetime.fromisoformat(event["occurred_at"]).timestamp() * 1000 <= ended_at
    student.command("docmanager:save")
    student.wait(lambda: student.events("notebook_saved"))
    assert student.events("kernel_died") == []
    assert [each["data"] for each in student.events("kernel_restarted")] == (
        [{"reason": "user"}] if end == "restart" else []
    )


def test_a_cell_that_waits_behind_a_consoles_run_starts_when_the_kernel_begins_it(student: Any) -> None:
    student.open("behind.ipynb", notebook(cell("code", "print('own')", "own"), cell("code", "2", "other")))
    # The console's run ends when the test makes this file.
    gate = student.server.folder / student.folder / "gate"
    student.page.evaluate(
        _CONSOLE, f"import os, time\nprint('begun')\nwhile not os.path.exists({str(gate)!r}):\n    time.sleep(0.05)"
    )
    student.page.evaluate("() => new Promise(begun => { window.consoleRun.onIOPub = message => { begun(); }; })")
    student.run(0)
    # A save is reported later than what was reported at once.
    student.command("docmanager:save")
    student.wait(lambda: student.events("notebook_saved"))
    assert student.events("cell_execution_started") == []
    gate.touch()
    (run,) = student.ended(1, "own")
    assert run["status"] == "ok"
    (start,) = student.events("cell_execution_started")
    assert start["data"]["queued"] is True


def test_a_cell_that_waits_behind_a_console_has_not_killed_the_kernel(student: Any) -> None:
    student.open("innocent.ipynb", notebook(cell("code", "1", "innocent")))
    gate = student.server.folder / student.folder / "gate"
    student.page.evaluate(_CONSOLE, killing(gate))
    student.page.evaluate("() => new Promise(begun => { window.consoleRun.onIOPub = message => { begun(); }; })")
    student.run(0)
    gate.touch()
    (restarted,) = student.wait(lambda: student.events("kernel_restarted"))
    assert (restarted["data"], restarted.get("cell")) == ({"reason": "auto", "running": False}, None)


def test_a_cell_of_a_window_that_was_opened_while_another_cell_ran_has_not_killed_the_kernel(
    new_page: Callable[[], Any],
) -> None:
    first, second = new_page(), new_page()
    gate = first.server.folder / first.folder / "gate"
    first.open("week1.ipynb", notebook(cell("code", killing(gate), "kills"), cell("code", "1 + 1", "innocent")))
    first.run(0)
    expect(first.outputs(0)).to_contain_text("begun")
    second.page.goto(f"{second.server.url}/lab/tree/{second.folder}/week1.ipynb?token={second.server.token}&reset")
    second.cell(1).wait_for()
    # Without a kernel, and before the page is recorded, JupyterLab may run nothing.
    second.page.wait_for_function(_HAS_KERNEL)
    second.wait(lambda: len(first.opened("week1.ipynb")) == 2)
    second.run(1)
    expect(second.cell(1)).to_contain_text("[*]")
    gate.touch()

    def killers() -> list[str]:
        return [each["cell"]["source_id"] for each in first.events("kernel_restarted") if each["data"]["running"]]

    first.wait(killers)
    _, other = [event["session_id"] for event in first.events("session_started")]
    # The other window reports that it is connected to the new process, where it is so for the first time, or the restart.
    seen = ("kernel_connected", "kernel_restarted")
    first.wait(lambda: any(event["session_id"] == other for kind in seen for event in first.events(kind)))
    assert killers() == ["kills"]


def test_a_cell_that_kills_the_kernel_after_its_page_was_loaded_again_is_named_once(student: Any) -> None:
    gate = student.server.folder / student.folder / "gate"
    student.open("reloaded.ipynb", notebook(cell("code", killing(gate), "kills"), cell("code", "1 + 1", "innocent")))
    student.run(0)
    expect(student.outputs(0)).to_contain_text("begun")
    student.wait(lambda: student.events("cell_execution_started"))
    student.reload()
    student.wait(lambda: len(student.opened("reloaded.ipynb")) == 2)
    student.page.wait_for_function(_HAS_KERNEL)
    gate.touch()
    (run,) = student.ended(1, "kills")
    assert run["status"] == "aborted"
    # The page that was loaded again may have seen the death too, and says that none of its own runs was lost.
    deaths = student.wait(lambda: [each for each in student.events("kernel_restarted") if each["data"]["running"]])
    assert [(each["data"]["reason"], each["cell"]["source_id"]) for each in deaths] == [("auto", "kills")]
