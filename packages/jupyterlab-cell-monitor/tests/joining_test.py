"""Hazards of joining in the server half: the secret leaks or is lost, or a student's work goes where it does not belong."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from jupyterlab_cell_monitor.join_store import Joined, JoinStore, new_secret
from jupyterlab_cell_monitor.joining import Joining, JoinRefused, address_of
from jupyterlab_cell_monitor.tokens import ExchangedTokens

CODE, NAME = "K7F2-2M9Q-X4DT", "Hanako"
TAKEN = {"course_id": "c1", "title": "Algebra", "name": NAME}


class Monitor:
    """A stand-in for the monitor's exchange and ingest: what was sent to it, and how it answers."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, str], Any]] = []
        self.answer: tuple[int, Any] = (201, TAKEN)
        self.lost_answers = 0
        self.known: set[str] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.sent.append((str(request.url), dict(request.headers), body))
        if request.url.path.endswith("/api/v1/auth/join"):
            if self.lost_answers:
                self.lost_answers -= 1
                self.known.add(body["secret"])
                raise httpx.ReadTimeout("lost")
            status, value = self.answer
            if status == 201:
                self.known.add(body["secret"])
            return httpx.Response(status, json=value)
        raise AssertionError(request.url)

    @property
    def secrets(self) -> list[str]:
        return [body["secret"] for _, _, body in self.sent]


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


class Client:
    """A server half that joins, and what it was connected to."""

    def __init__(self, monitor: Monitor, folder: Path, address: str | None = None) -> None:
        self.connected: list[Joined] = []
        self.store = JoinStore(folder / "joined.json")
        attempts = JoinStore(folder / "joining.json")
        client = httpx.AsyncClient(transport=httpx.MockTransport(monitor))
        self.joining = Joining(client, self.store, attempts, address, self._connect)

    async def _connect(self, joined: Joined) -> None:
        self.connected.append(joined)


async def test_after_joining_the_secret_is_kept_for_its_user_alone(monitor: Monitor, tmp_path: Path) -> None:
    client = Client(monitor, tmp_path / "new" / "folder")
    assert client.joining.state()["joined"] is False
    assert client.joining.credentials() == []
    await client.joining.join("192.168.7.5:8900", CODE, NAME)
    [(url, _, body)] = monitor.sent
    assert url == "http://192.168.7.5:8900/api/v1/auth/join"
    assert {name: body[name] for name in ("code", "name")} == {"code": CODE, "name": NAME}
    files = list((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in files] == ["joined.json"]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700
    [credential] = Client(monitor, tmp_path / "new" / "folder").joining.credentials()
    assert (credential.scheme, credential.secret) == ("Join", body["secret"])
    # Neither what the page gets nor what is printed has it.
    assert body["secret"] not in json.dumps(client.joining.state())
    assert body["secret"] not in f"{credential!r} {client.connected[0]!r}"


async def test_an_answer_that_was_lost_makes_no_second_student(monitor: Monitor, tmp_path: Path) -> None:
    monitor.lost_answers = 2
    for _ in range(2):
        # Each time in a new process.
        client = Client(monitor, tmp_path)
        with pytest.raises(JoinRefused) as refused:
            await client.joining.join("lab.test", CODE, NAME)
        assert refused.value.error == "monitor_unreachable"
        assert client.joining.credentials() == []
    await Client(monitor, tmp_path).joining.join("lab.test", CODE, NAME)
    assert len(set(monitor.secrets)) == 1


async def test_a_name_that_the_monitor_kept_is_this_computers_whatever_is_typed_later(
    monitor: Monitor, tmp_path: Path
) -> None:
    monitor.lost_answers = 1
    client = Client(monitor, tmp_path)
    with pytest.raises(JoinRefused):
        await client.joining.join("lab.test", CODE, "Hana")
    monitor.answer = (201, {**TAKEN, "name": "Hana", "name_kept": True})
    assert await client.joining.join("lab.test", CODE, NAME) is True
    assert client.joining.state()["name"] == "Hana"
    # Monitors of earlier releases do not say it.
    monitor.answer = (201, TAKEN)
    assert await client.joining.join("lab.test", CODE, NAME) is False


async def test_a_name_that_the_staff_changed_is_shown_after_the_next_token(monitor: Monitor, tmp_path: Path) -> None:
    client = Client(monitor, tmp_path)
    await client.joining.join("lab.test", CODE, NAME)
    answers: list[dict[str, Any]] = [
        {"joined": {"name": "Hanako Yamada", "title": "Algebra 2"}},
        {},
        {"joined": {"name": 7}},
    ]

    def exchange(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"access_token": "t", "expires_in": 600, **answers.pop(0)})

    http = httpx.AsyncClient(transport=httpx.MockTransport(exchange))
    tokens = ExchangedTokens(
        http, "http://lab.test/token", client.joining.credentials, on_answer=client.joining.answered
    )
    secret = client.joining.credentials()[0].secret
    # What an earlier release answers, or what is no name, changes nothing.
    while answers:
        tokens.reject(await tokens.token())
        state = Client(monitor, tmp_path).joining.state()
        assert (state["name"], state["title"]) == ("Hanako Yamada", "Algebra 2")
    assert client.joining.credentials()[0].secret == secret
    # The answer to an earlier class's secret is not this one's name.
    earlier = client.joining.credentials()[0]
    await client.joining.join("second.test", CODE, NAME)
    client.joining.answered(earlier, {"joined": {"name": "Somebody", "title": "Else"}})
    assert client.joining.state()["name"] == NAME


