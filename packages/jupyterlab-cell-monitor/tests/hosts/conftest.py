"""One Jupyter Server for each host of `hosts.toml`, and pages of students in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from cell_monitor_testing.browser import running_chromium
from cell_monitor_testing.jupyter_hosts import Host
from cell_monitor_testing.jupyter_page import Student
from cell_monitor_testing.jupyter_process import JupyterProcess, start_jupyter

API_KEY = "test-key"


_WATCH_SAVES = """() => {
    window.saved = '';
    const { context } = window.jupyterapp.shell.currentWidget;
    context.saveState.connect((_, state) => { window.saved = state === 'started' ? '' : state; });
}"""
_SAVED = "() => document.querySelector('.jp-Dialog') ? 'asked' : window.saved"


@dataclass
class RunningHost:
    """The server of a host, and the API that it sends to."""

    host: Host
    server: JupyterProcess
    api: Any


@pytest.fixture(scope="session")
def running_host(
    host: Host, stand_in_api: type[Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningHost]:
    """A Jupyter Server of the host that serves an empty folder."""
    assert Path(host.python).exists(), f"run `make test-hosts HOSTS={host.name}`, which makes the environment"
    api = stand_in_api()
    server = start_jupyter(
        tmp_path_factory.mktemp(host.name),
        python=host.python,
        environment={"CELL_MONITOR_API_URL": api.url, "CELL_MONITOR_API_KEY": API_KEY},
        options=["--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"],
    )
    yield RunningHost(host, server, api)
    server.stop()
    api.release.set()
    api.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A browser; each test makes its own context in it. No test in this folder is async."""
    with running_chromium() as browser:
        yield browser


