"""Hazard: an administrator cannot make a key for a computer lab without a command line, or a key that leaked goes on."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from cell_monitor_testing.standalone import StandaloneUp, run_cell_monitor

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]


def run(up: StandaloneUp, *arguments: str) -> str:
    done = run_cell_monitor(*arguments, "--data-dir", str(up.data_dir))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def exchange(up: StandaloneUp, key: str) -> int:
    headers = {"authorization": f"ApiKey {key}"}
    return httpx.post(
        f"{up.addresses['api']}/api/v1/auth/token", json={"audience": "ingest"}, headers=headers, timeout=60
    ).status_code


def test_a_key_that_is_made_on_the_page_works_until_it_is_revoked_there(
    up: StandaloneUp, open_page: Callable[..., Page], screenshot: Callable[[Page, str], None]
) -> None:
    run(up, "admin", "add-member", "intro-python", "rin", "--role", "instructor", "--site-admin")
    run(up, "admin", "add-member", "intro-python", "tanaka")
    page = open_page()
    page.goto(run(up, "sign-in-link", "rin"))
    page.get_by_role("link", name="Your account, signed in as rin").click()
    page.get_by_role("link", name="API keys").click()
    page.get_by_role("textbox", name="Name, to tell it from other keys").fill("lab 3")
    page.get_by_role("checkbox", name="Send events", exact=True).check()
    person = page.get_by_role("textbox", name="User name of the person")
    person.fill("Tanaka")
    page.get_by_role("button", name="Make a key").click()
    expect(page.get_by_role("alert")).to_contain_text("Nobody has exactly this user name.")
    person.fill("tanaka")
    page.get_by_role("button", name="Make a key").click()
    key = page.get_by_role("textbox", name="Key", exact=True).input_value()
    screenshot(page, "keys")
    assert exchange(up, key) == 200

    page.reload()
    row = page.get_by_role("row", name="lab 3")
    expect(row).to_contain_text("tanaka")
    expect(row).to_contain_text("just now")
    expect(page.get_by_role("textbox", name="Key", exact=True)).to_have_count(0)
    row.get_by_role("button", name="Revoke the key lab 3").click()
    row.get_by_role("button", name="Revoke lab 3 permanently").click()
    expect(row).to_have_count(0)
    assert exchange(up, key) == 401
