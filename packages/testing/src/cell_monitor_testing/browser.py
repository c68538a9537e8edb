"""A real Chromium for tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from cell_monitor_testing.optional_programs import REQUIRE_BROWSER, skip_or_fail

__all__ = ["find_chromium", "running_chromium"]

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


def find_chromium() -> str | None:
    """Return the path of Chromium or Chrome, None if neither is installed."""
    return next(filter(None, map(shutil.which, _PROGRAMS)), None)


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Start Chromium. Without it the test is skipped or, with ``CELL_MONITOR_REQUIRE_BROWSER=1``, fails.

    Playwright runs an event loop in this thread, so no async test can run until it has stopped.
    """
    program = find_chromium()
    if program is None:
        skip_or_fail("no Chromium or Chrome on the PATH", switch=REQUIRE_BROWSER)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield browser
        browser.close()
