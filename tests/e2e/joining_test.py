"""Hazards of joining by code, between a JupyterLab of the student's own and the page that the instructor shows.

A student cannot get in with what the page says, their work does not appear, the secret reaches the browser or others on the
computer, or somebody who was removed goes on being recorded without knowing it.
"""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, Response, expect

from cell_monitor_testing.jupyter_page import cell, notebook
from cell_monitor_testing.jupyter_process import JupyterProcess, start_jupyter
from cell_monitor_testing.log_text import assert_not_written, event_names
from cell_monitor_testing.standalone import StandaloneUp

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

WITHIN_MS = 60_000
"""A generous time-out for a busy machine."""
NOTEBOOK = notebook(cell("code", "print(undefined_name)", "first"))


@pytest.fixture
def jupyter(tmp_path: Path) -> Iterator[JupyterProcess]:
    """A JupyterLab that nobody configured: with the extension, without a key and without a Hub."""
    home = tmp_path / "student"
    home.mkdir()
    (home / "week1.ipynb").write_text(NOTEBOOK, encoding="utf-8")
    server = start_jupyter(home)
    yield server
    server.stop()


@pytest.fixture
def joining_page(instructor: Callable[..., Page]) -> Page:
    """The page that the instructor shows, with joining open."""
    page = instructor()
    page.get_by_role("link", name="Join by code").click()
    expect(page.get_by_role("button", name=re.compile("Open joining|New code"))).to_be_visible()
    if page.get_by_role("button", name="Close joining").count():
        # Left open by another test: the code shown is to be this one's.
        page.get_by_role("button", name="Close joining").click()
    page.get_by_role("button", name="Open joining").click()
    expect(page.locator(".join__code")).to_be_visible()
    return page


def open_notebook(page: Page, jupyter: JupyterProcess) -> None:
    page.goto(f"{jupyter.url}/lab/tree/week1.ipynb?token={jupyter.token}")
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=60_000)


def fill(page: Page, address: str, code: str, name: str) -> None:
    """Fill in the dialog and press its button."""
    page.get_by_label("Address that your instructor shows").fill(address)
    page.get_by_label("Code", exact=True).fill(code)
    page.get_by_label("Your name").fill(name)
    page.locator(".jp-Dialog").get_by_role("button", name="Join").click()


def run_first_cell(page: Page) -> None:
    page.locator(".jp-Notebook .jp-CodeCell").first.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")


def row_of(page: Page, name: str) -> Locator:
    return page.get_by_role("grid").get_by_role("row").filter(has_text=name)


