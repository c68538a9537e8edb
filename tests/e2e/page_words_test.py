"""Hazards: a row joins facts of different cells; a name breaks the page or names nobody; who has left still needs help."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from cell_monitor_core.events.ids import new_event_id
from cell_monitor_testing.standalone import StandaloneUp

pytestmark = [pytest.mark.browser, pytest.mark.timeout(500)]

COURSE = "intro-python"
WITHIN_MS = 60_000
LEFT_WITHIN_MS = 120_000
"""``offline_s`` is 60 s; the page looks again every few seconds."""
BEAT_MS = 10_000
INVISIBLE, OVERRIDE, MARKS = "\u200b\u200b\u200b", "\u202eevil name\u202c", "Z" + "\u0316\u0317\u0318" * 20 + "algo"
LONG = "W" * 150
LONG_HEADING, LONG_ERROR = "Ｗ" * 150, "E" * 150  # noqa: RUF001 - each takes the space of two letters
NAMES = {
    "a-invisible": INVISIBLE,
    "b-same": "Yui T.",
    "c-same": "Yui T.",
    "d-override": OVERRIDE,
    "e-long": LONG,
    "f-marks": MARKS,
    "g-words": "Needs help",
    "h-hebrew": "דוד כהן",
    "i-left": "Lea Vogel",
    "j-object": "\ufffc",
    "...": "---",
    "--": "\ufffc\ufffc",
}
NOTEBOOK = {"id": "week-1", "path": "week-1.ipynb", "title": "week 1"}


def cell(source_id: str, heading: str, ordinal: int) -> dict[str, Any]:
    index = ordinal + 2
    return {
        "id": source_id,
        "source_id": source_id,
        "index": index,
        "type": "code",
        "heading": heading,
        "ordinal": ordinal,
    }


EXERCISES = [cell(f"ex-{number}", "Exercise 1", number) for number in (1, 2, 3)]


class Student:
    """A student's front end, as far as the API knows it."""

    def __init__(self, client: httpx.Client, username: str, api_key: str) -> None:
        answer = client.post(
            "/api/v1/auth/token",
            json={"audience": "ingest", "act_as": username},
            headers={"authorization": f"ApiKey {api_key}"},
        )
        answer.raise_for_status()
        self._authorization = f"Bearer {answer.json()['access_token']}"
        self._client = client
        self._session = str(uuid.uuid4())
        self._seq = 0

    def send(self, *events: tuple[str, dict[str, Any] | None, dict[str, Any]]) -> None:
        answer = self._client.post(
            "/api/v1/events",
            json={"events": [self._event(*event) for event in events]},
            headers={"authorization": self._authorization},
        )
        assert {result["status"] for result in answer.json()["results"]} == {"accepted"}, answer.text

    def _event(self, kind: str, place: dict[str, Any] | None, data: dict[str, Any]) -> dict[str, Any]:
        self._seq += 1
        return {
            "event_id": new_event_id(),
            "type": kind,
            "schema_version": 1,
            "occurred_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "session_id": self._session,
            "seq": self._seq,
            "course": COURSE,
            "notebook": NOTEBOOK,
            "data": data,
        } | ({} if place is None else {"cell": place})

    def open(self) -> None:
        client = {"extension_version": "0"}
        self.send(("session_started", None, {"client": client}), ("notebook_opened", None, {"cells": []}))

    def beat(self) -> None:
        self.send(("heartbeat", None, {"queued": 0, "dropped": 0, "visible": True}))

    def fail(self, place: dict[str, Any], name: str, times: int = 1) -> None:
        for _ in range(times):
            run = str(uuid.uuid4())
            error = {"name": name, "value": "invalid syntax", "traceback": ""}
            ended = {"execution_id": run, "status": "error", "code": "x", "outputs": [], "error": error}
            self.send(("cell_execution_started", place, {"execution_id": run}), ("cell_executed", place, ended))


