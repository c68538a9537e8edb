"""Key to pixel: from Shift+Enter in a real JupyterLab to the frame in which a real dashboard shows the error and its cell.

The whole product as ``make up`` starts it, 200 simulated students at work, and one Chromium with two pages. Three times
are measured, each from the student's act to the frame of the student's row:

- of a cell that raises at once: from the key's event to the frame with the error and its cell;
- the start of a long run: from the key's event to the frame that says that the cell is running;
- the end of a long run: from the moment at which the kernel raises to the frame with the error.

Each page's clock is compared with this process's before and after; the kernel's monotonic clock is this process's.
"""

from __future__ import annotations

import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
from playwright.sync_api import Browser, Page, Request, expect
from progress import Progress
from stack import wait_for

from cell_monitor_testing.browser import running_chromium
from cell_monitor_testing.jupyter_page import cell, notebook
from cell_monitor_testing.servers import temporary_directory
from cell_monitor_testing.standalone import StandaloneUp

__all__ = ["TWO_SECONDS", "measure", "requests_of_linger"]

STUDENTS: Final = 200
TWO_SECONDS: Final = 2.0
"""The linger of extensions before 0.2, which collected all events for this long."""
_TIMEOUT_MS: Final = 60_000
_HEADING: Final = "Presses"
_QUICK = "press = globals().get('press', 0) + 1\nraise ValueError(f'press {press}.')"
_LONG = "import time\nlong = globals().get('long', 0) + 1\ntime.sleep(1)\nraise ValueError(f'long {long}. {time.monotonic()}')"
_CELLS = (
    cell("markdown", f"# {_HEADING}", "title"),
    cell("code", _QUICK, "quick"),
    cell("code", _LONG, "long"),
    cell("code", "40 + 2", "good"),
    cell("code", "", "own"),
    cell("markdown", "The end.", "end"),
)
_QUICK_CELL, _LONG_CELL, _GOOD_CELL, _OWN_CELL = 1, 2, 3, 4

_NOW = "() => performance.timeOrigin + performance.now()"
_NOTE_KEYS = """() => addEventListener('keydown', event => {
    if (event.key === 'Enter') {
        window.pressedAt = performance.timeOrigin + event.timeStamp;
    }
}, { capture: true })"""
_FIND_ROW = """() => {
    window.studentRow = () => [...document.querySelectorAll('[role=grid] [role=rowheader]')]
        .find(header => /^Student(?! \\d)/.test(header.textContent))?.closest('[role=row]') ?? null;
    // Resolves to the time of the frame that draws a row with all these texts.
    window.watch = texts => {
        let row = null;
        window.seen = new Promise(resolve => {
            const frame = () => {
                if (!row?.isConnected) {
                    row = window.studentRow();
                }
                if (row && texts.every(text => row.textContent.includes(text))) {
                    resolve(performance.timeOrigin + performance.now());
                } else {
                    requestAnimationFrame(frame);
                }
            };
            requestAnimationFrame(frame);
        });
    };
}"""


def measure(progress: Progress, *, quick: bool) -> dict[str, Any]:
    """Return the times in ms and the student's requests per minute."""
    presses, long_runs, minutes = (20, 5, 0.5) if quick else (200, 30, 2.5)
    with temporary_directory("bench") as folder, running_chromium() as browser:
        up = StandaloneUp(folder / "data")
        try:
            progress.step("key to pixel: starting everything")
            up.start()
            # Longer than the measurement takes; it is stopped at the end.
            with _class(up, minutes=presses / 20 + long_runs / 10 + minutes + 5):
                pages = _Pages(browser, up, progress)
                return pages.measure(presses=presses, long_runs=long_runs, minutes=minutes)
        finally:
            up.stop()


@contextmanager
def _class(up: StandaloneUp, *, minutes: float) -> Iterator[None]:
    """Let the other students work until the block ends."""
    command = [sys.executable, "-c", "from cell_monitor.cli import main; main()", "simulate"]
    command += ["--data-dir", str(up.data_dir), "--students", str(STUDENTS), "--minutes", str(int(minutes) + 1)]
    log = Path(f"{up.data_dir}.simulate")
    with log.open("wb") as output:
        simulation = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=up.addresses["api"], trust_env=False, timeout=20) as client:
            credentials = {"username": up.addresses["user"], "password": up.addresses["password"]}
            token = client.post("/api/v1/auth/login", json=credentials).raise_for_status().json()["access_token"]
            client.headers["authorization"] = f"Bearer {token}"

            def started() -> bool:
                if simulation.poll() is not None:
                    raise RuntimeError(f"the simulation ended: {log.read_text()[-2000:]}")
                counters = client.get("/api/v1/courses/intro-python/state").raise_for_status().json()["counters"]
                return bool(counters["started"] > STUDENTS * 0.9)

            wait_for(started, timeout=120, what="the simulated students", interval=1)
        yield
    finally:
        simulation.terminate()
        simulation.wait()


