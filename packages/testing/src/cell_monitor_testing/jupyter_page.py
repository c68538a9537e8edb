"""A page of JupyterLab or Notebook 7, what a student does in it, and the events that the extension makes of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from playwright.sync_api import ConsoleMessage, Error, Locator, Page, expect

__all__ = ["EventStore", "Student", "cell", "notebook"]

_WAIT_S: Final = 60.0
_POLL_MS: Final = 50
# The panel in front; behind it are the panels of other tabs.
_PANEL: Final = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook"


class EventStore(Protocol):
    """Where the page's events arrive.

    Attributes:
        stored: the events by their ids, each once.
    """

    stored: dict[str, dict[str, Any]]


def cell(cell_type: str, source: str, cell_id: str, **metadata: Any) -> dict[str, Any]:
    """Return a cell of a notebook file of format 4.5."""
    made: dict[str, Any] = {"cell_type": cell_type, "id": cell_id, "metadata": metadata, "source": source}
    return {**made, "outputs": [], "execution_count": None} if cell_type == "code" else made


def notebook(*cells: dict[str, Any], **metadata: Any) -> str:
    """Return a notebook file of format 4.5 for a Python kernel."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel, **metadata}, "cells": list(cells)}
    )


_ROUTED: Final = """Object.defineProperty(window, 'jupyterapp', {
    configurable: true,
    set(app) {
        Object.defineProperty(window, 'jupyterapp', { value: app, writable: true });
        window.routed = new Promise(done => app.commands.commandExecuted.connect((_, command) => {
            if (command.id === 'router:tree') {
                void command.result.then(() => done(true));
            }
        }));
    }
})"""
"""Makes ``window.routed`` a promise of the end of what JupyterLab does with the page's address."""


class Student:
    """A page with a notebook open, and the events that its acts made.

    Args:
        page: the page.
        api: where its events arrive.
        folder: only events of notebooks in this folder are the page's own; empty for all.
    """

    def __init__(self, page: Page, api: EventStore, folder: str = "") -> None:
        self.page = page
        self.api = api
        self.folder = folder
        self.complaints: list[str] = []
        """Errors of the extension in the browser's console."""
        self.warnings: list[str] = []
        """All warnings in the browser's console, each with the script that it comes from."""
        page.on("console", self._on_console)
        page.on("pageerror", self._on_error)

    def reload(self) -> None:
        """Load the page again.

        A second or more after JupyterLab has restored its tabs it brings the notebook of the address to the front. What a
        test does before would be followed by that.
        """
        routed = "/lab/" in self.page.url and "/tree/" in self.page.url
        if routed:
            self.page.add_init_script(_ROUTED)
        self.page.reload()
        if routed:
            self.page.wait_for_function("() => window.routed")

    def _on_error(self, error: Error) -> None:
        # Jupyter's own front ends throw now and then; what passes through our bundle is ours.
        if "jupyterlab-cell-monitor" in f"{error}{error.stack}":
            self.complaints.append(f"{error}\n{error.stack}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "cell-monitor" in f"{message.text} {message.location}":
            self.complaints.append(message.text)
        elif message.type == "warning":
            self.warnings.append(f"{message.text} {message.location}")

    def events(self, *types: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the events of these types, or of all, with these fields, in the order in which they were made."""
        found = [event for event in list(self.api.stored.values()) if not types or event["type"] in types]
        found = [event for event in found if all(event.get(name) == value for name, value in fields.items())]
        if self.folder:
            found = [event for event in found if event.get("notebook", {}).get("path", "").startswith(self.folder)]
        return sorted(found, key=lambda event: event["event_id"])

    def runs(self, source_id: str = "") -> list[dict[str, Any]]:
        """Return the ended runs of a cell, or of all cells."""
        ended = self.events("cell_executed")
        return [event for event in ended if not source_id or event["cell"]["source_id"] == source_id]

    def wait(self, condition: Callable[[], Any], tell: Callable[[], Any] | None = None) -> Any:
        """Wait until a condition is true and return its value; `tell` returns what is reported if it never is.

        Raises:
            AssertionError: the condition was not true in time.
        """
        deadline = time.monotonic() + _WAIT_S
        while not (value := condition()):
            state = (tell or (lambda: [event["type"] for event in self.events()]))()
            assert time.monotonic() < deadline, f"the condition never became true: {state}"
            self.page.wait_for_timeout(_POLL_MS)
        return value

    def cell(self, index: int) -> Locator:
        """Return a cell of the notebook in front."""
        return self.page.locator(f"{_PANEL} .jp-Cell").nth(index)

    def outputs(self, index: int) -> Locator:
        """Return what a cell shows below its source, which may contain the same words."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def select(self, index: int) -> None:
        """Make a cell the active one, as a click on it does."""
        # The prompt selects the cell without opening its editor.
        self.cell(index).locator(".jp-InputPrompt, .jp-RenderedMarkdown").first.click()
        expect(self.cell(index)).to_have_class(re.compile("jp-mod-active"))

    def run(self, index: int) -> None:
        """Select a cell and run it."""
        self.select(index)
        self.page.keyboard.press("Control+Enter")

    def command(self, command: str) -> None:
        """Carry out a command as a menu does."""
        self.page.evaluate("command => void window.jupyterapp.commands.execute(command)", command)
