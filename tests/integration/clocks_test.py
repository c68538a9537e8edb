"""Hazard: a student's clock decides what staff see. On the running services, from the request to the instructor's queries."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from cell_monitor_core.events.ids import new_event_id
from cell_monitor_testing.servers import temporary_directory
from cell_monitor_testing.standalone import StandaloneUp, run_cell_monitor

pytestmark = pytest.mark.timeout(400)

COURSE = "intro-python"
CLOCKS = {
    "ahead-10-h": timedelta(hours=10),
    "behind-10-h": timedelta(hours=-10),
    "ahead-2-days": timedelta(days=2),
    "in-2020": timedelta(days=-2190),
    "in-1969": timedelta(days=-20_800),
    "in-9000": timedelta(days=365 * 6974),
}


@dataclass
class Computer:
    """A student's browser on a computer with a clock that the test sets."""

    site: Site
    username: str
    clock: timedelta = timedelta()
    session: str = field(default_factory=lambda: str(uuid.uuid4()))
    seq: int = 0

    def reload(self) -> None:
        self.session, self.seq = str(uuid.uuid4()), 0

    def event(self, kind: str, *, ago: timedelta = timedelta(), **data: Any) -> dict[str, Any]:
        self.seq += 1
        event = {
            "event_id": self._event_id(ago),
            "type": kind,
            "schema_version": 1,
            "occurred_at": self.time(ago),
            "session_id": self.session,
            "seq": self.seq,
            "course": COURSE,
            "notebook": {"id": "week-1", "path": "week-1.ipynb"},
            "data": data,
        }
        if kind in {"cell_execution_started", "cell_executed"}:
            event["cell"] = {"id": "ex-1", "source_id": "ex-1", "index": 0, "type": "code"}
        return event

    def started(self) -> dict[str, Any]:
        return self.event("session_started", client={"extension_version": "0"})

    def run(self, status: str) -> list[dict[str, Any]]:
        execution = str(uuid.uuid4())
        ended: dict[str, Any] = {"execution_id": execution, "status": status, "code": "x", "outputs": []}
        if status == "error":
            ended["error"] = {"name": "NameError", "value": "v", "traceback": ""}
        return [self.event("cell_execution_started", execution_id=execution), self.event("cell_executed", **ended)]

    def time(self, ago: timedelta = timedelta()) -> str:
        moment = datetime.now(UTC).replace(tzinfo=None) + self.clock - ago
        return moment.isoformat(timespec="milliseconds") + "Z"

    def send(self, *events: dict[str, Any], **times: Any) -> None:
        """Send a batch; every event must be accepted."""
        answer = self.site.client.post(
            "/api/v1/events",
            json={**times, "events": events},
            headers={"authorization": f"Bearer {self.site.ingest_token(self.username)}"},
        )
        assert answer.status_code == 200, answer.text
        assert [result["status"] for result in answer.json()["results"]] == ["accepted"] * len(events), answer.text

    def _event_id(self, ago: timedelta) -> str:
        # The id holds the same wrong time.
        milliseconds = int((datetime.now(UTC) + self.clock - ago).timestamp() * 1000) % 2**48
        return str(uuid.UUID(int=milliseconds << 80 | uuid.UUID(new_event_id()).int & 2**80 - 1))


