"""The Jupyter Server half in a real Jupyter server: who may post, what is refused, what is answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cell_monitor_testing.log_text import assert_not_written

API_KEY = "test-key"


@pytest.fixture
def server(jupyter: Callable[..., Any], api: Any) -> Any:
    return jupyter(
        environment={
            "CELL_MONITOR_API_URL": api.url,
            "CELL_MONITOR_API_KEY": API_KEY,
            "CELL_MONITOR_TEST_MODE": "true",
            "CELL_MONITOR_COURSE": "linear-algebra",
        }
    )


def post(client: httpx.Client, body: bytes | str, path: str = "/cell-monitor", **headers: str) -> httpx.Response:
    return client.post(path, content=body, headers={"Content-Type": "application/json", **headers})


def test_the_path_from_a_page_to_the_monitor(server: Any, api: Any, make_event: Any) -> None:
    """One server for many questions: starting one takes seconds."""
    event = make_event()
    body = json.dumps({"events": [event]})
    with server.client() as page, server.client(signed_in=False) as stranger:
        # Who is not signed in gets nothing, and nothing of theirs is sent.
        assert post(stranger, body).status_code == 403
        assert stranger.get("/cell-monitor/status").status_code == 403
        # Another site's form has the cookie but not the token.
        forged = httpx.Client(base_url=server.url, cookies=page.cookies)
        assert post(forged, body).status_code == 403
        forged.close()
        assert not api.requests

        answer = post(page, body)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"results": [{"event_id": event["event_id"], "status": "accepted"}], "notices": []}
        assert answer.headers["content-type"].startswith("application/json")
        assert api.order == [event["event_id"]]
        assert page.get("/cell-monitor/status").json() == {
            "state": "ok",
            "spooled_events": 0,
            "spooled_bytes": 0,
            "dropped_events": 0,
            "runs": {"followed": True, "open": 0},
        }

        # What the ingest would refuse is refused here already, in the same words.
        for refused, status, error in [
            (b"{", 400, "invalid_body"),
            (b"[]", 400, "invalid_body"),
            (b'{"events": {}}', 400, "invalid_body"),
            (b'{"events": [NaN]}', 400, "invalid_body"),
            (b'{"events": ["\xff"]}', 400, "invalid_body"),
            (b'{"events":' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, "invalid_body"),
            (json.dumps({"events": [{}] * 201}), 413, "too_many_events"),
            (b'{"events": ["' + b"x" * 1024 * 1024 + b'"]}', 413, "body_too_large"),
            # test_ids that the monitor would refuse: their spooled events would be dropped later.
            *(
                (json.dumps({"test_id": name, "events": [event]}), 400, "invalid_body")
                for name in ("../events", "week.1", "a" * 64, "t-1\n", "", 7)
            ),
        ]:
            answer = post(page, refused)
            assert (answer.status_code, answer.json()["detail"][0]["type"]) == (status, error)
        assert post(page, body, **{"Content-Type": "text/plain"}).status_code == 415
        assert post(page, body, **{"Content-Encoding": "gzip"}).status_code == 415
        assert page.get("/cell-monitor").status_code == 405

        # Test mode: the monitor reads the name in the address, and refuses it in the body.
        text = "日本 \ud800"
        answer = post(page, json.dumps({"test_id": "t-1", "events": [make_event(text=text)]}))
        assert (answer.status_code, answer.json()["results"][0]["status"]) == (200, "accepted")
        assert api.requests[-1].path == "/api/v1/test/events/t-1"
        assert api.requests[-1].events[0]["text"] == text
        assert post(page, json.dumps({"test_id": None, "events": []})).status_code == 200
        assert api.requests[-1].path == "/api/v1/events"
        # In the query it is refused: passed over, it would send a test's events into a course.
        sent = len(api.requests)
        assert post(page, body, "/cell-monitor?test_id=t-1").status_code == 400
        assert len(api.requests) == sent

        # An open page is not a student at work: it must not keep the server from being culled.
        before = page.get("/api/status", params={"no_track_activity": "1"}).json()["last_activity"]
        post(page, json.dumps({"events": []}))
        assert page.get("/api/status", params={"no_track_activity": "1"}).json()["last_activity"] == before

        # The front end finds the course in the page.
        assert '"cellMonitorCourse": "linear-algebra"' in page.get("/lab").text

    log = server.log.read_text("utf-8", "replace")
    assert "jupyterlab_cell_monitor | extension was successfully loaded" in log
    # The refused requests, so that what was read reaches to them.
    assert "403 POST /cell-monitor" in log
    assert "415 POST /cell-monitor" in log
    # Jupyter Server names handlers that forgot to say who may use them.
    assert "registered for /cell-monitor" not in log, log
    assert api.good_tokens
    assert_not_written(log, API_KEY, *api.good_tokens, event["event_id"])
    assert "Traceback" not in log


def test_events_spooled_during_an_outage_survive_the_jupyter_server(
    jupyter: Any, api: Any, make_event: Any, tmp_path: Path, eventually: Any
) -> None:
    import asyncio

    key_file = tmp_path / "key"
    key_file.write_text(f"{API_KEY}\n")
    environment = {
        "CELL_MONITOR_API_URL": api.url,
        "CELL_MONITOR_API_KEY_FILE": str(key_file),
        "CELL_MONITOR_SPOOL_DIR": str(tmp_path / "spool"),
    }
    events = [make_event(seq=n + 1) for n in range(30)]
    api.stop()
    first = jupyter(environment=environment)
    with first.client() as page:
        for start in range(0, 30, 10):
            answer = post(page, json.dumps({"events": events[start : start + 10]}))
            assert answer.json()["notices"] == [{"kind": "spooled"}]
        assert page.get("/cell-monitor/status").json()["spooled_events"] == 30
        # Where test mode is off, a test's events do not become real ones.
        assert post(page, json.dumps({"test_id": "t", "events": events[:1]})).status_code == 404
    first.process.kill()
    first.process.wait()
    api.start()
    jupyter(environment=environment)
    asyncio.run(eventually(lambda: len(api.stored) == 30, lambda: len(api.stored)))
    assert api.order == [event["event_id"] for event in events]


@pytest.mark.parametrize(
    ("environment", "state", "reason"),
    [
        ({}, "not_joined", None),
        ({"CELL_MONITOR_API_URL": "http://127.0.0.1:9"}, "not_joined", None),
        ({"JUPYTERHUB_API_TOKEN": "t"}, "off", None),
        ({"CELL_MONITOR_API_URL": "monitor.example.org", "CELL_MONITOR_API_KEY": "k"}, "misconfigured", "api_url"),
    ],
    ids=["nothing set", "no key", "no address of a Hub's server", "no address"],
)
def test_a_server_without_a_monitor_works_and_says_that_it_is_off(
    jupyter: Any, make_event: Any, environment: dict[str, str], state: str, reason: str | None
) -> None:
    server = jupyter(environment=environment)
    with server.client() as page:
        answer = post(page, json.dumps({"events": [make_event()]}))
        assert answer.status_code == 200
        assert answer.json()["results"][0]["status"] == "rejected"
        notice = {"off": {}, "not_joined": {"reason": "not_joined"}, "misconfigured": {"reason": "not_configured"}}
        assert answer.json()["notices"] == [{"kind": "off", **notice[state]}]
        status = page.get("/cell-monitor/status").json()
        assert status["state"] == state
        assert reason is None or reason in status["last_error"]
