"""Compare the resources that two builds use for the same traffic, in alternating rounds on the same machine.

Both builds run at the same time, each with its own PostgreSQL and Valkey, started by its own ``cell-monitor up``. In
each round first the one and then the other receives events at a fixed rate while dashboards watch, so that a
disturbance of the machine affects both. The order changes with each round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from builds import ROOT, Build, RunningBuild, build_of_commit, running
from comparison import Comparison, compare
from progress import Progress

__all__ = ["MIN_ROUNDS", "ROUNDS", "measure"]

HERE: Final = Path(__file__).parent
MIN_ROUNDS: Final = 5
ROUNDS: Final = 9
COURSES: Final = 8
STUDENTS: Final = 25
"""Of each course."""
DASHBOARDS: Final = 40
RATE: Final = 800
"""Events a second, which leaves about half of two cores free: a saturated build would be measured by its backlog."""
BATCH: Final = 4
SECONDS: Final = 8.0
WARM_UP_SECONDS: Final = 5.0
SETTLE_SECONDS: Final = 1.0
"""After the last event; the backlog at this rate is a small fraction of a second."""
MARK: Final = "sent at "


class Site:
    """A university on a running build: courses with students, and an instructor who watches all of them.

    It uses the routes of docs/dev/contracts.md only.
    """

    def __init__(self, build: RunningBuild) -> None:
        self.build = build
        self._http = httpx.Client(base_url=build.addresses["api"] + "/api/v1/", timeout=30, trust_env=False)
        self._api_key = ""
        self._students: list[dict[str, str]] = []
        self._started = datetime.now(UTC)
        self.sent = 0

    def close(self) -> None:
        """Close the connections to the API."""
        self._http.close()

    def seed(self) -> None:
        """Create the courses, their students and an API key that acts for them."""
        user = self.build.addresses["user"]
        self.build.command("admin", "add-member", "intro-python", user, "--role", "instructor", "--site-admin")
        headers = self._as_admin()
        for course in self._courses():
            self._post("courses", {"course_id": course, "title": course}, headers)
            members = [{"username": f"{course}-{n}", "role": "student"} for n in range(STUDENTS)]
            members.append({"username": user, "role": "instructor"})
            answer = self._http.put(f"courses/{course}/members", json={"members": members}, headers=headers)
            _expect(answer)
        key = {"name": "bench", "scopes": ["events:write", "people:act_as"]}
        self._api_key = self._post("api-keys", key, headers)["key"]
        # Neighbours are in different courses, as in the traffic of a university.
        self._students = [
            {"course": course, "username": f"{course}-{n}"} for n in range(STUDENTS) for course in self._courses()
        ]

    def load(self, seconds: float, folder: Path) -> dict[str, Any]:
        """Send events for ``seconds`` while dashboards watch; return CPU seconds and memory of each process.

        Raises:
            RuntimeError: events were refused, or are not stored a moment after the last one.
        """
        students = [student | {"token": self._token("ingest", student["username"])} for student in self._students]
        token = self._as_admin()["authorization"].removeprefix("Bearer ")
        audience = self._watch(token, seconds, folder)
        try:
            before = self.build.cpu_seconds()
            sent = self._send(students, seconds, folder)
            time.sleep(SETTLE_SECONDS)
            after = self.build.cpu_seconds()
            memory = self.build.memory_mib()
        finally:
            audience.wait(60)
        self.sent += sent
        self._expect_stored()
        return {"events": sent, "memory_mib": memory, "cpu_s": {name: after[name] - before[name] for name in after}}

    @staticmethod
    def _courses() -> list[str]:
        return [f"bench-{number}" for number in range(COURSES)]

    def _watch(self, token: str, seconds: float, folder: Path) -> subprocess.Popen[bytes]:
        gateway = urlsplit(self.build.addresses["gateway"])
        hellos = [
            [
                {"send": json.dumps({"type": "connect", "id": 1, "token": token}), "expect": '"connected"'},
                {
                    "send": json.dumps({"type": "subscribe", "id": 2, "channel": f"course:{course}"}),
                    "expect": '"subscribed"',
                },
            ]
            for course in self._courses()
        ]
        spec = {"port": gateway.port, "path": gateway.path, "subprotocol": "cell-monitor.v1", "sockets": DASHBOARDS}
        spec |= {
            "core": max(os.sched_getaffinity(0)),
            "hellos_of": hellos,
            "mark": MARK,
            "seconds": seconds + SETTLE_SECONDS + 1,
        }
        path = folder / "audience.json"
        path.write_text(json.dumps(spec))
        audience = subprocess.Popen([sys.executable, HERE / "ws_load.py", path], stdout=subprocess.PIPE)
        assert audience.stdout is not None
        if audience.stdout.readline() != b"ready\n":
            audience.wait(30)
            raise RuntimeError(f"{self.build.build.name}: the dashboards could not subscribe")
        return audience

    def _send(self, students: list[dict[str, str]], seconds: float, folder: Path) -> int:
        port = urlsplit(self.build.addresses["api"]).port
        spec = {"port": port, "students": students, "rate": RATE, "batch": BATCH, "seconds": seconds, "mark": MARK}
        path = folder / "pace.json"
        path.write_text(json.dumps(spec))
        done = subprocess.run(
            [sys.executable, HERE / "http_pace.py", path], check=True, capture_output=True, timeout=seconds + 60
        )
        result = json.loads(done.stdout)
        if result["refused"]:
            raise RuntimeError(f"{self.build.build.name} refused events, the first so: {result['first_refusal']}")
        return int(result["accepted"])

    def _expect_stored(self) -> None:
        """Compare the events of the activity chart with those that were sent: CPU for lost events is not comparable."""
        headers = self._as_admin()
        period = {
            "start": (self._started - timedelta(hours=1)).isoformat(),
            "stop": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
            "every": "86400",
        }
        deadline = time.monotonic() + 20
        while True:
            stored = 0
            for course in self._courses():
                answer = self._http.get(f"courses/{course}/activity", params=period, headers=headers)
                stored += sum(bucket["events"] for bucket in _expect(answer)["buckets"])
            if stored == self.sent:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.build.build.name} stored {stored} of {self.sent} events")
            time.sleep(0.5)

    def _as_admin(self) -> dict[str, str]:
        addresses = self.build.addresses
        answer = self._post("auth/login", {"username": addresses["user"], "password": addresses["password"]}, {})
        return {"authorization": f"Bearer {answer['access_token']}"}

    def _token(self, audience: str, username: str) -> str:
        body = {"audience": audience, "act_as": username}
        return str(self._post("auth/token", body, {"authorization": f"ApiKey {self._api_key}"})["access_token"])

    def _post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        return _expect(self._http.post(path, json=body, headers=headers))


def _expect(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code >= 300:
        raise RuntimeError(
            f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:500]}"
        )
    return dict(answer.json())


def measure(commit: str, *, rounds: int) -> tuple[str, list[Comparison]]:
    """Compare this checkout with a commit; return the commit's name and the comparisons, costs first.

    Raises:
        BuildError: a build cannot be installed or started.
        RuntimeError: a build refused or lost events.
    """
    progress = Progress(steps=2 * rounds + 6)
    progress.step(f"installing {commit} below build/against, unless it is there")
    builds = (Build("this checkout", ROOT), build_of_commit(commit))
    figures: dict[str, dict[str, list[float]]] = {build.name: defaultdict(list) for build in builds}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cell-monitor-bench-")))
        directory.chmod(0o711)  # as root, PostgreSQL runs as another account
        sites: list[tuple[Site, Path]] = []
        for number, build in enumerate(builds):
            progress.step(f"starting {build.name} and creating {COURSES} courses of {STUDENTS} students")
            folder = directory / str(number)
            folder.mkdir(mode=0o711)
            site = Site(stack.enter_context(running(build, folder)))
            stack.callback(site.close)
            site.seed()
            sites.append((site, folder))
        for site, folder in sites:
            progress.step(f"warm-up of {site.build.build.name}")
            site.load(WARM_UP_SECONDS, folder)
        for number in range(rounds):
            for site, folder in sites if number % 2 == 0 else reversed(sites):
                name = site.build.build.name
                progress.step(f"round {number + 1} of {rounds}: {name}, {RATE} events/s for {SECONDS:.0f} s")
                _note(figures[name], site.load(SECONDS, folder))
        progress.step("stopping")
    this, other = (figures[build.name] for build in builds)
    return builds[1].name, [compare(figure, this[figure], other[figure]) for figure in _in_order(this)]


def _note(figures: dict[str, list[float]], result: dict[str, Any]) -> None:
    events = result["events"]
    for name, seconds in result["cpu_s"].items():
        figures[f"CPU of {name}, µs an event"].append(seconds / events * 1e6)
    figures["CPU of all, µs an event"].append(sum(result["cpu_s"].values()) / events * 1e6)
    for name, mib in result["memory_mib"].items():
        figures[f"memory of {name}, MiB"].append(mib)


def _in_order(figures: dict[str, list[float]]) -> Sequence[str]:
    return sorted(figures, key=lambda figure: figure.startswith("memory"))
