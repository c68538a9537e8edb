"""Hazards, in a browser on a real JupyterHub: the button leads nowhere, or a page shows more than the Hub's groups allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from cell_monitor.embedded.process import free_port
from cell_monitor_core.storage.postgres import courses
from cell_monitor_testing.browser import running_chromium
from cell_monitor_testing.hub_site import HubSite
from cell_monitor_testing.jupyter_hub import PASSWORD
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.processes import ServiceProcess
from cell_monitor_testing.servers import run_apart

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

TIMEOUT_MS = 60_000
"""Also the time within which what the Hub ends has ended here."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as running:
        yield running


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[[], Page]]:
    """Open pages, each in a browser of its own; an error in one of them fails the test."""
    expect.set_options(timeout=TIMEOUT_MS)
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def opened() -> Page:
        context = browser.new_context(locale="ja-JP", timezone_id="Asia/Tokyo")
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        context.on("weberror", lambda error: errors.append(str(error.error)))
        return context.new_page()

    yield opened
    for context in contexts:
        context.close()
    assert not errors, errors


@pytest.fixture
def worker(site: HubSite, valkey: str, secrets: SampleSecrets, tmp_path: Path) -> Iterator[None]:
    """The worker, without which a page of a course says that it is delayed."""
    port = free_port()
    worker = ServiceProcess(
        "cell_monitor_worker",
        env={
            "CELL_MONITOR_WORKER_PORT": str(port),
            "CELL_MONITOR_REDIS_URL": valkey,
            "CELL_MONITOR_DATABASE_URL": site.dsn,
            "CELL_MONITOR_ENCRYPTION_KEYS": secrets.encryption_keys,
        },
        port=port,
        log_path=tmp_path / "worker.log",
    )
    worker.launch()
    yield
    run_apart(worker.stop)


def sign_in_at_hub(page: Page, user: str) -> None:
    """Go to the Hub by the dashboard's button, and enter the user's name and password there."""
    page.get_by_role("link", name="JupyterHub でサインイン").click()
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def courses_on(page: Page) -> Locator:
    """The headings of the courses that the list shows."""
    return page.get_by_role("list", name="担当する授業").get_by_role("heading")


def connection_of(page: Page) -> Locator:
    """The sign of a course's page that says whether it is live."""
    return page.get_by_role("group", name="接続状態")


@pytest.mark.usefixtures("worker")
def test_an_instructor_sees_the_courses_of_their_groups_until_the_hub_ends_it(
    site: HubSite, open_page: Callable[[], Page]
) -> None:
    site.sql(lambda pool: courses.create(pool, "chemistry", "Chemistry"))
    for name in ("teacher", "mori"):
        site.hub.add_user(name)
    site.hub.put_groups({"course-physics-teachers": ["teacher", "mori"]})
    pages = {name: open_page() for name in ("teacher", "mori")}
    for name, page in pages.items():
        page.goto(site.api)
        sign_in_at_hub(page, name)
        expect(courses_on(page)).to_have_text(["Physics"])
        assert page.url == f"{site.api}/courses"
        courses_on(page).get_by_role("link").click()
        expect(connection_of(page)).to_have_text("ライブ")

    # One signs out at the Hub, the other one loses this course and gets another one: what is open ends for both.
    pages["mori"].context.new_page().goto(f"{site.hub.public_url}/hub/logout")
    site.hub.put_groups({"course-physics-teachers": ["mori"], "course-chemistry-teachers": ["teacher"]})
    expect(pages["mori"].get_by_text("サインインが終了しました。")).to_be_visible()
    expect(pages["mori"].get_by_role("heading")).to_have_text(["サインイン"])
    page = pages["teacher"]
    expect(page.get_by_text("この授業を表示する権限がなくなりました。")).to_be_visible()
    expect(connection_of(page)).to_contain_text("切断")
    page.get_by_role("main").get_by_role("link", name="授業一覧へ").click()
    expect(courses_on(page)).to_have_text(["Chemistry"])


def test_who_is_on_the_staff_of_no_course_opens_none_and_reads_why(
    site: HubSite, open_page: Callable[[], Page]
) -> None:
    for name in ("tanaka", "suzuki"):
        site.hub.add_user(name)
    site.hub.put_groups({"course-physics-students": ["tanaka"], "course-biology-teachers": ["suzuki"]})
    for name, refusal, why in (
        ("tanaka", "権限がありません", "この授業には学生として参加しています。ライブページは担当者専用です。"),
        (
            "suzuki",
            "授業が見つかりません",
            "担当している授業がまだありません。Cell Monitor の管理者に追加を依頼してください。",
        ),
    ):
        page = open_page()
        page.goto(f"{site.api}/courses/physics")
        sign_in_at_hub(page, name)
        expect(page.get_by_role("heading", name=refusal)).to_be_visible()
        page.get_by_role("main").get_by_role("link", name="授業一覧へ").click()
        expect(page.get_by_text(why)).to_be_visible()
        expect(page.get_by_role("main").get_by_role("link")).to_have_count(0)
