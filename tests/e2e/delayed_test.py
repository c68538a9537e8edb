"""Hazard: an instructor's page says Live while the worker is stopped, and a student waits for help unseen."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from cell_monitor_testing.standalone import StandaloneUp

# The machine of the tests may be busy; how soon it must be shown is tested with a clock of the test's own.
SOON_MS = 60_000


def test_a_page_says_that_it_is_delayed_while_the_worker_is_stopped(
    up: StandaloneUp, instructor: Callable[..., Page], screenshot: Callable[[Page, str], None]
) -> None:
    english, japanese = instructor(), instructor(locale="ja-JP")
    connection = english.get_by_role("group", name="Connection")
    connection_ja = japanese.get_by_role("group", name="接続状態")
    expect(connection).to_have_text("Live", timeout=SOON_MS)
    expect(connection_ja).to_have_text("ライブ", timeout=SOON_MS)
    screenshot(english, "live")
    worker = up.child("cell_monitor_worker")
    worker.suspend()
    try:
        expect(connection).to_have_text(re.compile(r"^Delayed \d+ s$"), timeout=SOON_MS)
        expect(english.get_by_text(re.compile(r"^Delayed \d+ s: help requests may not arrive\.$"))).to_be_visible()
        expect(english.get_by_test_id("announcer")).to_have_text("Delayed: help requests may not arrive.")
        screenshot(english, "delayed")
        expect(connection_ja).to_have_text(re.compile(r"^\d+ 秒の遅延$"), timeout=SOON_MS)
        screenshot(japanese, "delayed-ja")
    finally:
        worker.resume()
    expect(connection).to_have_text("Live", timeout=SOON_MS)
    expect(english.get_by_text("help requests may not arrive")).to_have_count(0)
