"""Hazard: on a phone the columns of a table are a letter wide, or a page is wider than the screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from cell_monitor_testing.standalone import StandaloneUp

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

NAME = "アレクサンドラ・マリア・フェルナンデス・ロドリゲス"
LONG = "alexandra-maria.fernandez-rodriguez@students.example.org"
AT = "2026-04-01T09:30:00Z"
LATER = "2099-04-01T09:30:00Z"
ISSUER = "https://login.university.example.org/realms/students-and-staff"

MEMBERS = [
    {
        "person_id": f"p{number}",
        "username": f"{number}-{LONG}",
        "display_name": f"{NAME} {number}",
        "role": role,
        "sources": {"roster": role, "hub": "student"},
        "site_admin": role == "instructor",
        "issuers": ["jupyterhub" if number % 2 else ISSUER],
    }
    for number, role in enumerate(("instructor", "assistant", "student", "student"))
]
LINKS = [
    {"issuer": issuer, "group": f"理工学部プログラミング演習-{role}-{LONG}", "role": role}
    for issuer in ("jupyterhub", ISSUER)
    for role in ("student", "observer")
]
KEYS = [
    {
        "key_id": f"0123456789abcde{number}",
        "name": f"情報教育センター第{number}演習室の授業用の鍵",
        "person_id": None,
        "username": None if number else LONG,
        "scopes": ["events:write", "people:act_as", "roster:write", "courses:read"],
        "created_at": AT,
        "expires_at": LATER,
        "revoked_at": None,
        "last_used_at": AT,
    }
    for number in range(3)
]
GROUPS = [
    {"reason": reason, "course_id": "intro-python", "count": 12000, "oldest": AT, "newest": AT}
    for reason in ("data_error", "state_unreadable")
]
FAILED = [
    {
        "failed_id": f"f{number}",
        "group": "influxdb",
        "course_id": "intro-python",
        "event_id": "e",
        "person_id": "p",
        "username": LONG,
        "reason": "state_unreadable",
        "detail": "asyncpg.exceptions.CharacterNotInRepertoireError: invalid byte sequence for encoding",
        "failed_at": AT,
        "replayed_at": AT if number else None,
    }
    for number in range(3)
]


def answer(route: Route) -> None:
    """Answer with long names what the pages read; everything else comes from the server."""
    path = route.request.url.split("/api/v1/")[1].split("?")[0]
    if path == "courses/intro-python/settings":
        real = route.fetch().json()
        rules = [{"issuer": ISSUER, "pattern": "(?P<course>.+)-(?P<role>[a-z]+)", "roles": {}, "property": None}]
        body: dict[str, Any] = {"links": LINKS, "properties": LINKS, "issuers": ["jupyterhub", ISSUER], "rules": rules}
        route.fulfill(json=real | body | {"staff_only_issuers": [ISSUER]})
    elif path == "me":
        route.fulfill(json=route.fetch().json() | {"is_admin": True})
    elif path in BODIES and route.request.method == "GET":
        route.fulfill(json=BODIES[path])
    else:
        route.continue_()


BODIES: dict[str, Any] = {
    "courses/intro-python/members": {"members": MEMBERS, "issuers": ["jupyterhub", "local"], "hub": "jupyterhub"},
    "api-keys": {"api_keys": KEYS},
    "failed-events": {"failed_events": FAILED, "next_before": None},
    "failed-events/waiting": {"total": 24000, "groups": GROUPS},
}

# Words of at least this many letters in a cell that is narrower than three of them are not read but spelled.
NARROW = """
() => [...document.querySelectorAll('td, th')].filter((cell) => {
  const box = cell.getBoundingClientRect()
  const shown = box.width > 1 && getComputedStyle(cell).visibility !== 'hidden' && cell.closest('[hidden]') === null
  const text = cell.textContent.trim()
  return shown && text.length > 3 && box.width < 5 * parseFloat(getComputedStyle(cell).fontSize) && cell.closest('thead') === null
}).map((cell) => [cell.textContent.slice(0, 40), cell.getBoundingClientRect().width])
"""
CUT = """
() => [...document.querySelectorAll('.records')].filter((box) => box.scrollWidth > box.clientWidth + 1)
  .map((box) => [box.textContent.slice(0, 40), box.scrollWidth, box.clientWidth])
"""


def test_no_page_is_cut_and_no_column_a_letter_wide(
    up: StandaloneUp, instructor: Callable[..., Page], screenshot: Callable[[Page, str], None]
) -> None:
    page = instructor(locale="ja-JP")
    page.set_viewport_size({"width": 390, "height": 844})
    page.route("**/api/v1/**", answer)
    faults = {}
    for path in (
        "courses/intro-python/members",
        "courses/intro-python/settings",
        "courses/intro-python/join",
        "keys",
        "courses/intro-python/audit",
        "failed-events",
        "account",
        "courses",
    ):
        page.goto(f"{up.addresses['dashboard']}/{path}")
        page.get_by_role("heading", level=1).wait_for()
        page.wait_for_load_state("networkidle")
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": 390, "height": height})
        screenshot(page, f"phone-ja-{path.replace('/', '-')}")
        page.set_viewport_size({"width": 390, "height": 844})
        wide = page.evaluate("document.documentElement.scrollWidth") - 390
        found = {"wide": max(0, wide), "narrow": page.evaluate(NARROW), "cut": page.evaluate(CUT)}
        if any(found.values()):
            faults[path] = found
    assert faults == {}
