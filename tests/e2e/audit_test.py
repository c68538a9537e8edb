"""Hazard: an instructor opens a student's work and the course's audit log lacks it, or names somebody else."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from cell_monitor_testing.standalone import StandaloneUp, run_cell_monitor

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def run(up: StandaloneUp, *arguments: str) -> str:
    done = run_cell_monitor(*arguments, "--data-dir", str(up.data_dir))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_who_opened_whose_work_is_on_the_page_of_the_course_and_found_by_its_filters(
    up: StandaloneUp, instructor: Callable[..., Page], screenshot: Callable[[Page, str], None]
) -> None:
    run(up, "admin", "add-member", "intro-python", "aoi", "--display-name", "田中 葵")
    page = instructor()
    # Closed too early, the page asks for nothing.
    with page.expect_response(re.compile("/students/[^/]+/runs")):
        page.get_by_role("rowheader", name="田中 葵").get_by_role("button").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Members").click()
    page.get_by_role("link", name="Audit log").click()
    entries = page.get_by_role("list", name="Entries").get_by_role("listitem")
    opened = entries.filter(has_text=re.compile("^.*Instructor.* opened the work of 田中 葵"))
    # Two where a span of ten minutes ended in between.
    expect(opened.first).to_be_visible()
    expect(entries.filter(has_text="An operator added 田中 葵 (aoi) as Student")).to_have_count(1)
    screenshot(page, "audit")

    page.get_by_label("What").select_option(label="Student's work opened")
    page.get_by_label("Who or whom (user name)").fill("AOI")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page).to_have_url(re.compile("action=work_opened&person=AOI"))
    expect(opened.first).to_be_visible()
    expect(entries.filter(has_not_text="opened the work of 田中 葵")).to_have_count(0)
    page.reload()
    expect(opened.first).to_be_visible()
    expect(page.get_by_label("Who or whom (user name)")).to_have_value("AOI")
    page.go_back()
    expect(entries.filter(has_text="An operator added 田中 葵 (aoi) as Student")).to_have_count(1)


def test_an_administrator_sees_refused_sign_ins_in_the_log_of_the_site(
    up: StandaloneUp, open_page: Callable[..., Page], screenshot: Callable[[Page, str], None]
) -> None:
    run(
        up,
        "admin",
        "add-member",
        "intro-python",
        "rei",
        "--role",
        "observer",
        "--site-admin",
        "--display-name",
        "Rei Mori",
    )
    page = open_page(locale="ja-JP")
    page.goto(up.addresses["dashboard"])
    for password in ("wrong", "wrong again"):
        page.locator("input[autocomplete=username]").fill(up.addresses["user"])
        page.locator("input[type=password]").fill(password)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.locator("input[type=password]")).to_be_focused()
    page.goto("about:blank")
    page.goto(run(up, "sign-in-link", "rei"))
    page.get_by_role("link", name="サインイン中のアカウント: Rei Mori").click()
    page.get_by_role("link", name="監査ログ").click()
    entries = page.get_by_role("list", name="記録").get_by_role("listitem")
    refused = entries.filter(has_text=re.compile("Instructor.* のアカウントへのサインインを拒否しました"))
    expect(refused.first).to_contain_text("接続元 127.0.0.1")
    expect(entries.filter(has_text="Rei Mori (rei) がサインインしました")).to_contain_text("サインイン用リンクによる")
    screenshot(page, "audit-site-ja")
    page.set_viewport_size({"width": 390, "height": 844})
    screenshot(page, "audit-site-ja-390")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
