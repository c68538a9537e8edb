"""Hazard: somebody stays signed in at a computer that they left, after they have signed out everywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from cell_monitor_testing.standalone import StandaloneUp, run_cell_monitor

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]


def run(up: StandaloneUp, *arguments: str) -> str:
    done = run_cell_monitor(*arguments, "--data-dir", str(up.data_dir))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_signing_out_everywhere_ends_the_page_that_was_left_open_on_another_computer(
    up: StandaloneUp, open_page: Callable[..., Page], screenshot: Callable[[Page, str], None]
) -> None:
    # A person of their own: other tests use the instructor's sign-ins.
    run(up, "admin", "add-member", "intro-python", "noa", "--role", "assistant", "--display-name", "Noa Levi")
    left, other = open_page(), open_page(locale="ja-JP")
    for page in (left, other):
        page.goto(run(up, "sign-in-link", "noa"))
    expect(left.get_by_role("heading", name="Courses")).to_be_visible()
    left.get_by_role("link", name="Introduction to Python").click()
    expect(left.get_by_role("heading", name="Introduction to Python")).to_be_visible()
    unused = run(up, "sign-in-link", "noa")

    other.get_by_role("link", name="Noa Levi").click()
    screenshot(other, "account-ja")
    other.get_by_role("button", name="すべての端末からサインアウト").click()
    expect(other.get_by_text("サインアウトしました。")).to_be_visible()

    # Nobody touches the page that was left open.
    expect(left.get_by_text("Your sign-in has ended.")).to_be_visible(timeout=30_000)
    left.goto("about:blank")
    left.goto(unused)
    expect(left.get_by_role("alert")).to_contain_text("This link was used before")