class _Pages:
    """The student's page and the instructor's, in one browser."""

    def __init__(self, browser: Browser, up: StandaloneUp, progress: Progress) -> None:
        self._progress = progress
        self._random = random.Random(7)
        self._quick_runs = 0
        self._long_runs = 0
        self._lab = _page(browser)
        self._dashboard = _page(browser)
        self._open_lab(up)
        self._open_dashboard(up)

    def measure(self, *, presses: int, long_runs: int, minutes: float) -> dict[str, Any]:
        """Return the times in ms and the requests per minute."""
        # The first runs wait for the kernel and draw the row for the first time.
        for _ in range(3):
            self._press(_QUICK_CELL)
        offsets = self._offsets()
        self._progress.step(f"key to pixel: {presses} presses, {STUDENTS} other students")
        quick = [self._press(_QUICK_CELL) for _ in range(presses)]
        self._progress.step(f"key to pixel: {long_runs} runs of a second")
        starts, ends = zip(*(self._long_run() for _ in range(long_runs)), strict=True)
        drift = max(abs(after - before) for before, after in zip(offsets, self._offsets(), strict=True))
        self._progress.step(f"requests of a student who types, selects and runs, {minutes} minutes")
        requests, before = self._requests(minutes)
        lab, dashboard = offsets
        # Both to this process's clock, in seconds.
        return {
            **_percentiles("key_to_pixel", [seen + dashboard - pressed - lab for pressed, seen in quick]),
            **_percentiles("key_to_running", [seen + dashboard - pressed - lab for pressed, seen in starts]),
            **_percentiles("raise_to_pixel", [seen + dashboard - raised for raised, seen in ends]),
            "requests_per_student_minute": requests,
            "requests_per_student_minute_two_seconds": before,
            "requests_vs_two_seconds": requests / before,
            "presses": presses,
            "long_runs": long_runs,
            "other_students": STUDENTS,
            "clock_drift_ms": drift * 1000,
            "key_to_pixel_all_ms": [round((seen + dashboard - pressed - lab) * 1000, 1) for pressed, seen in quick],
        }

    def _open_lab(self, up: StandaloneUp) -> None:
        work = up.data_dir / "work"
        (work / "presses.ipynb").write_text(notebook(*_CELLS), encoding="utf-8")
        self._lab.goto(up.addresses["jupyterlab"].replace("/lab?", "/lab/tree/presses.ipynb?"))
        self._cell(len(_CELLS) - 1).wait_for()
        expect(self._lab.locator("#jp-main-statusbar")).to_contain_text("Idle", timeout=_TIMEOUT_MS)
        self._lab.evaluate(_NOTE_KEYS)

    def _open_dashboard(self, up: StandaloneUp) -> None:
        page = self._dashboard
        page.goto(f"{up.addresses['dashboard']}/courses/intro-python")
        page.locator("input[autocomplete=username]").fill(up.addresses["user"])
        page.locator("input[type=password]").fill(up.addresses["password"])
        page.keyboard.press("Enter")
        page.get_by_text("Live", exact=True).wait_for()
        page.evaluate(_FIND_ROW)
        # The list draws only the rows in view; in the order of names the student's row stays where it is.
        found = (
            "() => { const row = window.studentRow(); row?.scrollIntoView({ block: 'center' }); return row !== null; }"
        )
        while not page.evaluate(found):
            page.mouse.wheel(0, 500)
            page.wait_for_timeout(100)

    def _cell(self, index: int) -> Any:
        return self._lab.locator(".jp-Notebook .jp-Cell").nth(index)

    def _select(self, index: int) -> None:
        self._cell(index).locator(".jp-InputPrompt").first.click()

    def _watched(self, *texts: str) -> Callable[[], float]:
        """Begin to watch the row; the function waits for the frame and returns its time in seconds of the page's clock."""
        self._dashboard.evaluate("texts => window.watch(texts)", list(texts))
        return lambda: self._dashboard.evaluate("() => window.seen") / 1000

    def _pressed(self) -> float:
        """Press Shift+Enter and return the time of the key's event in seconds of the page's clock."""
        self._lab.keyboard.press("Shift+Enter")
        return float(self._lab.evaluate("() => window.pressedAt")) / 1000

    def _press(self, index: int) -> tuple[float, float]:
        """Run the cell that raises at once; return (key, frame) by the pages' clocks."""
        self._quick_runs += 1
        self._select(index)
        seen = self._watched(f"press {self._quick_runs}.", _HEADING)
        pressed = self._pressed()
        frame = seen()
        self._pause(0.3, 1.2)
        return pressed, frame

    def _long_run(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Run the long cell; return (key, frame) of its start and (raised, frame) of its end."""
        self._long_runs += 1
        self._select(_GOOD_CELL)
        good = self._watched("OK")
        self._pressed()
        good()
        self._pause(0.3, 0.8)
        self._select(_LONG_CELL)
        running = self._watched("Running", _HEADING)
        pressed = self._pressed()
        started = running()
        failed = self._watched(f"long {self._long_runs}.", _HEADING)
        ended = failed()
        text = str(self._dashboard.evaluate("() => window.studentRow().textContent"))
        raised = float(re.findall(rf"long {self._long_runs}\. (\d+\.\d+)", text)[0])
        self._pause(0.3, 0.8)
        return (pressed, started), (raised, ended)

    def _pause(self, shortest: float, longest: float) -> None:
        self._lab.wait_for_timeout(self._random.uniform(shortest, longest) * 1000)

    def _offsets(self) -> tuple[float, float]:
        """Return what to add to each page's clock to get this process's monotonic clock, in seconds."""
        return _offset(self._lab), _offset(self._dashboard)

    def _requests(self, minutes: float) -> tuple[float, float]:
        """Let the student work; return requests per minute, and those that a linger of two seconds would have made."""
        sent: list[Request] = []

        def note(request: Request) -> None:
            if request.method == "POST" and request.url.split("?")[0].endswith("/cell-monitor"):
                sent.append(request)

        self._pause(11, 11)  # what waited before is sent
        self._lab.on("request", note)
        began = time.monotonic()
        while time.monotonic() - began < minutes * 60:
            self._work()
        self._pause(11, 11)
        length = (time.monotonic() - began) / 60
        self._lab.remove_listener("request", note)
        times = [_seconds(event["occurred_at"]) for request in sent for event in request.post_data_json["events"]]
        return len(sent) / length, requests_of_linger(times, TWO_SECONDS) / length

    def _work(self) -> None:
        """One step of a student: read, write a line or two, look at another cell, run."""
        dice = self._random
        step = dice.choices(("read", "write", "look", "run", "good"), weights=(3, 5, 2, 3, 1))[0]
        if step == "read":
            self._pause(2, 8)
        elif step == "look":
            self._select(dice.choice((_QUICK_CELL, _LONG_CELL, _GOOD_CELL)))
            self._pause(1, 4)
        elif step == "good":
            self._select(_GOOD_CELL)
            self._lab.keyboard.press("Shift+Enter")
        else:
            self._cell(_OWN_CELL).locator(".cm-content").click()
            if step == "write":
                for word in dice.sample(["x = 1", "y = x + 1", "print(y)", "z = y / 2", "print(z)", "x + z"], 3):
                    self._lab.keyboard.press("End")
                    self._lab.keyboard.type(f"\n{word}", delay=dice.uniform(80, 220))
                    self._pause(0.3, 2)
            else:
                self._lab.keyboard.press("Shift+Enter")
        self._pause(0.5, 2)


def requests_of_linger(times: Sequence[float], linger_s: float) -> int:
    """Return how many requests carry events when the first that waits is sent after a time with all that came meanwhile."""
    requests = 0
    until = float("-inf")
    for at in sorted(times):
        if at > until:
            requests += 1
            until = at + linger_s
    return requests


def _page(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1400, "height": 1000}, locale="en-US").new_page()
    page.set_default_timeout(_TIMEOUT_MS)
    return page


def _offset(page: Page) -> float:
    best = (float("inf"), 0.0)
    for _ in range(50):
        before = time.monotonic()
        there = page.evaluate(_NOW) / 1000
        after = time.monotonic()
        best = min(best, (after - before, (before + after) / 2 - there))
    return best[1]


def _percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    hundredths = statistics.quantiles(seconds, n=100, method="inclusive")
    return {f"{name}_p50_ms": hundredths[49] * 1000, f"{name}_p99_ms": hundredths[98] * 1000}


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