async def test_a_secret_that_one_monitor_saw_is_not_sent_to_another(monitor: Monitor, tmp_path: Path) -> None:
    client = Client(monitor, tmp_path)
    monitor.lost_answers = 1
    with pytest.raises(JoinRefused):
        await client.joining.join("first.test", CODE, NAME)
    await client.joining.join("second.test", CODE, NAME)
    await client.joining.join("second.test", CODE, NAME)
    assert len(set(monitor.secrets)) == 3


async def test_a_refusal_leaves_the_class_before_as_it_was(monitor: Monitor, tmp_path: Path) -> None:
    client = Client(monitor, tmp_path)
    await client.joining.join("lab.test", CODE, NAME)
    before = client.joining.credentials()
    monitor.answer = (403, {"detail": [{"type": "invalid_join_code", "msg": "no"}]})
    with pytest.raises(JoinRefused):
        await client.joining.join("other.test", CODE, NAME)
    assert client.joining.credentials() == before
    assert len(client.connected) == 1


def _fault(error: str, *loc: str) -> dict[str, Any]:
    return {"detail": [{"type": error, "msg": "<script>", "loc": list(loc)}]}


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        ((403, _fault("invalid_join_code")), 422, "invalid_join_code"),
        ((422, _fault("invalid_parameter", "body", "name")), 422, "invalid_name"),
        ((422, _fault("string_too_long", "body", "code")), 422, "invalid_join_code"),
        ((409, _fault("course_full")), 409, "course_full"),
        ((429, _fault("rate_limited")), 429, "rate_limited"),
        ((503, _fault("database_unavailable")), 502, "monitor_unreachable"),
        ((404, {"detail": "Not Found"}), 502, "not_a_monitor"),
        ((200, {"hello": "world"}), 502, "not_a_monitor"),
        ((201, {"name": 1, "title": None}), 502, "not_a_monitor"),
        ((201, ["x"] * 100_000), 502, "not_a_monitor"),
        ((302, {}), 502, "not_a_monitor"),
        ((403, _fault("<b>")), 502, "not_a_monitor"),
        ((422, {"message": "blocked"}), 502, "not_a_monitor"),
        ((502, {}), 502, "monitor_unreachable"),
    ],
)
async def test_what_the_monitor_answers_is_a_reason_that_the_page_has_words_for(
    monitor: Monitor, tmp_path: Path, answer: tuple[int, Any], status: int, error: str
) -> None:
    monitor.answer = answer
    client = Client(monitor, tmp_path)
    with pytest.raises(JoinRefused) as refused:
        await client.joining.join("lab.test", CODE, NAME)
    assert (refused.value.status, refused.value.error) == (status, error)
    assert client.joining.credentials() == []


@pytest.mark.parametrize(
    ("typed", "origin"),
    [
        ("http://192.168.7.5:8900", "http://192.168.7.5:8900"),
        (" 192.168.7.5:8900 ", "http://192.168.7.5:8900"),
        ("http://Lab-PC.local:8900/courses/intro-python/join?x#y", "http://lab-pc.local:8900"),
        ("https://monitor.example.org", "https://monitor.example.org"),
        ("http://[fe80::1]:8900", "http://[fe80::1]:8900"),
        ("", None),
        ("ftp://lab.test", None),
        ("file:///etc/passwd", None),
        ("http://user:secret@lab.test", None),
        ("http://lab.test:99999", None),
        ("http://lab test", None),
        ("http://", None),
        ("http://lab.test\r\nX: y", None),
        ("a" * 201, None),
    ],
)
def test_an_address_is_an_origin_and_nothing_else(typed: str, origin: str | None) -> None:
    assert address_of(typed) == origin


async def test_where_the_address_is_configured_no_other_one_is_asked(monitor: Monitor, tmp_path: Path) -> None:
    JoinStore(tmp_path / "joined.json").write(Joined("http://before.test", new_secret(), NAME, "Algebra"))
    client = Client(monitor, tmp_path, "https://monitor.test/below")
    # What was joined elsewhere is not sent there.
    assert client.joining.credentials() == []
    await client.joining.join("http://evil.test", CODE, NAME)
    assert [url for url, _, _ in monitor.sent] == ["https://monitor.test/below/api/v1/auth/join"]