@pytest.fixture(scope="module")
def lesson(up: StandaloneUp) -> Iterator[dict[str, Student]]:
    """Students by user name, with names of every kind; one is stuck, six ask for help, one of these leaves."""
    addresses = up.addresses
    key = (up.data_dir / "secrets" / "simulator-api-key").read_text().strip()
    with httpx.Client(base_url=addresses["api"], timeout=60, trust_env=False) as client:
        answer = client.post(
            "/api/v1/auth/login", json={"username": addresses["user"], "password": addresses["password"]}
        )
        members = [{"username": name, "display_name": shown, "role": "student"} for name, shown in NAMES.items()]
        put = client.put(
            f"/api/v1/courses/{COURSE}/members",
            json={"members": members},
            headers={"authorization": f"Bearer {answer.json()['access_token']}"},
        )
        assert put.status_code == 200, put.text
        students = {name: Student(client, name, key) for name in NAMES}
        for student in students.values():
            student.open()
        stuck = students["b-same"]
        # Three syntax errors in the third cell below the heading, then a click on the first.
        stuck.fail(EXERCISES[2], "SyntaxError", times=3)
        stuck.send(("cell_selected", EXERCISES[0], {}))
        students["c-same"].fail(EXERCISES[1], "\u202eNameError")
        students["f-marks"].fail(cell("ex-9", LONG_HEADING, 2), LONG_ERROR, times=3)
        for name in ("b-same", "c-same", "d-override", "e-long", "h-hebrew", "i-left"):
            message = "עזרה 1\n\u202eabc" if name == "h-hebrew" else "Why?"
            students[name].send(("help_requested", EXERCISES[1], {"message": message}))
        students["i-left"].send(("session_ended", None, {"reason": "closed"}))
        yield students


def row_of(page: Page, text: str) -> Locator:
    return page.get_by_role("grid").get_by_role("row").filter(has_text=text)


def test_every_fact_in_a_row_names_its_own_cell(
    instructor: Callable[..., Page], lesson: dict[str, Student], screenshot: Callable[[Page, str], None]
) -> None:
    page = instructor()
    row = row_of(page, "b-same")
    expect(row.locator(".grid__cell--error")).to_have_text(
        "SyntaxError in Exercise 1 · c invalid syntax", timeout=WITHIN_MS
    )
    expect(row.locator(".grid__cell--cell")).to_have_text("Exercise 1 · b")
    attention = page.get_by_role("list", name="Students who need attention")
    item = attention.get_by_role("listitem").filter(has_text="b-same")
    expect(item).to_contain_text(re.compile(r"Same SyntaxError 3 times since \d\d:\d\d · Exercise 1 · c"))
    expect(item).to_contain_text("Now in week 1 · Exercise 1 · b")
    request = page.get_by_role("article", name="Yui T. (b-same)")
    expect(request.locator(".help__where")).to_have_text("week 1 · Exercise 1 · bSyntaxError in Exercise 1 · c")
    row.get_by_role("button").click()
    drawer = page.get_by_role("dialog")
    expect(drawer).to_contain_text(re.compile(r"Last run\s*Error.*week 1 · Exercise 1 · c\s*SyntaxError", re.DOTALL))
    screenshot(page, "words-drawer")


