"""The whole product as ``make up`` starts it, with pages in a real Chromium for a student and an instructor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from cell_monitor_testing.browser import running_chromium
from cell_monitor_testing.servers import temporary_directory
from cell_monitor_testing.standalone import StandaloneUp

PAGE_TIMEOUT_MS = 60_000
# Of what is expected of a page; the default of 5 s is too short for a busy machine.
expect.set_options(timeout=PAGE_TIMEOUT_MS)


@pytest.fixture(scope="module")
def up() -> Iterator[StandaloneUp]:
    with temporary_directory("e2e") as folder:
        running = StandaloneUp(folder / "data")
        try:
            running.start()
            yield running
        finally:
            running.stop()


# Not session-scoped: no async test can run while it is active.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as running:
        yield running


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages, each in its own browser context; an error in a page fails the test."""
    contexts: list[Any] = []
    errors: list[str] = []

    def opened(*, locale: str = "en-US", **options: Any) -> Page:
        context = browser.new_context(
            viewport={"width": 1400, "height": 1000}, locale=locale, timezone_id="Asia/Tokyo", **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PAGE_TIMEOUT_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not errors, errors


@pytest.fixture
def instructor(up: StandaloneUp, open_page: Callable[..., Page]) -> Callable[..., Page]:
    """Sign the instructor in and open the sample course."""

    def signed_in(**options: Any) -> Page:
        page = open_page(**options)
        page.goto(f"{up.addresses['dashboard']}/courses/intro-python")
        page.locator("input[autocomplete=username]").fill(up.addresses["user"])
        page.locator("input[type=password]").fill(up.addresses["password"])
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Introduction to Python").wait_for()
        return page

    return signed_in


@pytest.fixture
def api(up: StandaloneUp) -> Iterator[httpx.Client]:
    """A client of the API with the instructor's token."""
    with httpx.Client(base_url=up.addresses["api"], timeout=60, trust_env=False) as client:
        answer = client.post(
            "/api/v1/auth/login", json={"username": up.addresses["user"], "password": up.addresses["password"]}
        )
        answer.raise_for_status()
        client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Save a screenshot in ``build/screenshots`` for review."""
    folder = Path(request.config.rootpath) / "build" / "screenshots"

    def taken(page: Page, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")

    return taken
