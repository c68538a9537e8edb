"""A real Chromium, for tests that look at pages as people do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from cell_monitor_testing.left_out import REQUIRE_BROWSER, left_out

__all__ = ["running_chromium"]

_PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
_FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Start Chromium; without one the test is left out or, with ``CELL_MONITOR_REQUIRE_BROWSER=1``, fails.

    While it runs, Playwright keeps an event loop going in this thread, beside which no async test can run.
    """
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        left_out("no Chromium or Chrome on the PATH", switch=REQUIRE_BROWSER)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield browser
        browser.close()