class HostPage(Student):
    """A student's page in a host, with a folder of its own."""

    def __init__(self, page: Page, running: RunningHost, folder: str) -> None:
        super().__init__(page, running.api, folder)
        self.host = running.host
        self.server = running.server

    @property
    def drive(self) -> str:
        """The name of the drive of shared documents, where they have one."""
        version = self.host.version_of("jupyter-collaboration")
        return "RTC:" if version is not None and version.startswith("2.") else ""

    def write(self, name: str, text: str) -> str:
        """Write a file into the page's folder; returns its path for the server."""
        target = self.server.folder / self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return f"{self.folder}/{name}"

    def open(
        self, name: str, text: str | None = None, *, application: str = "lab", workspace: str | None = None
    ) -> None:
        """Load the page with a notebook of its folder, after writing its text if given, and wait for its kernel.

        Without a workspace the page is one that does not restore its tabs when it is loaded again.
        """
        if text is not None:
            self.write(name, text)
        kind = "notebooks" if application == "notebook" else "lab/tree"
        if workspace is not None:
            kind = f"lab/workspaces/{workspace}/tree"
        reset = "" if workspace is not None else "&reset"
        before = len(self.opened(name))
        drive = "" if application == "notebook" else self.drive
        self.page.goto(f"{self.server.url}/{kind}/{drive}{self.folder}/{name}?token={self.server.token}{reset}")
        self.page.wait_for_function("() => !!window.jupyterapp")
        self.ready(name)
        self.wait(lambda: len(self.opened(name)) > before)

    def opened(self, name: str) -> list[dict[str, Any]]:
        """Return the events of the openings of a notebook, in any page."""
        return [event for event in self.events("notebook_opened") if event["notebook"]["path"].endswith(name)]

    def open_beside(self, name: str, text: str | None = None) -> None:
        """Open another notebook in a tab of the same page, in front."""
        if text is not None:
            self.write(name, text)
        self.show(name)
        self.ready(name)

    def show(self, name: str) -> None:
        """Open a notebook, or go to its tab, as a click on its file does."""
        self.page.evaluate(
            "path => void window.jupyterapp.commands.execute('docmanager:open', {path})", f"{self.folder}/{name}"
        )
        self.page.wait_for_function(
            "path => window.jupyterapp.shell.currentWidget?.context?.path?.endsWith(path)", arg=f"{self.folder}/{name}"
        )

    def ready(self, name: str) -> None:
        """Wait until the notebook in front is recorded and its kernel is idle."""
        self.page.wait_for_function(
            """path => {
                const widget = window.jupyterapp.shell.currentWidget;
                return widget?.context?.path?.endsWith(path)
                    && widget.sessionContext?.session?.kernel?.status === 'idle';
            }""",
            arg=f"{self.folder}/{name}",
        )
        self.wait(lambda: self.opened(name))

    def save(self) -> None:
        """Save the notebook in front by its keys.

        The server saves a shared document as well. At that moment JupyterLab asks which version to keep, or reports that
        another save is under way: the student answers, and saves again if it was not done.
        """
        self.page.evaluate(_WATCH_SAVES)
        state = "failed"
        while not state.startswith("completed"):
            if state == "failed":
                self.page.evaluate("() => { window.saved = ''; }")
                self.page.keyboard.press("Control+s")
            state = str(self.page.wait_for_function(_SAVED).json_value())
            if state == "asked":
                dialog = self.page.locator(".jp-Dialog")
                dialog.locator("button").last.click()
                dialog.wait_for(state="hidden")

    def stored(self, name: str) -> None:
        """Wait until the page knows that the server has saved a shared document; do nothing with any other.

        A program's save would ask which version to keep.
        """
        context = "window.jupyterapp.shell.currentWidget.context"
        if self.page.evaluate(f"() => {context}.model.collaborative"):
            with self.server.client() as client:
                self.wait(
                    lambda: (
                        self.page.evaluate(f"() => {context}.model.dirty ? null : {context}.contentsModel.hash")
                        == client.get(f"/api/contents/{self.folder}/{name}?content=0&hash=1").json()["hash"]
                    )
                )

    def soon(self, condition: Callable[[], Any], tell: Callable[[], Any] | None = None) -> Any:
        """Wait for events that the page sends with others: those of a run leave at once, and a program asks for one.

        Raises:
            AssertionError: the condition was not true in time.
        """

        def sent() -> Any:
            value = condition()
            if not value:
                # Whatever is in front stays there.
                self.page.evaluate(
                    "() => void window.jupyterapp.commands.execute('notebook:run-cell', { activate: false })"
                )
                self.page.wait_for_timeout(300)
            return value

        return self.wait(sent, tell)

    def ended(self, number: int, source_id: str = "") -> list[dict[str, Any]]:
        """Wait until this many runs (of one cell, or of all) have ended, and return their data."""
        found = self.wait(
            lambda: len(self.runs(source_id)) >= number and self.runs(source_id),
            lambda: [(event["type"], event.get("data", {}).get("status")) for event in self.events()],
        )
        return [event["data"] for event in found]


@pytest.fixture
def new_page(
    chromium: Browser, running_host: RunningHost, request: pytest.FixtureRequest
) -> Iterator[Callable[[], HostPage]]:
    """Make pages, each in a browser context of its own, that share one folder of the server."""
    contexts: list[Any] = []
    pages: list[HostPage] = []
    # With its parameters: the events of another run of the same test are in another folder.
    folder = re.sub(r"\W+", "-", request.node.name).strip("-")

    def made() -> HostPage:
        context = chromium.new_context(viewport={"width": 1280, "height": 1000})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        pages.append(HostPage(page, running_host, folder))
        return pages[-1]

    yield made
    for context in contexts:
        context.close()
    with running_host.server.client() as client:
        for session in client.get("/api/sessions").json():
            client.delete(f"/api/sessions/{session['id']}")
    assert [complaint for page in pages for complaint in page.complaints] == []


@pytest.fixture
def student(new_page: Callable[[], HostPage]) -> HostPage:
    """One page; `open` loads a notebook in it."""
    return new_page()


@pytest.fixture
def versions(host: Host) -> dict[str, str]:
    """What the host has installed: package → version, by its own interpreter."""
    import subprocess

    printed = subprocess.run(
        [host.python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True, text=True
    ).stdout
    return {package["name"]: package["version"] for package in json.loads(printed)}