class Site:
    """A running installation, and its instructor."""

    def __init__(self, up: StandaloneUp, client: httpx.Client) -> None:
        self.up = up
        self.client = client
        self._api_key = (up.data_dir / "secrets" / "simulator-api-key").read_text().strip()
        addresses = up.addresses
        answer = client.post(
            "/api/v1/auth/login", json={"username": addresses["user"], "password": addresses["password"]}
        )
        assert answer.status_code == 200, answer.text
        self._staff = {"authorization": f"Bearer {answer.json()['access_token']}"}

    def ingest_token(self, username: str) -> str:
        key = {"authorization": f"ApiKey {self._api_key}"}
        body = {"audience": "ingest", "act_as": username}
        return str(self.client.post("/api/v1/auth/token", json=body, headers=key).json()["access_token"])

    def computer(self, username: str, clock: timedelta = timedelta()) -> Computer:
        members = {"members": [{"username": username, "role": "student"}]}
        answer = self.client.put(f"/api/v1/courses/{COURSE}/members", json=members, headers=self._staff)
        assert answer.status_code == 200, answer.text
        return Computer(self, username, clock)

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.client.get(f"/api/v1/courses/{COURSE}/{path}", params=parameters, headers=self._staff)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def student(self, username: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait until a condition holds for what is shown of a student."""
        deadline = time.monotonic() + 60
        while True:
            shown = {student["username"]: student for student in self.get("state")["students"]}.get(username, {})
            if shown and condition(shown):
                return shown
            assert time.monotonic() < deadline, shown
            time.sleep(0.1)

    def queue(self, *usernames: str) -> list[dict[str, Any]]:
        """The queue of requests as the page gets it, of some students."""
        state = self.get("state")
        names = {student["student_id"]: student["username"] for student in state["students"]}
        return [
            {**each, "username": names[each["student_id"]]}
            for each in state["help"]
            if names[each["student_id"]] in usernames
        ]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with temporary_directory("clocks") as folder:
        up = StandaloneUp(folder / "data", "--without-jupyterlab", "--without-dashboard")
        try:
            up.start()
            with httpx.Client(base_url=up.addresses["api"], timeout=60, trust_env=False) as client:
                yield Site(up, client)
        finally:
            up.stop()


@pytest.mark.parametrize("name", CLOCKS)
def test_runs_after_a_clock_was_set_right_are_the_newest(site: Site, name: str) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    computer = site.computer(name, CLOCKS[name])
    computer.send(computer.started(), *computer.run("error"), *computer.run("error"), *computer.run("error"))
    wrong = site.student(name, lambda shown: shown["runs"] == 3)
    assert (wrong["status"], wrong["error_streak"]) == ("error", 3)
    computer.clock = timedelta()
    computer.reload()
    computer.send(computer.started(), *computer.run("ok"), *computer.run("ok"))
    shown = site.student(name, lambda shown: shown["runs"] == 5)
    assert (shown["status"], shown["error_streak"], shown["missing"]) == ("ok", 0, 0)
    ended = datetime.now(UTC) + timedelta(seconds=1)
    for at in (shown["last_activity_at"], shown["last_execution"]["at"], wrong["streak_since"]):
        assert began <= moment(at) <= ended


def test_a_clock_that_is_set_in_the_middle_of_a_session_changes_nothing(site: Site) -> None:
    computer = site.computer("jumping")
    computer.send(computer.started())
    statuses = ["error", "ok", "error", "ok", "error", "error"]
    for clock, status in zip(CLOCKS.values(), statuses, strict=True):
        computer.clock = clock
        computer.send(*computer.run(status), sent_at=computer.time())
    shown = site.student("jumping", lambda shown: shown["runs"] == 6)
    assert (shown["status"], shown["error_streak"], shown["sessions_open"]) == ("error", 2, 1)


def test_the_queue_of_requests_is_in_the_order_of_receipt_whatever_is_claimed(site: Site) -> None:
    first, second, third = (
        site.computer("asked-first"),
        site.computer("asked-second", timedelta(minutes=-20)),
        site.computer("asked-third", timedelta(hours=9)),
    )
    names = [computer.username for computer in (first, second, third)]
    for computer in (first, second, third):
        computer.send(computer.started())
        computer.send(computer.event("help_requested"))
        site.student(computer.username, lambda shown: shown["help"] is not None)
    # This one claims to have waited since yesterday, although its page has just been opened.
    last = site.computer("asked-last")
    asked = last.event("help_requested", ago=timedelta(days=1))
    before = datetime.now(UTC)
    last.send(asked, sent_at=last.time())
    site.student("asked-last", lambda shown: shown["help"] is not None)
    queue = site.queue(*names, "asked-last")
    assert [request["username"] for request in queue] == [*names, "asked-last"]
    assert sorted(queue, key=lambda request: request["received_at"]) == queue
    assert all(abs(moment(each["requested_at"]) - moment(each["received_at"])) < timedelta(seconds=5) for each in queue)
    assert moment(queue[-1]["requested_at"]) >= before - timedelta(seconds=1)


def test_a_request_that_waited_in_a_spool_does_not_read_as_new(site: Site) -> None:
    # Ten hours ahead; the API knows the session from before, and was unavailable since.
    computer = site.computer("spooled", CLOCKS["ahead-10-h"])
    computer.send(computer.started())
    opened = moment(site.student("spooled", lambda shown: shown["last_activity_at"])["last_activity_at"])
    pause = timedelta(seconds=2)
    while datetime.now(UTC) - opened < 2 * pause:
        time.sleep(0.05)
    computer.send(computer.event("help_requested"), waited_ms=[pause // timedelta(milliseconds=1)])
    site.student("spooled", lambda shown: shown["help"] is not None)
    [request] = site.queue("spooled")
    assert moment(request["received_at"]) - moment(request["requested_at"]) == pause


def test_the_chart_has_everybody_at_the_time_of_the_lesson(site: Site) -> None:
    now = datetime.now(UTC)
    names = [f"chart-{name}" for name in CLOCKS]
    for name, clock in zip(names, CLOCKS.values(), strict=True):
        computer = site.computer(name, clock)
        computer.send(computer.started(), *computer.run("ok"))
    span = {
        "start": (now - timedelta(minutes=1)).isoformat(),
        "stop": (now + timedelta(minutes=2)).isoformat(),
        "every": 180,
    }
    deadline = time.monotonic() + 60
    while site.get("activity", **span)["buckets"][0]["students"] < len(names):
        assert time.monotonic() < deadline, site.get("activity", **span)
        time.sleep(0.2)


def test_what_is_shown_is_what_the_stored_facts_give(site: Site) -> None:
    done = run_cell_monitor("rebuild", "--check", "--data-dir", str(site.up.data_dir))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differences" in done.stdout + done.stderr