@pytest.mark.parametrize(
    "stored", [b"", b"{", b"[]", b"null", b"\xff", b'{"address": 1}', b"[" * 20_000, b" " * 20_000]
)
def test_a_file_that_cannot_be_used_is_as_none(tmp_path: Path, stored: bytes) -> None:
    (tmp_path / "joined.json").write_bytes(stored)
    assert JoinStore(tmp_path / "joined.json").read() is None


class _Instructor(BaseHTTPRequestHandler):
    """The instructor's machine, for a real Jupyter server: lets everybody in until ``removed`` is set."""

    removed = threading.Event()
    events: list[dict[str, Any]] = []  # noqa: RUF012 - one server a test

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/v1/auth/join":
            self._reply(201, TAKEN)
        elif self.removed.is_set():
            self._reply(401, _fault("invalid_join_secret"))
        elif self.path == "/api/v1/auth/token":
            self._reply(200, {"access_token": "t", "expires_in": 600})
        else:
            self.events.extend(body["events"])
            results = [{"event_id": event["event_id"], "status": "accepted"} for event in body["events"]]
            self._reply(200, {"results": results, "notices": []})

    def _reply(self, status: int, value: Any) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def instructor() -> Iterator[str]:
    _Instructor.removed.clear()
    _Instructor.events = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Instructor)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_real_server_joins_sends_and_stops_when_the_student_is_removed(
    jupyter: Callable[..., Any], instructor: str, make_event: Any
) -> None:
    """One server for many questions: starting one takes seconds."""
    server = jupyter()
    form = {"address": instructor, "code": CODE, "name": NAME}
    with server.client() as page, server.client(signed_in=False) as stranger:
        assert stranger.get("/cell-monitor/join").status_code == 403
        assert stranger.post("/cell-monitor/join", json=form).status_code == 403
        forged = httpx.Client(base_url=server.url, cookies=page.cookies, trust_env=False)
        assert forged.post("/cell-monitor/join", json=form).status_code == 403
        forged.close()
        assert '"cellMonitorCanJoin": "true"' in page.get("/lab").text
        assert page.get("/cell-monitor/status").json()["state"] == "not_joined"
        off = page.post("/cell-monitor", json={"events": [make_event()]}).json()
        assert off["notices"] == [{"kind": "off", "reason": "not_joined"}]
        # Nothing is stored of somebody who joined no class.
        stored = server.folder / "data" / "cell-monitor"
        assert not stored.exists()

        for body in (
            b"{",
            b"[]",
            b'{"code": "x"}',
            json.dumps(form | {"more": 1}).encode(),
            json.dumps(form | {"code": 7}).encode(),
            json.dumps(form | {"name": ""}).encode(),
            json.dumps(form | {"name": "a" * 61}).encode(),
            json.dumps(form | {"code": "a" * 5000}).encode(),
        ):
            answer = page.post("/cell-monitor/join", content=body)
            assert (answer.status_code, answer.json()["detail"][0]["type"]) == (400, "invalid_body")
        answer = page.post("/cell-monitor/join", json=form | {"address": "ftp://x"})
        assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "invalid_address")

        answer = page.post("/cell-monitor/join", json=form)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "joined": True,
            "name": NAME,
            "title": "Algebra",
            "address": instructor,
            "address_is_fixed": False,
            "name_kept": False,
        }
        event = make_event()
        assert page.post("/cell-monitor", json={"events": [event]}).json()["results"][0]["status"] == "accepted"
        assert [sent["event_id"] for sent in _Instructor.events] == [event["event_id"]]
        assert page.get("/cell-monitor/status").json()["state"] == "ok"

        # From now on runs are followed, over a restart of the server, too.
        deadline = time.monotonic() + 60
        while not (stored / "spool" / "runs").is_dir():
            assert time.monotonic() < deadline
            time.sleep(0.05)

        # Removed: what the student does from then on is neither sent nor kept.
        _Instructor.removed.set()
        off = page.post("/cell-monitor", json={"events": [make_event()]}).json()
        assert off["notices"] == [{"kind": "off", "reason": "join_ended"}]
        status = page.get("/cell-monitor/status").json()
        assert (status["state"], status["spooled_events"]) == ("not_joined", 0)


def test_a_server_with_a_key_or_of_a_hub_does_not_offer_joining(jupyter: Callable[..., Any]) -> None:
    for environment in (
        {"CELL_MONITOR_API_URL": "http://127.0.0.1:9", "CELL_MONITOR_API_KEY": "k"},
        {"JUPYTERHUB_API_TOKEN": "t", "JUPYTERHUB_SERVER_NAME": ""},
    ):
        server = jupyter(environment=environment)
        with server.client() as page:
            assert "cellMonitorCanJoin" not in page.get("/lab").text
            assert page.get("/cell-monitor/join").status_code == 404
            assert page.post("/cell-monitor/join", json={}).status_code == 404
