"""Hazard: the link that ``make up`` prints does not sign in, signs in twice, or is found in a log."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from cell_monitor_testing.log_text import assert_not_written, event_names
from cell_monitor_testing.standalone import StandaloneUp, run_cell_monitor

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]


def test_the_printed_link_signs_in_once(
    up: StandaloneUp, open_page: Callable[..., Page], screenshot: Callable[[Page, str], None]
) -> None:
    link = up.addresses["sign_in_link"]
    page = open_page()
    page.goto(link)
    expect(page.get_by_role("heading", name="Introduction to Python")).to_be_visible()
    assert page.url == f"{up.addresses['dashboard']}/courses/intro-python"
    screenshot(page, "sign-in-link-first")
    # The session stays: after a reload, and when the link is opened again in this browser.
    page.reload()
    expect(page.get_by_role("heading", name="Introduction to Python")).to_be_visible()
    page.goto("about:blank")
    page.goto(link)
    expect(page.get_by_role("heading", name="Introduction to Python")).to_be_visible()

    other = open_page()
    other.goto(link)
    expect(other.get_by_role("alert")).to_contain_text("This link was used before")
    expect(other.get_by_role("alert")).to_contain_text("cell-monitor sign-in-link USER_NAME")
    screenshot(other, "sign-in-link-used")
    japanese = open_page(locale="ja-JP")
    japanese.goto(link)
    expect(japanese.get_by_role("alert")).to_contain_text("このリンクはすでに使われています")
    # Without a name it would be a link of the sample course's instructor.
    expect(japanese.get_by_role("alert")).to_contain_text("cell-monitor sign-in-link ユーザー名")
    screenshot(japanese, "sign-in-link-used-ja")

    new = run_cell_monitor("sign-in-link", "--data-dir", str(up.data_dir))
    assert new.returncode == 0, new.stderr
    other.goto("about:blank")
    other.goto(new.stdout.strip())
    expect(other.get_by_role("heading", name="Courses")).to_be_visible()

    secrets = [printed.split("#sign-in=")[1].split("_", 1)[1] for printed in (link, new.stdout.strip())]
    logs = {log.stem: log.read_text(encoding="utf-8", errors="replace") for log in (up.data_dir / "logs").iterdir()}
    assert {"signed_in", "sign_in_refused"} <= set(event_names(logs["api"]))
    for log in logs.values():
        assert_not_written(log, *secrets)
