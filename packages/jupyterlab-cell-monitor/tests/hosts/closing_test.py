"""Hazard: a run has no end, or two, because its page or its Jupyter server is gone before it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, expect

from cell_monitor.embedded.process import free_port
from cell_monitor_testing.jupyter_page import cell, notebook
from cell_monitor_testing.jupyter_process import JupyterProcess, start_jupyter

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

SLOW = "import time\nprint('begun', flush=True)\ntime.sleep(4)\n1 / 0"
CELLS = notebook(cell("code", SLOW, "slow"), cell("code", "40 + 2", "quick"))


def leave(student: Any) -> None:
    student.page.goto("about:blank")


def crash(student: Any) -> None:
    with contextlib.suppress(Error):
        student.page.goto("chrome://crash")


@pytest.mark.parametrize("act", [leave, crash], ids=["left", "crashed"])
def test_the_end_of_a_run_is_reported_although_its_page_is_gone(
    new_page: Callable[[], Any], act: Callable[[Any], None]
) -> None:
    student, later = new_page(), new_page()
    student.open("closed.ipynb", CELLS)
    student.run(1)
    student.ended(1, "quick")
    student.run(0)
    expect(student.cell(0)).to_contain_text("begun")
    start = student.wait(lambda: student.events("cell_execution_started")[1:])[0]
    act(student)
    (run,) = later.ended(1, "slow")
    assert (run["status"], run["error"]["name"]) == ("error", "ZeroDivisionError")
    assert run["execution_id"] == start["data"]["execution_id"]
    assert run["duration_ms"] >= 4000
    assert [output["text"] for output in run["outputs"]] == ["begun\n"]
    # Opened again, nothing is reported once more.
    later.open("closed.ipynb")
    later.run(1)
    later.ended(2, "quick")
    assert len(later.runs("slow")) == 1


def test_a_run_during_which_the_page_is_loaded_again_ends_once(student: Any) -> None:
    student.open("again.ipynb", CELLS)
    student.run(0)
    expect(student.cell(0)).to_contain_text("begun")
    student.wait(lambda: student.events("cell_execution_started"))
    student.open("again.ipynb")
    (run,) = student.ended(1, "slow")
    assert run["status"] == "error"
    student.run(1)
    student.ended(1, "quick")
    assert len(student.runs("slow")) == 1


@pytest.fixture
def own_server(host: Any, api: Any, tmp_path: Path) -> Iterator[Callable[[], JupyterProcess]]:
    """Start a server of this test's own; a second call starts it again under the same address."""
    started: list[JupyterProcess] = []
    port, token = free_port(), "t" * 32

    def start() -> JupyterProcess:
        server = start_jupyter(
            tmp_path,
            python=host.python,
            port=port,
            token=token,
            environment={"CELL_MONITOR_API_URL": api.url, "CELL_MONITOR_API_KEY": "test-key"},
            options=["--LabApp.expose_app_in_browser=True"],
        )
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


def test_runs_of_a_jupyter_server_that_is_killed_count_once(
    new_page: Callable[[], Any], own_server: Callable[[], JupyterProcess], api: Any
) -> None:
    student = new_page()
    student.server, student.api = own_server(), api
    student.open("killed.ipynb", CELLS.replace("sleep(4)", "sleep(120)"))
    student.run(1)
    student.ended(1, "quick")
    student.run(0)
    expect(student.cell(0)).to_contain_text("begun")
    student.wait(lambda: len(student.events("cell_execution_started")) == 2)
    # The monitor takes the last events, but its answer is lost with the server: the page sends them again.
    api.misbehave = lambda seen: stored_and_lost(api, seen)
    student.page.keyboard.press("Control+s")
    student.wait(lambda: student.events("notebook_saved"))
    errors = len(student.complaints)
    student.server.kill()
    api.release.set()
    api.misbehave = lambda _: None
    student.server = own_server()
    student.open("killed.ipynb")
    student.run(1)
    student.ended(2, "quick")
    ends = [run["data"]["execution_id"] for run in student.runs()]
    starts = [event["data"]["execution_id"] for event in student.events("cell_execution_started")]
    assert len(ends) == len(set(ends))
    assert len(starts) == len(set(starts)) == 3
    assert set(ends) <= set(starts)
    # The run that was lost with its kernel ends at the latest when the page reaches the new kernel.
    assert all(run["data"]["status"] == "aborted" for run in student.runs("slow"))
    assert len(student.events("kernel_connected")) == 2
    # The browser itself notes requests that were cut.
    del student.complaints[errors:]


def stored_and_lost(api: Any, seen: Any) -> str:
    """Store the events as the monitor does, and never answer."""
    for event in seen.events:
        api.stored.setdefault(event["event_id"], event)
    return "hang"
