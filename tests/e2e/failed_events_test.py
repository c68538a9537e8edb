"""Hazard: an administrator cannot see what the worker could not store, or replays it and it is lost or stored twice."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from playwright.sync_api import Page, expect

from cell_monitor.data_directory import DataDirectory
from cell_monitor.deployment import open_deployment
from cell_monitor_core.storage.postgres.pool import connect
from cell_monitor_testing.standalone import StandaloneUp, run_cell_monitor
from cell_monitor_testing.traffic import class_traffic

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

REFUSE = "ALTER TABLE events ADD CONSTRAINT no_runs CHECK (type <> 'cell_executed') NOT VALID"
COUNT = "SELECT count(*) FROM events WHERE type = 'cell_executed'"


def run(up: StandaloneUp, *arguments: str) -> str:
    done = run_cell_monitor(*arguments, "--data-dir", str(up.data_dir))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def database(up: StandaloneUp, statement: str) -> int:
    """Run a statement as the owner of the database; return its first value, 0 without one."""

    async def work(url: str) -> int:
        connection = await connect(url, application_name="test")
        try:
            return await connection.fetchval(statement) or 0
        finally:
            await connection.close()

    with open_deployment(DataDirectory(up.data_dir)) as deployment, ThreadPoolExecutor(1) as threads:
        # The browser's loop occupies this thread.
        return threads.submit(asyncio.run, work(deployment.database_url)).result()


def send(up: StandaloneUp, username: str) -> int:
    """Send what a student does in a lesson; return the number of ended runs in it."""
    run(up, "admin", "add-member", "intro-python", username)
    key = run(up, "admin", "create-api-key", username, "--scope", "events:write", "--person", username)
    start = datetime.now(UTC) - timedelta(hours=1)
    (student,) = class_traffic(students=1, events=40, course="intro-python", seed=11, start=start)
    with httpx.Client(base_url=up.addresses["api"], timeout=60, trust_env=False) as client:
        headers = {"authorization": f"ApiKey {key}"}
        answer = client.post("/api/v1/auth/token", json={"audience": "ingest"}, headers=headers)
        token = {"authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}
        sent = client.post("/api/v1/events", json={"events": student.events}, headers=token).raise_for_status()
    assert {result["status"] for result in sent.json()["results"]} == {"accepted"}
    return sum(event["type"] == "cell_executed" for event in student.events)


@pytest.mark.parametrize(
    ("locale", "texts"),
    [
        ("en-US", ("The store refuses the values", "Queue all again", r"^Queue .* again$", "are queued again")),
        ("ja-JP", ("データベースが値を拒否", "すべて再処理", "件を再処理する$", "件をキューに戻しました")),
    ],
)
def test_what_could_not_be_stored_is_on_the_page_and_stored_once_after_a_replay(
    up: StandaloneUp,
    open_page: Callable[..., Page],
    screenshot: Callable[[Page, str], None],
    locale: str,
    texts: tuple[str, str, str, str],
) -> None:
    refused, replay, sure, queued = texts
    before = database(up, COUNT)
    database(up, REFUSE)
    runs = send(up, f"student-{locale.lower()}")
    run(up, "admin", "add-member", "intro-python", "rin", "--role", "instructor", "--site-admin")
    page = open_page(locale=locale)
    page.goto(run(up, "sign-in-link", "rin"))
    page.get_by_role("link", name=re.compile("rin")).click()
    page.locator("a[href='/failed-events']").click()
    row = page.get_by_role("table", name=refused).get_by_role("row", name="Introduction to Python")
    # The page asks again every 15 seconds.
    expect(row.get_by_role("cell").first).to_have_text(str(runs))
    expect(page.get_by_text("CheckViolationError").first).to_be_visible()
    screenshot(page, f"failed-events-{locale}")

    database(up, "ALTER TABLE events DROP CONSTRAINT no_runs")
    page.get_by_role("button", name=replay).click()
    screenshot(page, f"failed-events-question-{locale}")
    page.get_by_role("button", name=re.compile(sure)).click()
    expect(page.get_by_role("status").filter(has_text=queued)).to_be_visible()
    expect(page.get_by_role("table", name=refused)).to_have_count(0)
    screenshot(page, f"failed-events-done-{locale}")
    deadline = time.monotonic() + 120
    while (stored := database(up, COUNT) - before) != runs:
        assert time.monotonic() < deadline, f"{stored} of {runs} runs are stored"
        time.sleep(0.2)
    assert database(up, "SELECT count(*) FROM failed_events WHERE replayed_at IS NULL") == 0
    assert run_cell_monitor("rebuild", "--check", "--data-dir", str(up.data_dir)).returncode == 0
