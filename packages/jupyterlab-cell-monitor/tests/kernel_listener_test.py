"""Hazard: a run on a real kernel goes on after its page was closed, and nobody learns how it ended."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from jupyterlab_cell_monitor.kernel_listener import unavailable

pytestmark = pytest.mark.timeout(180)

PATH = "week1.ipynb"
SLOW = "import time\nprint('begun', flush=True)\ntime.sleep(3)\n1 / 0"


class Notebook:
    """A notebook's session on a real server, with a WebSocket to its kernel in place of the page's."""

    address: str
    socket: ClientConnection

    def __init__(self, client: Any, api: Any, make_event: Callable[..., dict[str, Any]]) -> None:
        self.client, self.api, self.make_event = client, api, make_event
        body = {"path": PATH, "name": PATH, "type": "notebook", "kernel": {"name": "python3"}}
        self.kernel_id = client.post("/api/sessions", json=body).json()["kernel"]["id"]
        self.session_id = str(uuid.uuid4())
        self.seq = 0

    def send(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        self.seq += 1
        event = self.make_event(
            type=kind,
            session_id=self.session_id,
            seq=self.seq,
            notebook={"id": "n", "path": PATH},
            cell={"id": "c", "source_id": "c", "index": 0, "type": "code"},
            data=data,
        )
        answer = self.client.post("/cell-monitor", json={"events": [event]})
        assert answer.status_code == 200, answer.text
        return event

    def hand_over(self, *runs: str) -> dict[str, Any]:
        """Hand runs over as a page does that has nothing else to send; return the answer."""
        handed = [
            {
                "execution_id": run,
                "start_id": self.make_event()["event_id"],
                "session_id": self.session_id,
                "seq": self.seq,
                "notebook": {"id": "n", "path": PATH},
                "cell": {"id": "c", "source_id": "c", "index": 0, "type": "code"},
                "kernel": self.kernel_id,
                "requested_at": "2026-04-01T09:00:00.123Z",
                "age_ms": 0,
            }
            for run in runs
        ]
        answer = self.client.post("/cell-monitor", json={"runs": handed, "events": []})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def execute(self, code: str) -> str:
        """Run code and return its message id, once the kernel has begun to execute it."""
        message_id = self.request(code)
        while True:
            received = json.loads(self.socket.recv(timeout=60))
            if received["parent_header"].get("msg_id") == message_id and received["msg_type"] == "stream":
                return message_id

    def request(self, code: str) -> str:
        """Ask the kernel to run code and return the message id."""
        message_id = str(uuid.uuid4())
        header = {"msg_id": message_id, "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": True}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self.socket.send(json.dumps(message | {"buffers": []}))
        return message_id

    def ended(self) -> list[dict[str, Any]]:
        return [event for event in list(self.api.stored.values()) if event["type"] == "cell_executed"]

    def deaths(self) -> list[dict[str, Any]]:
        return [
            event for event in list(self.api.stored.values()) if event["type"] in {"kernel_restarted", "kernel_died"}
        ]

    def wait_until_none_is_open(self) -> None:
        deadline = time.monotonic() + 60
        while self.client.get("/cell-monitor/status").json()["runs"]["open"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def wait_for_end(self, number: int = 1) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while len(found := self.ended()) < number:
            assert time.monotonic() < deadline, self.client.get("/cell-monitor/status").text
            time.sleep(0.05)
        return found[0]


@pytest.fixture
def opened(jupyter: Any, api: Any, make_event: Callable[..., dict[str, Any]]) -> Iterator[Notebook]:
    server = jupyter(environment={"CELL_MONITOR_API_URL": api.url, "CELL_MONITOR_API_KEY": "test-key"})
    with server.client() as client:
        notebook = Notebook(client, api, make_event)
        address = f"{server.url}/api/kernels/{notebook.kernel_id}/channels?token={server.token}"
        notebook.address = address.replace("http://", "ws://", 1)
        with connect(notebook.address, proxy=None) as notebook.socket:
            notebook.send("session_started", {"client": {"extension_version": "0.1.0"}, "ends_runs": False})
            # The kernel's first message may come before the listener has subscribed; the run under test must not.
            notebook.execute("print('ready')")
            yield notebook


def test_the_end_of_a_run_is_reported_after_its_page_was_closed(opened: Notebook) -> None:
    run = opened.execute(SLOW)
    start = opened.send("cell_execution_started", {"execution_id": run})
    opened.send("session_ended", {"reason": "closed", "ends_runs": False})
    opened.socket.close()
    assert opened.client.get("/cell-monitor/status").json()["runs"] == {"followed": True, "open": 1}

    end = opened.wait_for_end()
    assert end["data"]["execution_id"] == run
    assert (end["data"]["status"], end["data"]["error"]["name"]) == ("error", "ZeroDivisionError")
    assert end["data"]["code"] == SLOW
    assert [output["text"] for output in end["data"]["outputs"]] == ["begun\n"]
    assert end["data"]["duration_ms"] >= 3000
    assert (end["session_id"], end["seq"], end["cell"]) == (opened.session_id, opened.seq + 1, start["cell"])
    last = list(opened.api.stored.values())[-1]
    assert (last["type"], last["session_id"], last["seq"]) == ("session_ended", opened.session_id, opened.seq + 2)
    # The page made the same event before it was closed: it counts once.
    assert int(uuid.UUID(end["event_id"])) == int(uuid.UUID(start["event_id"])) ^ 1
    assert opened.client.get("/cell-monitor/status").json()["runs"]["open"] == 0


def test_runs_that_were_queued_when_their_page_was_closed_start_and_end_in_their_order(opened: Notebook) -> None:
    first = opened.execute("import time\nprint('begun', flush=True)\ntime.sleep(2)")
    opened.send("cell_execution_started", {"execution_id": first})
    failing, skipped = opened.request("1 / 0"), opened.request("print('never')")
    before = len(opened.api.requests)
    assert opened.hand_over(first, failing, skipped) == {"results": [], "notices": None}
    assert opened.client.get("/cell-monitor/status").json()["runs"]["open"] == 3
    # What is only this server's costs the monitor no request.
    assert len(opened.api.requests) == before
    opened.send("session_ended", {"reason": "closed", "ends_runs": False})
    opened.socket.close()
    opened.wait_for_end(3)
    assert [(event["data"]["execution_id"], event["data"]["status"]) for event in opened.ended()] == [
        (first, "ok"),
        (failing, "error"),
        (skipped, "aborted"),
    ]
    starts = [event for event in opened.api.stored.values() if event["type"] == "cell_execution_started"]
    assert [start["data"]["execution_id"] for start in starts] == [first, failing]
    opened.wait_until_none_is_open()
    # The session of the closed page is closed at the end.
    assert list(opened.api.stored.values())[-1]["type"] == "session_ended"
    seqs = [event["seq"] for event in opened.api.stored.values() if event["session_id"] == opened.session_id]
    assert len(seqs) == len(set(seqs))


def test_queued_runs_end_with_their_kernel_while_no_page_is_open(opened: Notebook) -> None:
    first = opened.execute("import os, time\nprint('begun', flush=True)\ntime.sleep(2)\nos._exit(1)")
    opened.send("cell_execution_started", {"execution_id": first})
    queued = opened.request("print('never')")
    opened.hand_over(first, queued)
    opened.send("session_ended", {"reason": "closed", "ends_runs": False})
    opened.socket.close()
    opened.wait_for_end(2)
    assert {event["data"]["execution_id"]: event["data"]["status"] for event in opened.ended()} == {
        first: "aborted",
        queued: "aborted",
    }
    starts = [event for event in opened.api.stored.values() if event["type"] == "cell_execution_started"]
    assert [start["data"]["execution_id"] for start in starts] == [first]
    opened.wait_until_none_is_open()
    # The one that waited has not killed the kernel.
    assert [death["seq"] for death in opened.deaths()] == [opened.ended()[0]["seq"] + 1]


@pytest.mark.parametrize("act", ["restart", "shutdown"])
def test_a_run_ends_with_its_kernel_also_while_no_page_is_open(opened: Notebook, act: str) -> None:
    run = opened.execute("import time\nprint('begun', flush=True)\ntime.sleep(600)")
    opened.send("cell_execution_started", {"execution_id": run})
    opened.send("session_ended", {"reason": "hidden", "ends_runs": False})
    opened.socket.close()
    if act == "restart":
        opened.client.post(f"/api/kernels/{opened.kernel_id}/restart").raise_for_status()
    else:
        opened.client.delete(f"/api/kernels/{opened.kernel_id}").raise_for_status()
    end = opened.wait_for_end()
    assert (end["data"]["execution_id"], end["data"]["status"]) == (run, "aborted")
    assert [output["text"] for output in end["data"]["outputs"]] == ["begun\n"]
    opened.wait_until_none_is_open()
    assert opened.deaths() == []


def test_a_cell_that_kills_its_kernel_ends_and_is_named_also_while_no_page_is_open(opened: Notebook) -> None:
    run = opened.execute("import os, time\nprint('begun', flush=True)\ntime.sleep(2)\nos._exit(1)")
    start = opened.send("cell_execution_started", {"execution_id": run})
    opened.send("session_ended", {"reason": "hidden", "ends_runs": False})
    opened.socket.close()
    end = opened.wait_for_end()
    assert (end["data"]["execution_id"], end["data"]["status"]) == (run, "aborted")
    opened.wait_until_none_is_open()
    (death,) = opened.deaths()
    assert (death["type"], death["data"]) == ("kernel_restarted", {"reason": "auto", "running": True})
    assert (death["cell"], death["notebook"]) == (start["cell"], start["notebook"])
    assert int(uuid.UUID(death["event_id"])) == int(uuid.UUID(start["event_id"])) ^ 4


def test_runs_of_a_kernel_that_was_started_again_after_its_death_are_followed(opened: Notebook) -> None:
    # jupyter_client may choose new ports for a kernel that dies soon after its start.
    run = opened.execute("import os, time\nprint('begun', flush=True)\ntime.sleep(0.5)\nos._exit(1)")
    opened.send("cell_execution_started", {"execution_id": run})
    opened.send("session_ended", {"reason": "hidden", "ends_runs": False})
    opened.socket.close()
    opened.wait_for_end()
    with connect(opened.address, proxy=None) as opened.socket:
        again = opened.execute(SLOW)
        opened.send("cell_execution_started", {"execution_id": again})
        opened.send("session_ended", {"reason": "hidden", "ends_runs": False})
    opened.wait_for_end(2)
    end = opened.ended()[1]["data"]
    assert (end["execution_id"], end["status"], end["error"]["name"]) == (again, "error", "ZeroDivisionError")


def test_a_run_that_no_page_reported_is_not_reported(opened: Notebook) -> None:
    opened.execute("print('of another page')")
    run = opened.execute(SLOW)
    opened.send("cell_execution_started", {"execution_id": run})
    opened.send("session_ended", {"reason": "closed", "ends_runs": False})
    opened.wait_for_end()
    assert {event["data"]["execution_id"] for event in opened.ended()} == {run}


def test_while_the_monitor_is_unavailable_the_end_waits_in_the_spool(opened: Notebook) -> None:
    run = opened.execute(SLOW)
    opened.send("cell_execution_started", {"execution_id": run})
    opened.send("session_ended", {"reason": "closed", "ends_runs": False})
    opened.api.stop()
    deadline = time.monotonic() + 60
    while opened.client.get("/cell-monitor/status").json()["spooled_events"] < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    opened.api.start()
    assert opened.wait_for_end()["data"]["status"] == "error"


def test_a_server_whose_kernels_cannot_be_listened_to_says_why() -> None:
    def nothing() -> None:
        """Be callable."""

    kernels = SimpleNamespace(connect_iopub=nothing, add_restart_callback=nothing, get_kernel=nothing)
    kernels.__contains__ = nothing
    parts = {
        "kernel_manager": kernels,
        "session_manager": SimpleNamespace(list_sessions=nothing),
        "event_logger": SimpleNamespace(add_listener=nothing),
    }
    assert unavailable(SimpleNamespace(**parts)) is None
    behind = SimpleNamespace(**parts, gateway_config=SimpleNamespace(gateway_enabled=True))
    assert unavailable(behind) == "the kernels run behind a gateway"
    parts["kernel_manager"] = SimpleNamespace(get_kernel=nothing)
    assert unavailable(SimpleNamespace(**parts)) == "this Jupyter server has no kernel_manager.connect_iopub"
