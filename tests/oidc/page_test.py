"""Hazards: the button leads nowhere, or who comes back from the provider does not learn what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from cell_monitor.embedded.process import free_port
from cell_monitor_testing.browser import running_chromium
from cell_monitor_testing.oidc_provider import OidcProviderProcess
from cell_monitor_testing.oidc_site import OidcSites, callback_of

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

TIMEOUT_MS = 60_000
DASHBOARD = Path(__file__).parents[2] / "dashboard/dist"
PEOPLE = {"Mori": {"name": "森 さくら", "groups": ["course-physics-teachers"]}, "nobody": {"name": "Nobody"}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as running:
        yield running


def sign_in_at_provider(page: Page, subject: str) -> None:
    """Enter a subject on the provider's page and allow what it asks."""
    page.get_by_placeholder("Enter any login").fill(subject)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_a_person_signs_in_by_the_button_and_comes_back_to_their_page_or_learns_whom_to_ask(
    make_site: OidcSites, browser: Browser, tmp_path: Path
) -> None:
    port = free_port()
    provider = OidcProviderProcess(tmp_path, callback=callback_of(port), people=PEOPLE)
    site = make_site(provider, port, CELL_MONITOR_DASHBOARD_DIR=str(DASHBOARD))
    try:
        provider.start()
        with browser.new_context(locale="en-US") as context:
            page = context.new_page()
            page.set_default_timeout(TIMEOUT_MS)
            page.goto(f"{site.api}/courses/physics")
            page.get_by_role("link", name="Sign in with Example University").click()
            sign_in_at_provider(page, "Mori")
            # The page that was left is shown again, without a trace of the provider in its address.
            page.get_by_role("heading", name="Physics").wait_for()
            assert page.url == f"{site.api}/courses/physics"
            expect(page.get_by_text("森 さくら").first).to_be_visible(timeout=TIMEOUT_MS)
        with browser.new_context(locale="en-US") as context:
            page = context.new_page()
            page.set_default_timeout(TIMEOUT_MS)
            page.goto(site.api)
            page.get_by_role("link", name="Sign in with Example University").click()
            sign_in_at_provider(page, "nobody")
            page.get_by_text("You are not on the staff of any course yet.").wait_for()
    finally:
        provider.stop()


def test_a_provider_that_is_down_is_explained_on_the_dashboard_beside_the_other_ways(
    make_site: OidcSites, browser: Browser, tmp_path: Path
) -> None:
    port = free_port()
    provider = OidcProviderProcess(tmp_path, callback=callback_of(port), people=PEOPLE)
    site = make_site(provider, port, CELL_MONITOR_DASHBOARD_DIR=str(DASHBOARD))
    for locale, button, sentence, field in (
        ("en-US", "Sign in with Example University", "The sign-in service does not answer.", "Password"),
        ("ja-JP", "Example University でサインイン", "認証サービスが応答しません。", "パスワード"),
    ):
        with browser.new_context(locale=locale) as context:
            page = context.new_page()
            page.set_default_timeout(TIMEOUT_MS)
            page.goto(f"{site.api}/courses/physics")
            page.get_by_role("link", name=button).click()
            expect(page.get_by_role("alert")).to_contain_text(sentence, timeout=TIMEOUT_MS)
            expect(page.get_by_label(field, exact=True)).to_be_visible(timeout=TIMEOUT_MS)
            assert page.url == f"{site.api}/courses/physics"