def test_every_person_can_be_read_and_distinguished_from_every_other(
    instructor: Callable[..., Page], lesson: dict[str, Student], screenshot: Callable[[Page, str], None]
) -> None:
    page = instructor()
    expect(row_of(page, "i-left").or_(row_of(page, "Lea Vogel"))).to_be_visible(timeout=WITHIN_MS)
    names = [cell.inner_text() for cell in page.get_by_role("rowheader").all()]
    assert len(names) == len(set(names)) >= len(NAMES)
    assert all(name.strip() for name in names)
    shown = [re.sub(r"\s+", " ", name) for name in names]
    assert {"a-invisible", "Yui T. b-same", "Yui T. c-same", "evil name d-override", "Needs help g-words"} <= set(shown)
    assert "j-object" in shown
    assert len([name for name in shown if re.fullmatch("Nameless id [0-9a-f]{6}", name)]) == 2
    for region in ("Needs attention", "Help requests"):
        text = page.get_by_role("region", name=region).inner_text()
        assert "b-same" in text
        assert "c-same" in text
    # Nothing that reorders is left, and what is written from right to left is isolated.
    content = page.locator("main").inner_text()
    assert not re.search("[\u202a-\u202e\u2066\u2067]", content)
    assert f"\u2068{NAMES['h-hebrew']}\u2069" in content
    assert re.fullmatch(r"\(\d+\) Introduction to Python \S Cell Monitor", page.title())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("desktop", {}),
        ("desktop-dark", {"color_scheme": "dark"}),
        ("desktop-ja", {"locale": "ja-JP"}),
        ("phone", {"phone": True}),
        ("phone-ja-dark", {"phone": True, "locale": "ja-JP", "color_scheme": "dark"}),
    ],
)
def test_no_name_makes_the_page_wider_than_the_window(
    instructor: Callable[..., Page],
    lesson: dict[str, Student],
    screenshot: Callable[[Page, str], None],
    name: str,
    options: dict[str, Any],
) -> None:
    page = instructor(**{key: value for key, value in options.items() if key != "phone"})
    if "phone" in options:
        page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator(".grid__open", has_text="WWWW")).to_be_visible(timeout=WITHIN_MS)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    boxes = page.evaluate(
        "[...document.querySelectorAll('.person, .person__username, .error-name')]"
        ".filter((element) => element.getBoundingClientRect().right > window.innerWidth).length"
    )
    assert boxes == 0
    tall = page.evaluate(
        "[...document.querySelectorAll('.clamped')].filter((element) => element.getBoundingClientRect().height"
        " > 2.2 * parseFloat(getComputedStyle(element).lineHeight)).map((element) => element.textContent)"
    )
    assert tall == []
    # A row of the list and three of its parts, each on two lines.
    heights = page.evaluate("[...document.querySelectorAll('.grid__row')].map((row) => row.offsetHeight)")
    assert max(heights) < 200
    # The whole text can be reached.
    assert row_of(page, "EEEE").locator(".grid__cell--cell .clamped").get_attribute("title") == f"{LONG_HEADING} · b"
    assert row_of(page, "EEEE").locator(".error-name").get_attribute("title") == LONG_ERROR
    assert page.locator(".grid__open", has_text="WWWW").get_attribute("title") == LONG
    screenshot(page, f"names-{name}")


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_no_name_takes_the_space_of_roles_sources_and_buttons(
    instructor: Callable[..., Page], lesson: dict[str, Student], screenshot: Callable[[Page, str], None], width: int
) -> None:
    page = instructor()
    page.get_by_role("link", name="Members").click()
    row = page.get_by_role("row").filter(has_text="e-long")
    expect(row).to_be_visible(timeout=WITHIN_MS)
    page.set_viewport_size({"width": width, "height": 900})
    assert row.get_by_text("WWWW").locator("xpath=ancestor-or-self::*[@title]").get_attribute("title") == LONG
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    outside = page.evaluate(
        "[...document.querySelectorAll('.records :is(th, td, button)')]"
        ".filter((element) => element.getBoundingClientRect().right > window.innerWidth).length"
    )
    assert outside == 0
    for part in (row.get_by_role("cell", name="Student"), row.get_by_role("cell", name="this list")):
        expect(part).to_be_visible()
        # One line: not squeezed to a letter in each.
        assert (
            part.evaluate(
                "(cell) => { const range = new Range(); range.selectNodeContents(cell);"
                " return range.getBoundingClientRect().height }"
            )
            < 30
        )
    expect(row.get_by_role("button")).to_be_visible()
    assert row.evaluate("(element) => element.offsetHeight") < 160
    for name in ("b-same", "c-same"):
        expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("Yui T.")
    row.get_by_role("button").click()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    screenshot(page, f"members-names-{width}")


def test_a_student_who_left_counts_under_left_and_not_under_need_help(
    instructor: Callable[..., Page],
    lesson: dict[str, Student],
    api: httpx.Client,
    screenshot: Callable[[Page, str], None],
) -> None:
    page = instructor()
    requests = page.get_by_role("region", name="Help requests")
    for _ in range(LEFT_WITHIN_MS // BEAT_MS):
        # Without a heartbeat the others leave soon after her, or have left before this test begins.
        for name in NAMES.keys() - {"i-left"}:
            lesson[name].beat()
        try:
            expect(requests).to_contain_text("1 request of a student who has left", timeout=BEAT_MS)
        except AssertionError:
            continue
        break
    expect(requests).to_contain_text("1 request of a student who has left")
    expect(row_of(page, "Lea Vogel")).to_contain_text("Left")
    figures = {
        entry.locator("dt").inner_text(): entry.locator("dd").inner_text() for entry in page.locator(".counter").all()
    }
    (course,) = [one for one in api.get("/api/v1/courses").json()["courses"] if one["course_id"] == COURSE]
    assert figures["Need help"] == str(course["need_help"])
    assert figures["Left"] == str(course["left"])
    assert figures["Active"] == str(course["active"])
    assert course["help_open"] == course["need_help"] + 1
    requests.get_by_text("1 request of a student who has left").click()
    expect(requests.get_by_role("article", name="Lea Vogel")).to_contain_text(re.compile(r"Asked at \d\d:\d\d"))
    attention = page.get_by_role("list", name="Students who need attention")
    expect(attention).not_to_contain_text("Lea Vogel")
    screenshot(page, "words-left")