def assert_the_secret_is_in_one_file(
    up: StandaloneUp, jupyter: JupyterProcess, answers: list[Response], code: str
) -> None:
    """Check that the secret is in a file for its user alone, and neither it nor the code in the browser or a log."""
    [kept] = [path for path in jupyter.folder.rglob("*") if path.name == "joined.json"]
    secret = json.loads(kept.read_text())["secret"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    bodies = [answer.text() for answer in answers if "/cell-monitor/join" in answer.url]
    assert any("Hanako" in body for body in bodies)
    assert not [body for body in bodies if secret in body]
    logs = {path.stem: path.read_text(errors="replace") for path in (up.data_dir / "logs").iterdir()}
    assert "api_started" in event_names(logs["api"])
    students = jupyter.log.read_text(errors="replace")
    # The wrong code: Jupyter has a line for each request that it refused.
    assert "422 POST /cell-monitor/join" in students
    for log in (students, *logs.values()):
        # As the page shows it, and as it was typed.
        assert_not_written(log, secret, code, code.lower().replace("-", " "))


def test_a_student_joins_with_what_the_page_shows_is_seen_and_is_removed(
    up: StandaloneUp,
    jupyter: JupyterProcess,
    joining_page: Page,
    open_page: Callable[..., Page],
    screenshot: Callable[[Page, str], None],
) -> None:
    page = joining_page
    screenshot(page, "join-page")
    code = page.locator(".join__code").inner_text()
    address = page.locator(".join__entries dd").first.inner_text()
    assert address == up.addresses["dashboard"]
    student = open_page()
    answers: list[Response] = []
    student.on("response", lambda answer: answers.append(answer) if "/cell-monitor" in answer.url else None)
    open_notebook(student, jupyter)
    status = student.locator(".jp-CellMonitor-status")
    expect(status).to_have_text("Monitor: join a class")

    # A wrong code is refused in words, and what was typed stays.
    status.click()
    fill(student, address, "0000-0000-0000", "Hanako")
    fault = student.locator(".jp-Dialog").get_by_role("alert")
    expect(fault).to_contain_text("This code is wrong")
    screenshot(student, "join-dialog")
    expect(student.get_by_label("Your name")).to_have_value("Hanako")
    # As somebody copies the page's address, and types the code.
    fill(student, f"{address}/courses/intro-python", code.lower().replace("-", " "), "Hanako")
    expect(status).to_have_text(re.compile("^Monitor: recording · .?Hanako.?$"), timeout=WITHIN_MS)

    run_first_cell(student)
    page.get_by_role("link", name="To the live page").click()
    row = row_of(page, "Hanako")
    expect(row).to_contain_text("NameError", timeout=WITHIN_MS)
    expect(row).to_contain_text("Joined by code")
    screenshot(page, "join-row")

    assert_the_secret_is_in_one_file(up, jupyter, answers, code)

    # After a new start of the server it is the same student.
    port = int(jupyter.url.rpartition(":")[2])
    jupyter.stop()
    again = start_jupyter(jupyter.folder, token=jupyter.token, port=port)
    try:
        open_notebook(student, again)
        expect(status).to_have_text(re.compile("^Monitor: recording · .?Hanako.?$"), timeout=WITHIN_MS)
        assert row_of(page, "Hanako").count() == 1

        # Removed, they see it, and nothing more is recorded.
        row.get_by_role("button").click()
        drawer = page.get_by_role("dialog")
        drawer.get_by_role("button", name="Remove from the course").click()
        drawer.get_by_role("button", name="Remove", exact=True).click()
        expect(row).to_have_count(0, timeout=WITHIN_MS)
        # The token that the server holds ends within seconds; the next thing that the student does shows it.
        removed = time.monotonic()
        while status.inner_text() != "Monitor: join a class":
            assert time.monotonic() < removed + 120, status.inner_text()
            run_first_cell(student)
            student.wait_for_timeout(500)
        status.click()
        expect(student.locator(".jp-Dialog").get_by_role("alert")).to_contain_text("you were removed from the class")
        expect(student.get_by_label("Code", exact=True)).to_be_visible()
    finally:
        again.stop()


def test_a_new_computer_is_merged_with_the_row_of_its_student(
    up: StandaloneUp, jupyter: JupyterProcess, joining_page: Page, open_page: Callable[..., Page]
) -> None:
    page = joining_page
    code = page.locator(".join__code").inner_text()
    # The lost computer.
    body = {"code": code, "name": "Jiro", "secret": "a" * 43}
    answer = httpx.post(f"{up.addresses['ingest']}/api/v1/auth/join", json=body, trust_env=False)
    assert answer.status_code == 201, answer.text
    student = open_page(locale="ja-JP")
    open_notebook(student, jupyter)
    student.locator(".jp-CellMonitor-status").click()
    fill(student, up.addresses["ingest"], code, "Jiro (new)")
    status = student.locator(".jp-CellMonitor-status")
    expect(status).to_have_text(re.compile(r"^Monitor: recording · .?Jiro \(new\).?$"), timeout=WITHIN_MS)
    page.get_by_role("link", name="To the live page").click()
    row_of(page, "Jiro (new)").get_by_role("button").click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_label("The same person as").select_option("Jiro")
    drawer.get_by_role("button", name="Merge").click()
    expect(row_of(page, "Jiro (new)")).to_have_count(0, timeout=WITHIN_MS)
    row = row_of(page, "Jiro")
    began = time.monotonic()
    while "NameError" not in row.inner_text():
        assert time.monotonic() < began + 120, row.inner_text()
        run_first_cell(student)
        student.wait_for_timeout(500)


def test_the_line_that_the_page_shows_installs_the_extension(joining_page: Page, tmp_path: Path) -> None:
    line = joining_page.locator(".join__line").inner_text().strip()
    program, command, url = line.split(" ")
    assert (program, command) == ("pip", "install")
    home = tmp_path / "venv"
    venv.create(home, with_pip=True, system_site_packages=False)
    python = home / "bin" / "python"
    # What it depends on is installed with every JupyterLab; a classroom may have no way to a package index.
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--no-index", "--no-deps", url],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    extension = home / "share" / "jupyter" / "labextensions" / "jupyterlab-cell-monitor"
    assert (extension / "package.json").is_file()
    assert (home / "etc" / "jupyter" / "jupyter_server_config.d" / "jupyterlab_cell_monitor.json").is_file()
    assert sys.prefix not in done.stdout
