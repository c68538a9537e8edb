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
    expect(student.outputs(0)).to_contain_text("begun")
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


QUEUE = notebook(
    cell("code", "import time\nprint('begun', flush=True)\ntime.sleep(4)", "first"),
    cell("code", "print('second')", "second"),
    cell("code", "int('late')", "fails"),
    cell("code", "print('never')", "skipped"),
)


@pytest.mark.parametrize("act", [leave, crash], ids=["left", "crashed"])
def test_runs_that_were_queued_when_their_page_was_gone_have_each_a_start_and_an_end(
    new_page: Callable[[], Any], act: Callable[[Any], None]
) -> None:
    student, later = new_page(), new_page()
    student.open("queue.ipynb", QUEUE)
    student.command("notebook:run-all-cells")
    expect(student.outputs(0)).to_contain_text("begun")
    student.wait(lambda: student.events("cell_execution_started"))
    act(student)
    later.ended(4)
    ends = {run["cell"]["source_id"]: run["data"] for run in later.runs()}
    assert {cell_id: run["status"] for cell_id, run in ends.items()} == {
        "first": "ok",
        "second": "ok",
        "fails": "error",
        "skipped": "aborted",
    }
    assert (ends["fails"]["error"]["name"], ends["fails"]["code"]) == ("ValueError", "int('late')")
    assert [output["text"] for output in ends["second"]["outputs"]] == ["second\n"]
    starts = later.events("cell_execution_started")
    assert [start["cell"]["source_id"] for start in starts] == ["first", "second", "fails"]
    # The student is not there when they start.
    assert all(start["data"]["queued"] for start in starts[1:])
    assert [start["data"]["execution_id"] for start in starts] == [
        ends[start["cell"]["source_id"]]["execution_id"] for start in starts
    ]
    # Opened again, nothing is reported once more.
    later.open("queue.ipynb")
    later.run(1)
    later.ended(2, "second")
    assert len(later.runs()) == 5


def test_a_run_that_is_queued_behind_a_long_one_is_known_to_the_server_before_its_browser_is_killed(
    new_page: Callable[[], Any],
) -> None:
    student, later = new_page(), new_page()
    student.open("behind.ipynb", QUEUE)
    student.run(0)
    expect(student.outputs(0)).to_contain_text("begun")
    student.wait(lambda: student.events("cell_execution_started"))
    student.run(1)
    with student.server.client() as client:
        student.wait(lambda: client.get("/cell-monitor/status").json()["runs"]["open"] == 2)
    crash(student)
    (run,) = later.ended(1, "second")
    assert run["status"] == "ok"
    assert [start["cell"]["source_id"] for start in later.events("cell_execution_started")] == ["first", "second"]


def test_an_error_that_the_author_expects_is_none_after_its_page_was_closed(new_page: Callable[[], Any]) -> None:
    student, later = new_page(), new_page()
    student.open("expected.ipynb", notebook(cell("code", SLOW, "slow", tags=["raises-exception"])))
    student.run(0)
    expect(student.outputs(0)).to_contain_text("begun")
    student.wait(lambda: student.events("cell_execution_started"))
    leave(student)
    (run,) = later.ended(1, "slow")
    assert (run["status"], run["error_expected"]) == ("error", True)


@pytest.mark.parametrize("expected", [None, True], ids=["plain", "expected"])
def test_a_run_during_which_the_page_is_loaded_again_ends_once(student: Any, expected: bool | None) -> None:
    tags = ["raises-exception"] if expected else []
    student.open("again.ipynb", notebook(cell("code", SLOW, "slow", tags=tags), cell("code", "40 + 2", "quick")))
    student.run(0)
    expect(student.outputs(0)).to_contain_text("begun")
    student.wait(lambda: student.events("cell_execution_started"))
    student.open("again.ipynb")
    (run,) = student.ended(1, "slow")
    assert (run["status"], run.get("error_expected")) == ("error", expected)
    student.run(1)
    student.ended(1, "quick")
    assert len(student.runs("slow")) == 1
    assert len(student.events("cell_execution_started")) == 2


def test_no_run_stays_open_in_the_server_once_its_pages_are_gone(
    new_page: Callable[[], Any],
) -> None:
    cells = notebook(
        cell("code", "1", "first"),
        cell("code", "2", "second"),
        cell("markdown", "x", "text"),
        cell("code", "", "blank"),
    )
    acts: list[Callable[[Any], None]] = [leave, lambda page: page.command("application:close"), crash]
    for number, act in enumerate(acts):
        student = new_page()
        student.open(f"left{number}.ipynb", cells)
        student.run(0)
        student.ended(3 * number + 1)
        student.command("notebook:run-all-cells")
        student.ended(3 * number + 3)
        act(student)
    later = new_page()
    with later.server.client() as client:
        later.wait(lambda: client.get("/cell-monitor/status").json()["runs"]["open"] == 0)


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


