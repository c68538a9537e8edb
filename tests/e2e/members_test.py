"""Hazard: an instructor cannot get a class onto the roster, or the live page shows another class than the roster has."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def students(api: httpx.Client) -> dict[str, str | None]:
    answer = api.get("/api/v1/courses/intro-python/members").json()["members"]
    return {one["username"]: one["display_name"] for one in answer if one["role"] == "student"}


def test_a_pasted_class_is_on_the_roster_and_on_the_live_page_and_one_can_be_removed(
    instructor: Callable[..., Page], api: httpx.Client, screenshot: Callable[[Page, str], None]
) -> None:
    before = students(api)
    page = instructor()
    page.get_by_role("link", name="Members").click()
    box = page.get_by_role("textbox", name="List of students")
    box.fill('User name;Name\naoi;田中 葵\nben;"Becker, Ben"\ninstructor;Somebody Else\n;nobody')
    expect(page.get_by_role("list", name="What adding this list changes").get_by_role("listitem")).to_have_text(
        [
            "2 new students",
            "1 is on the staff and stays so",
        ]
    )
    left_out = page.get_by_role("list", name="Lines that are left out").get_by_role("listitem")
    expect(left_out).to_have_text(["Line 5: there is no user name."])
    screenshot(page, "members")
    page.get_by_role("button", name="Add or update 2 students").click()
    expect(page.get_by_role("row", name="Becker, Ben")).to_be_visible()
    assert students(api) == before | {"aoi": "田中 葵", "ben": "Becker, Ben"}

    # The same list again changes nothing.
    box.fill("aoi;田中 葵")
    expect(page.get_by_text("1 is a student already")).to_be_visible()
    expect(page.get_by_role("button", name="Add", exact=False)).to_have_count(0)

    page.get_by_role("link", name="To the live page").click()
    expect(page.get_by_role("rowheader", name="田中 葵")).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Remove Becker, Ben from the course").click()
    page.get_by_role("button", name="Remove Becker, Ben", exact=True).click()
    expect(page.get_by_role("row", name="Becker, Ben")).to_have_count(0)
    assert students(api) == before | {"aoi": "田中 葵"}
    page.get_by_role("link", name="To the live page").click()
    expect(page.get_by_role("rowheader", name="田中 葵")).to_be_visible()
    expect(page.get_by_role("rowheader", name="Becker, Ben")).to_have_count(0)
