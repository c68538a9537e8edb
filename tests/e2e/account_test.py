"""Hazards: somebody stays signed in at a computer that they left, after they have signed out everywhere or changed their
password; or a person cannot choose a password of their own.
"""

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
    expect(left.get_by_role("alert")).to_contain_text("This link was ended by “Sign out everywhere”")


def sign_in(page: Page, password: str) -> None:
    page.get_by_label("User name").fill("rei")
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_a_person_chooses_a_password_of_their_own_and_a_change_ends_the_page_left_elsewhere(
    up: StandaloneUp, open_page: Callable[..., Page], screenshot: Callable[[Page, str], None]
) -> None:
    run(up, "admin", "add-member", "intro-python", "rei", "--role", "assistant", "--display-name", "Rei Ito")
    here, other = open_page(), open_page()
    link = run(up, "sign-in-link", "rei")
    here.goto(link)
    here.get_by_role("link", name="Set password").click()
    expect(here.get_by_label("New password")).to_be_visible()
    screenshot(here, "password-link-en")
    here.get_by_label("New password").fill("password1234")
    here.get_by_role("button", name="Set password").click()
    expect(here.get_by_role("alert")).to_contain_text("a common one")
    expect(here.get_by_label("New password")).to_be_focused()
    here.get_by_label("New password").fill("seven purple lamps")
    here.get_by_role("button", name="Set password").click()
    expect(here.get_by_text("Your new password is set.")).to_be_visible()

    other.goto(link.partition("#")[0])
    sign_in(other, "seven purple lamps")
    expect(other.get_by_role("heading", name="Courses")).to_be_visible()

    here.get_by_role("button", name="日本語").click()
    here.get_by_label("現在のパスワード").fill("seven purple lamp")
    here.get_by_label("新しいパスワード").fill("eight green lamps")
    here.get_by_role("button", name="パスワードを変更").click()
    expect(here.get_by_role("alert")).to_contain_text("現在のパスワードが違います")
    screenshot(here, "password-wrong-ja")
    here.get_by_label("現在のパスワード").fill("seven purple lamps")
    here.get_by_role("button", name="パスワードを変更").click()
    expect(here.get_by_text("新しいパスワードを設定しました。")).to_be_visible()
    screenshot(here, "password-changed-ja")

    # Nobody touches the other page; it signs in again with the new password only.
    expect(other.get_by_text("Your sign-in has ended.")).to_be_visible(timeout=30_000)
    sign_in(other, "seven purple lamps")
    expect(other.get_by_role("alert")).to_contain_text("wrong")
    sign_in(other, "eight green lamps")
    expect(other.get_by_role("heading", name="Courses")).to_be_visible()
    here.reload()
    expect(here.get_by_role("heading", name="アカウント")).to_be_visible()
