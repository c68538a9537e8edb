"""Hazard: a page has a barrier that axe-core finds (WCAG 2.2 A and AA), in either language or theme."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from cell_monitor_testing.standalone import StandaloneUp, run_cell_monitor

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@pytest.fixture(scope="module")
def axe(request: pytest.FixtureRequest) -> str:
    path = Path(request.config.rootpath) / "dashboard" / "node_modules" / "axe-core" / "axe.min.js"
    return path.read_text(encoding="utf-8")


def barriers(page: Page, axe: str) -> list[dict[str, Any]]:
    """Return the violations that axe finds, each with its rule and element."""
    page.evaluate(axe)
    found = page.evaluate(f"axe.run(document, {{runOnly: {json.dumps(_TAGS)}}})")
    return [{"rule": rule["id"], "where": [node["target"] for node in rule["nodes"]]} for rule in found["violations"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-US", "ja-JP"])
def test_no_barrier_on_any_page(
    up: StandaloneUp, open_page: Callable[..., Page], instructor: Callable[..., Page], axe: str, locale: str, theme: str
) -> None:
    entrance = open_page(locale=locale, color_scheme=theme)
    entrance.goto(up.addresses["dashboard"])
    entrance.locator("input[type=password]").wait_for()
    assert barriers(entrance, axe) == []
    page = instructor(locale=locale, color_scheme=theme)
    expect(page.get_by_role("grid")).to_be_visible()
    assert barriers(page, axe) == []
    page.goto(f"{up.addresses['dashboard']}/courses/intro-python/members")
    page.get_by_role("textbox").fill("ann,Ann Adams\nann")
    expect(page.get_by_role("table")).to_be_visible()
    assert barriers(page, axe) == []
    page.goto(f"{up.addresses['dashboard']}/courses/intro-python/audit")
    page.get_by_role("listitem").first.wait_for()
    assert barriers(page, axe) == []
    page.goto(f"{up.addresses['dashboard']}/account")
    page.get_by_role("heading", level=1).wait_for()
    assert barriers(page, axe) == []
    granted = ("admin", "add-member", "intro-python", up.addresses["user"], "--role", "instructor", "--site-admin")
    assert run_cell_monitor(*granted, "--data-dir", str(up.data_dir)).returncode == 0
    page.goto(f"{up.addresses['dashboard']}/keys")
    page.get_by_role("checkbox").last.check()
    page.get_by_role("table").wait_for()
    assert barriers(page, axe) == []
    page.goto(f"{up.addresses['dashboard']}/failed-events")
    page.get_by_role("heading", level=2).last.wait_for()
    assert barriers(page, axe) == []
    page.goto(f"{up.addresses['dashboard']}/")
    page.get_by_role("link", name="Introduction to Python").wait_for()
    assert barriers(page, axe) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-US", "ja-JP"])
def test_no_barrier_where_students_join_by_code(
    up: StandaloneUp, instructor: Callable[..., Page], api: httpx.Client, axe: str, locale: str, theme: str
) -> None:
    course = "/api/v1/courses/intro-python"
    code = api.post(f"{course}/join-code", json={}).raise_for_status().json()["code"]
    body = {"code": code, "name": "Hanako", "secret": secrets.token_urlsafe(32)}
    api.post("/api/v1/auth/join", json=body).raise_for_status()
    page = instructor(locale=locale, color_scheme=theme)
    page.goto(f"{up.addresses['dashboard']}/courses/intro-python/join")
    expect(page.locator(".join__code")).to_have_text(code)
    assert barriers(page, axe) == []
    page.goto(f"{up.addresses['dashboard']}/courses/intro-python")
    page.get_by_role("row").filter(has=page.locator(".grid__joined")).get_by_role("button").first.click()
    page.locator(".joined .confirmed button").click()
    # Colours of a drawer that still moves are not those that are read.
    page.evaluate("Promise.allSettled(document.getAnimations().map((animation) => animation.finished))")
    assert barriers(page, axe) == []
    api.delete(f"{course}/joined").raise_for_status()