@pytest.fixture
def served(own_server: Callable[[], JupyterProcess], new_page: Callable[[], Any], api: Any) -> Any:
    """A page of a server of this test's own; it is closed before the server, of whose end it would complain."""
    student = new_page()
    student.server, student.api = own_server(), api
    return student


def test_a_run_whose_server_is_killed_while_its_page_is_loaded_again_has_an_end(
    served: Any, own_server: Callable[[], JupyterProcess]
) -> None:
    served.open("reloaded.ipynb", CELLS.replace("sleep(4)", "sleep(120)"))
    served.run(0)
    expect(served.outputs(0)).to_contain_text("begun")
    (start,) = served.wait(lambda: served.events("cell_execution_started"))
    leave(served)
    served.wait(lambda: served.events("session_ended"))
    errors = len(served.complaints)
    served.server.kill()
    served.server = own_server()
    served.open("reloaded.ipynb")
    (run,) = served.ended(1, "slow")
    # Nobody can know how it would have ended.
    assert (run["status"], run["execution_id"]) == ("aborted", start["data"]["execution_id"])
    # The browser itself notes requests that were cut.
    leave(served)
    del served.complaints[errors:]


def test_runs_of_a_jupyter_server_that_is_killed_count_once(
    served: Any, own_server: Callable[[], JupyterProcess], api: Any
) -> None:
    served.open("killed.ipynb", CELLS.replace("sleep(4)", "sleep(120)"))
    served.run(1)
    served.ended(1, "quick")
    served.run(0)
    expect(served.outputs(0)).to_contain_text("begun")
    served.wait(lambda: len(served.events("cell_execution_started")) == 2)
    # The monitor takes the last events, but its answer is lost with the server: the page sends them again.
    api.misbehave = lambda seen: stored_and_lost(api, seen)
    served.page.keyboard.press("Control+s")
    served.wait(lambda: served.events("notebook_saved"))
    errors = len(served.complaints)
    served.server.kill()
    api.release.set()
    api.misbehave = lambda _: None
    served.server = own_server()
    served.open("killed.ipynb")
    served.run(1)
    served.ended(2, "quick")
    ends = [run["data"]["execution_id"] for run in served.runs()]
    starts = [event["data"]["execution_id"] for event in served.events("cell_execution_started")]
    assert len(ends) == len(set(ends))
    assert len(starts) == len(set(starts)) == 3
    assert set(ends) <= set(starts)
    # The run that was lost with its kernel ends at the latest when the page reaches the new kernel.
    assert all(run["data"]["status"] == "aborted" for run in served.runs("slow"))
    assert len(served.events("kernel_connected")) == 2
    # The browser itself notes requests that were cut.
    del served.complaints[errors:]


@pytest.mark.parametrize("found_by", ["kernels", "sessions"])
def test_the_kill_of_a_jupyter_server_is_no_death_of_the_kernel_by_the_cell(
    served: Any, own_server: Callable[[], JupyterProcess], found_by: str
) -> None:
    served.open("served.ipynb", CELLS.replace("sleep(4)", "sleep(120)"))
    served.run(0)
    expect(served.outputs(0)).to_contain_text("begun")
    served.wait(lambda: served.events("cell_execution_started"))
    errors = len(served.complaints)
    served.server.kill()
    served.server = own_server()
    # The page stays open, and finds out that its kernel is no more: by whichever of its two lists it reads first.
    served.page.evaluate(f"() => window.jupyterapp.serviceManager.{found_by}.refreshRunning()")
    served.page.wait_for_function(
        "() => ['dead', 'unknown'].includes("
        "window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status ?? 'dead')",
        timeout=120_000,
    )
    (run,) = served.ended(1, "slow")
    assert run["status"] == "aborted"
    served.command("docmanager:save")
    served.wait(lambda: served.events("notebook_saved"))
    assert served.events("kernel_died", "kernel_restarted") == []
    assert len(served.runs("slow")) == 1
    # The browser itself notes requests that were cut.
    del served.complaints[errors:]


def stored_and_lost(api: Any, seen: Any) -> str:
    """Store the events as the monitor does, and never answer."""
    for event in seen.events:
        api.stored.setdefault(event["event_id"], event)
    return "hang"
