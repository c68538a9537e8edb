"""Hazard: a proxy answers the page's requests with a page of its own, and the dashboard crashes, signs out or stays stale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from cell_monitor.embedded.process import free_port
from cell_monitor_testing.browser import running_chromium
from cell_monitor_testing.installed_programs import InstalledServer, running_nginx
from cell_monitor_testing.servers import temporary_directory
from cell_monitor_testing.standalone import StandaloneUp

pytestmark = [pytest.mark.stores, pytest.mark.browser, pytest.mark.timeout(240)]

SOON_MS = 60_000
PAGE = (Path(__file__).parents[2] / "docs/operations/network.md").read_text("utf-8")
[RECIPE] = re.findall(r"```nginx\n(.*?)```", PAGE, flags=re.DOTALL)


class Site:
    """An installation behind nginx, which may be replaced by one that answers by itself."""

    def __init__(self, folder: Path) -> None:
        self.port, self.api, self.gateway = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        ports = ["--port-base", "0", "--api-port", str(self.api), "--gateway-port", str(self.gateway)]
        self.up = StandaloneUp(folder / "data", "--without-jupyterlab", "--public-url", self.url, *ports)
        self.folder = folder
        self.places = {
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "/etc/ssl/monitor.pem": "{certificate}",
            "/etc/ssl/monitor.key": "{key}",
        }

    def nginx(self) -> AbstractContextManager[InstalledServer]:
        services = {"127.0.0.1:8900": f"127.0.0.1:{self.api}", "127.0.0.1:8901": f"127.0.0.1:{self.gateway}"}
        return running_nginx(self.folder, RECIPE, port=self.port, replaced=self.places | services)

    def answering(self, rule: str) -> AbstractContextManager[InstalledServer]:
        # In the place of all that is passed on.
        text = re.sub(
            r"location = /ws \{.*\n\}", f"location / {{ default_type text/html; {rule} }}\n}}", RECIPE, flags=re.DOTALL
        )
        return running_nginx(self.folder, text, port=self.port, replaced=self.places)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with temporary_directory("page") as folder:
        made = Site(folder)
        try:
            made.up.start()
            yield made
        finally:
            made.up.stop()


def test_a_page_goes_on_after_the_proxy_answered_for_its_services(site: Site) -> None:
    errors: list[str] = []
    with running_chromium() as chromium:
        page = chromium.new_context(locale="en-US", ignore_https_errors=True).new_page()
        page.set_default_timeout(SOON_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        connection = page.get_by_role("group", name="Connection")
        with site.nginx():
            page.goto(f"{site.url}/courses/intro-python")
            page.locator("input[autocomplete=username]").fill(site.up.addresses["user"])
            page.locator("input[type=password]").fill(site.up.addresses["password"])
            page.keyboard.press("Enter")
            expect(connection).to_have_text("Live", timeout=SOON_MS)
        for rule in ("return 502;", "return 200 '<html>Please sign in</html>';"):
            with site.answering(rule) as proxy:
                expect(connection).not_to_have_text("Live", timeout=SOON_MS)
                # It tries again: also the requests by which it would find out that it is signed out.
                with page.expect_response(lambda answer: answer.url.startswith(site.url), timeout=SOON_MS):
                    pass
                assert proxy.process.running
            with site.nginx():
                expect(connection).to_have_text("Live", timeout=SOON_MS)
        expect(page.get_by_role("heading", name="Introduction to Python")).to_be_visible()
    assert errors == []
