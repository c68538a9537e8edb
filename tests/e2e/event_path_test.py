"""Hazard: a run or a help request in JupyterLab does not appear on an open dashboard, or a stale page looks live."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from cell_monitor_testing.standalone import StandaloneUp, run_cell_monitor

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

WITHIN_MS = 60_000
"""A generous time-out for a busy machine; ``make bench`` measures the latency."""


@pytest.fixture
def notebook(up: StandaloneUp, open_page: Callable[..., Page]) -> Page:
    """A student's JupyterLab with the sample notebook open and its kernel idle."""
    page = open_page()
    page.goto(up.addresses["jupyterlab"])
    page.locator(".jp-DirListing-item", has_text="first-steps.ipynb").dblclick()
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=60_000)
    return page


def run_cell(page: Page, index: int, code: str) -> None:
    """Enter code into a cell, run it and wait for its end."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(index)
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")
    expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=60_000)


def row_of(page: Page, name: str) -> Locator:
    """The student's row in the list of all students."""
    return page.get_by_role("grid").get_by_role("row").filter(has_text=name)


def test_a_failing_run_appears_on_the_dashboard_without_a_reload(
    instructor: Callable[..., Page], notebook: Page, screenshot: Callable[[Page, str], None]
) -> None:
    dashboard = instructor()
    expect(dashboard.get_by_text("Live", exact=True)).to_be_visible()
    run_cell(notebook, 0, "print(undefined_name)")
    row = row_of(dashboard, "Student")
    expect(row).to_contain_text("NameError", timeout=WITHIN_MS)
    expect(row).to_contain_text("Error")
    run_cell(notebook, 0, "print('corrected')")
    expect(row).not_to_contain_text("NameError", timeout=WITHIN_MS)
    expect(row).to_contain_text("OK")
    screenshot(dashboard, "dashboard-after-a-run")


def test_a_help_request_is_shown_and_claimed_and_the_student_is_notified(
    instructor: Callable[..., Page], notebook: Page, screenshot: Callable[[Page, str], None]
) -> None:
    dashboard = instructor()
    run_cell(notebook, 1, "1 / 0")
    notebook.get_by_role("button", name="Ask for help").click()
    notebook.locator(".jp-Dialog textarea, .jp-Dialog input").first.fill("割り算がわからない")
    notebook.locator(".jp-Dialog .jp-mod-accept").click()
    requests = dashboard.get_by_role("region", name="Help requests")
    expect(requests).to_contain_text("割り算がわからない", timeout=WITHIN_MS)
    expect(row_of(dashboard, "Student")).to_contain_text("Needs help")
    screenshot(dashboard, "dashboard-help")
    requests.get_by_role("button", name=re.compile("I.m on it")).click()
    # A name is between the marks that isolate its direction.
    expect(notebook.get_by_text(re.compile("Instructor\u2069 is on it")).first).to_be_visible(timeout=WITHIN_MS)
    requests.get_by_role("button", name="Resolved").click()
    # The notice and the button's text are shown for some seconds only, the list stays: they are looked at first.
    ended = re.compile("Instructor\u2069 marked your help request as resolved")
    expect(notebook.locator(".jp-toast-message").get_by_text(ended)).to_be_visible(timeout=WITHIN_MS)
    expect(notebook.get_by_role("button", name="Help: resolved")).to_be_visible(timeout=WITHIN_MS)
    expect(requests).not_to_contain_text("割り算がわからない", timeout=WITHIN_MS)
    expect(notebook.get_by_role("button", name="Ask for help")).to_be_visible(timeout=WITHIN_MS)


def test_code_and_output_of_a_run_are_in_the_students_drawer(instructor: Callable[..., Page], notebook: Page) -> None:
    dashboard = instructor()
    run_cell(notebook, 2, "print('printed by ' + 'the student')\nraise ValueError('for the drawer')")
    expect(row_of(dashboard, "Student")).to_contain_text("ValueError", timeout=WITHIN_MS)
    row_of(dashboard, "Student").click()
    drawer = dashboard.get_by_role("dialog")
    drawer.get_by_role("tab", name="Runs").click()
    expect(drawer).to_contain_text("raise ValueError", timeout=WITHIN_MS)
    expect(drawer).to_contain_text("printed by the student")
    expect(drawer).to_contain_text("for the drawer")
    dashboard.keyboard.press("Escape")
    expect(drawer).not_to_be_visible()


def test_an_unresponsive_gateway_makes_the_page_stale_and_missed_publications_are_recovered(
    up: StandaloneUp, instructor: Callable[..., Page], notebook: Page
) -> None:
    dashboard = instructor()
    expect(dashboard.get_by_text("Live", exact=True)).to_be_visible()
    gateway = up.child("cell_monitor_gateway")
    gateway.send_signal(signal.SIGSTOP)  # its sockets stay open without any data, so only time-outs detect the failure
    try:
        run_cell(notebook, 0, "raise KeyError('during the outage')")
    finally:
        gateway.kill()
    expect(dashboard.get_by_text("Live", exact=True)).not_to_be_visible(timeout=WITHIN_MS)
    expect(dashboard.get_by_text("Live", exact=True)).to_be_visible(timeout=60_000)
    expect(row_of(dashboard, "Student")).to_contain_text("KeyError", timeout=WITHIN_MS)


def test_a_class_of_thirty_has_the_same_counters_as_in_the_api(
    up: StandaloneUp, instructor: Callable[..., Page], api: httpx.Client, screenshot: Callable[[Page, str], None]
) -> None:
    dashboard = instructor(locale="ja-JP")
    played = run_cell_monitor(
        "simulate", "--data-dir", str(up.data_dir), "--students", "30", "--minutes", "3", "--speed", "12", "--seed", "7"
    )
    assert played.returncode == 0, played.stdout + played.stderr
    summary = dashboard.get_by_role("main")
    # The worker may still be storing the last of them.
    deadline = time.monotonic() + WITHIN_MS / 1000
    counters = api.get("/api/v1/courses/intro-python/state").json()["counters"]
    while counters["runs"] <= 100 or f"{counters['runs']:,}" not in summary.inner_text():
        assert time.monotonic() < deadline, counters
        dashboard.wait_for_timeout(100)
        counters = api.get("/api/v1/courses/intro-python/state").json()["counters"]
    assert counters["students"] == 31
    expect(dashboard.get_by_text("31 人中 31 人")).to_be_visible()
    screenshot(dashboard, "dashboard-japanese")
