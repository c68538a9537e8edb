"""Hazards of ``cell-monitor up``: an address that does not work, a leaked secret, a process left running, lost data."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psutil
import pytest

from cell_monitor_testing.log_text import assert_not_written, event_names
from cell_monitor_testing.servers import temporary_directory
from cell_monitor_testing.standalone import StandaloneUp, run_cell_monitor

pytestmark = pytest.mark.timeout(400)


def _until(condition: Callable[[], Any], what: str, *, timeout: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.1)
    return found


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if _is_alive(each)]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two calls
        return False


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with temporary_directory("up") as directory:
        yield directory


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[StandaloneUp]:
    running = StandaloneUp(folder / "data")
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def client(up: StandaloneUp) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=up.addresses["api"], timeout=60, trust_env=False) as client:
        answer = client.post(
            "/api/v1/auth/login", json={"username": up.addresses["user"], "password": up.addresses["password"]}
        )
        assert answer.status_code == 200, answer.text
        client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


def test_the_json_line_has_every_address_and_each_answers(up: StandaloneUp) -> None:
    addresses = up.addresses
    before = {"dashboard", "api", "gateway", "jupyterlab", "user", "password", "sign_in_link"}
    assert set(addresses) == before | {"pages", "ingest", "inside", "gateway_inside", "worker", "join"}
    assert addresses["pages"] == addresses["dashboard"]
    with httpx.Client(timeout=60, trust_env=False) as client:
        page = client.get(addresses["dashboard"])
        assert page.headers["content-type"].startswith("text/html")
        script = re.search(r'src="(/assets/[^"]+\.js)"', page.text)
        assert script is not None
        assert client.get(addresses["dashboard"] + script[1]).status_code == 200
        assert client.get(addresses["inside"] + "/readyz").status_code == 200
        for inside in ("inside", "gateway_inside", "worker"):
            assert client.get(addresses[inside] + "/readyz").status_code == 200, inside
            assert "cell_monitor_build_info" in client.get(addresses[inside] + "/metrics").text, inside
        # Events are taken at the pages' address as well: one address is enough for a class without a Hub.
        for address in ("ingest", "pages"):
            answer = client.post(addresses[address] + "/api/v1/events", json={"events": []})
            assert answer.json()["detail"][0]["type"] == "not_authenticated", address
        assert client.get(addresses["ingest"] + "/").status_code == 404
        lab = client.get(addresses["jupyterlab"], follow_redirects=True)
        assert lab.status_code == 200
        assert "jupyterlab-cell-monitor" in lab.text


def entered(up: StandaloneUp, action: str) -> list[str]:
    """Return by whom the audit log says that something was done."""
    done = run_cell_monitor("admin", "audit", "--action", action, "--json", "--data-dir", str(up.data_dir))
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["actor_kind"] for line in done.stdout.splitlines()]


def test_the_link_that_a_start_prints_is_in_the_audit_log(up: StandaloneUp) -> None:
    assert set(entered(up, "sign_in_link_created")) == {"operator"}


def test_the_printed_password_signs_in_to_the_sample_course(client: httpx.Client) -> None:
    courses = client.get("/api/v1/courses").json()["courses"]
    assert [(course["course_id"], course["title"], course["role"]) for course in courses] == [
        ("intro-python", "Introduction to Python", "instructor")
    ]


def test_the_dashboard_gets_the_url_of_the_gateway(up: StandaloneUp) -> None:
    config = httpx.get(up.addresses["api"] + "/api/v1/config", trust_env=False).json()
    assert config["gateway_url"] == up.addresses["gateway"]


def test_jupyterlab_shows_the_sample_notebook_and_its_proxy_reaches_the_api(up: StandaloneUp) -> None:
    lab = urlsplit(up.addresses["jupyterlab"])
    token = parse_qs(lab.query)["token"][0]
    with httpx.Client(
        base_url=f"http://{lab.netloc}", headers={"Authorization": f"token {token}"}, trust_env=False, timeout=20
    ) as client:
        notebook = client.get("/api/contents/first-steps.ipynb").json()
        assert notebook["content"]["metadata"]["cell_monitor"]["course"] == "intro-python"
        answer = client.post("/cell-monitor", json={"events": []})
        assert (answer.status_code, answer.json()["results"]) == (200, [])
        assert client.get("/cell-monitor/status").json()["state"] == "ok"


def test_secrets_are_readable_by_their_owner_alone(up: StandaloneUp) -> None:
    files = [path for folder in ("secrets", "run") for path in (up.data_dir / folder).iterdir()]
    assert len(files) > 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


_PUBLIC = frozenset({"active", "alg", "crv", "kid", "kty", "use", "x"})
"""Members of a file of keys that are no secrets."""


def _secrets_in(text: str) -> Iterator[str]:
    """Return the secrets in a file: its text, or of a file of keys each that is secret."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text.strip()
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as members:
                waiting.extend(inner for name, inner in members.items() if name not in _PUBLIC)
            case list() as items:
                waiting.extend(items)
            case each:
                yield str(each)


def test_no_secret_is_in_the_list_of_processes_or_the_logs(up: StandaloneUp, client: httpx.Client) -> None:
    lab = urlsplit(up.addresses["jupyterlab"])
    token = parse_qs(lab.query)["token"][0]
    # Jupyter logs the address of what it does not find.
    missing = httpx.get(f"http://{lab.netloc}/api/contents/missing", params={"token": token}, trust_env=False)
    assert missing.status_code == 404
    printed = run_cell_monitor("sign-in-link", "--data-dir", str(up.data_dir)).stdout.strip()
    link = printed.partition("#sign-in=")[2]
    answers = [client.post("/api/v1/auth/link", json={"link": link}).status_code for _ in range(2)]
    assert answers == [200, 401]

    secrets = [each for path in (up.data_dir / "secrets").iterdir() for each in _secrets_in(path.read_text())]
    assert {token, up.addresses["password"]} < set(secrets)
    assert min(map(len, secrets)) >= 16
    secrets += [link.partition("_")[2], client.headers["authorization"].removeprefix("Bearer ")]
    logs = {path.stem: path.read_text(errors="replace") for path in (up.data_dir / "logs").iterdir()}
    assert logs.keys() == {"api", "gateway", "jupyterlab", "postgres", "valkey", "worker"}
    assert "/api/contents/missing" in logs["jupyterlab"]
    assert {"signed_in", "sign_in_refused"} <= set(event_names(logs["api"]))
    processes = [" ".join(process.cmdline()) for process in _alive(up.descendants())]
    for text in (*logs.values(), "\n".join(processes)):
        assert_not_written(text, *secrets)


def test_simulated_class_is_accepted_stored_and_shown(up: StandaloneUp, client: httpx.Client) -> None:
    done = run_cell_monitor(
        "simulate", "--data-dir", str(up.data_dir), "--students", "12", "--minutes", "3", "--speed", "20"
    )
    assert done.returncode == 0, done.stderr
    figures = {
        name: int(count.replace(",", ""))
        for name, count in re.findall(r"│ (sent|accepted|duplicates|rejected) +│ +([\d,]+) │", done.stdout)
    }
    assert figures["sent"] > 300
    assert figures == {"sent": figures["sent"], "accepted": figures["sent"], "duplicates": 0, "rejected": 0}

    def everybody_seen() -> list[dict[str, Any]] | None:
        students = client.get("/api/v1/courses/intro-python/state").json()["students"]
        simulated = [student for student in students if student["username"].startswith("sim-")]
        return simulated if all(student["status"] != "waiting" for student in simulated) else None

    students = _until(everybody_seen, "every student's row")
    assert len(students) == 12
    assert all(student["display_name"] for student in students)
    assert all(student["missing"] == 0 for student in students)
    check = _until(
        lambda: (
            (result := run_cell_monitor("rebuild", "--check", "--data-dir", str(up.data_dir))).returncode == 0
            and str(figures["sent"]) in result.stdout.replace(",", "")
            and result.stdout
        ),
        "all events stored",
    )
    assert "0 differences" in check


def test_a_rebuild_makes_open_dashboards_fetch_a_snapshot(up: StandaloneUp, client: httpx.Client) -> None:
    # After a restored backup the versions are lower: Redis would suppress the restored states.
    before = client.get("/api/v1/courses/intro-python/state").json()
    done = run_cell_monitor("rebuild", "--data-dir", str(up.data_dir))
    assert done.returncode == 0, done.stdout + done.stderr
    after = client.get("/api/v1/courses/intro-python/state").json()
    assert after["epoch"] != before["epoch"]
    assert after["counters"]["runs"] == before["counters"]["runs"]


def test_status_reports_that_all_parts_are_ready(up: StandaloneUp) -> None:
    done = run_cell_monitor("status", "--json", "--data-dir", str(up.data_dir))
    answer = json.loads(done.stdout)
    assert done.returncode == 0, answer
    assert answer["pid"] == up.process.pid
    assert set(answer["parts"]) == {"api", "worker", "gateway", "jupyterlab"}


def test_admin_works_while_the_services_run(up: StandaloneUp, client: httpx.Client) -> None:
    where = ("--data-dir", str(up.data_dir))
    assert run_cell_monitor("admin", "create-course", "physics-1", "Physics 1", *where).returncode == 0
    again = run_cell_monitor("admin", "create-course", "physics-1", "Physics 1", *where)
    assert again.returncode == 1
    assert "A course of that id exists already" in again.stderr
    assert run_cell_monitor("admin", "add-member", "physics-1", "sato", "--role", "instructor", *where).returncode == 0

    def open_link(*options: str) -> httpx.Response:
        done = run_cell_monitor("sign-in-link", "sato", *options, *where)
        assert done.returncode == 0, done.stderr
        return client.post("/api/v1/auth/link", json={"link": done.stdout.strip().partition("#sign-in=")[2]})

    def sign_in(password: str) -> httpx.Response:
        return client.post("/api/v1/auth/login", json={"username": "sato", "password": password})

    def courses_of(answer: httpx.Response) -> list[str]:
        headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
        return [course["course_id"] for course in client.get("/api/v1/courses", headers=headers).json()["courses"]]

    # Of another person; a link does not change who is signed in.
    client.cookies.clear()
    assert open_link().status_code == 200
    assert client.post("/api/v1/auth/password", json={"new": "seven purple lamps"}).status_code == 200
    assert courses_of(sign_in("seven purple lamps")) == ["physics-1"]
    # The client keeps the cookie, as the browser of a stolen laptop would.
    assert client.post("/api/v1/auth/refresh").status_code == 200
    stolen = dict(client.cookies)
    answer = open_link("--reset-password")
    client.cookies.clear()
    client.cookies.update(stolen)
    assert client.post("/api/v1/auth/refresh").status_code == 401
    assert sign_in("seven purple lamps").status_code == 401
    assert courses_of(answer) == ["physics-1"]
    assert run_cell_monitor("admin", "remove-member", "physics-1", "sato", "--yes", *where).returncode == 0
    assert courses_of(open_link()) == []
    refused = run_cell_monitor("admin", "rotate-keys", *where)
    assert refused.returncode == 1
    assert "Stop `cell-monitor up` first" in refused.stderr


def test_api_key_is_printed_once_and_gives_tokens_of_its_person_and_scopes_only(
    up: StandaloneUp, client: httpx.Client
) -> None:
    done = run_cell_monitor(
        "admin",
        "create-api-key",
        "lab",
        "--scope",
        "events:write",
        "--person",
        "student",
        "--data-dir",
        str(up.data_dir),
    )
    assert done.returncode == 0, done.stderr
    key = {"authorization": f"ApiKey {done.stdout.strip()}"}
    token = client.post("/api/v1/auth/token", json={"audience": "ingest"}, headers=key).json()["access_token"]
    sent = client.post("/api/v1/events", json={"events": []}, headers={"authorization": f"Bearer {token}"})
    assert sent.status_code == 200
    other = client.post("/api/v1/auth/token", json={"audience": "ingest", "act_as": "instructor"}, headers=key)
    assert other.status_code == 403
    unknown = run_cell_monitor(
        "admin",
        "create-api-key",
        "lab",
        "--scope",
        "events:write",
        "--person",
        "nobody",
        "--data-dir",
        str(up.data_dir),
    )
    assert unknown.returncode == 1
    assert "There is nobody called 'nobody'" in unknown.stderr


def test_new_signing_key_keeps_sessions(up: StandaloneUp, client: httpx.Client) -> None:
    def kids() -> list[str]:
        return [key["kid"] for key in client.get("/api/v1/auth/jwks.json").json()["keys"]]

    before = kids()
    assert run_cell_monitor("admin", "rotate-keys", "--signing", "--data-dir", str(up.data_dir)).returncode == 0
    _until(lambda: kids()[0] not in before, "the API signs with the new key")
    assert set(before) & set(kids())
    assert entered(up, "signing_key_rotated") == ["operator"]
    assert client.get("/api/v1/me").status_code == 200


def test_load_is_sent_at_the_given_rate_without_loss(up: StandaloneUp) -> None:
    where = ("--data-dir", str(up.data_dir))
    done = run_cell_monitor(
        "simulate", "--students", "10", "--rate", "100", "--minutes", "0.1", "--prefix", "load", *where
    )
    assert done.returncode == 0, done.stderr
    sent, accepted = (
        int(found.replace(",", "")) for found in re.findall(r"│ (?:sent|accepted) +│ +([\d,]+) │", done.stdout)
    )
    # At most 100 per second for 6 seconds; fewer on a busy machine. Then at most three to end each of ten sessions.
    assert 50 < sent <= 630
    assert accepted == sent


def test_no_event_has_failed_and_replaying_none_succeeds(up: StandaloneUp) -> None:
    where = ("--data-dir", str(up.data_dir))
    assert "0 failed events wait" in run_cell_monitor("admin", "failed-events", *where).stdout
    replayed = run_cell_monitor("admin", "replay-failed-events", *where)
    assert (replayed.returncode, "0 events queued again" in replayed.stderr) == (0, True)


def test_second_instance_on_the_same_data_is_refused_with_advice(up: StandaloneUp) -> None:
    done = run_cell_monitor("up", "--data-dir", str(up.data_dir), "--port-base", "0")
    assert done.returncode == 1
    assert f"already running on the data directory {up.data_dir} (process {up.process.pid})" in done.stderr
    assert "--data-dir" in done.stderr
    assert httpx.get(up.addresses["inside"] + "/readyz", trust_env=False).status_code == 200


def test_port_in_use_is_reported_before_anything_is_started(up: StandaloneUp, folder: Path) -> None:
    port = urlsplit(up.addresses["api"]).port
    done = run_cell_monitor("up", "--data-dir", str(folder / "other"), "--port-base", "0", "--api-port", str(port))
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1, wanted by the dashboard and API, is already in use" in done.stderr
    assert "--port-base" in done.stderr
    assert not (folder / "other" / "postgres").exists()


@pytest.mark.resilience
@pytest.mark.parametrize("word", ["cell_monitor_worker", "gunicorn", "cell_monitor_gateway", "valkey-server"])
def test_a_killed_part_is_restarted_and_reported(up: StandaloneUp, word: str) -> None:
    child = up.child(word)
    child.kill()
    _until(
        lambda: up.output.count("ended unexpectedly with signal SIGKILL") > 0 and not _alive([child]),
        "the restart is reported",
    )
    _until(
        lambda: run_cell_monitor("status", "--data-dir", str(up.data_dir)).returncode == 0,
        f"all parts are ready after {word} was killed",
    )


@pytest.mark.resilience
def test_ctrl_c_leaves_no_process_and_the_next_start_has_all_data(folder: Path) -> None:
    up = StandaloneUp(folder / "kept")
    try:
        up.start()
        first = dict(up.addresses)
        where = ("--data-dir", str(up.data_dir))
        assert run_cell_monitor("admin", "create-course", "kept-1", "Kept", *where).returncode == 0
        everything = up.descendants()
        assert len(everything) >= 6
        up.interrupt()
        assert up.wait() == 0
        assert _alive(everything) == []
        assert "Traceback" not in up.output
        # The admin commands also work while it is stopped.
        assert run_cell_monitor("rebuild", "--check", *where).returncode == 0
        assert run_cell_monitor("admin", "rotate-keys", *where).returncode == 0
        up.start()
        assert up.addresses["password"] == first["password"]
        with httpx.Client(base_url=up.addresses["api"], trust_env=False, timeout=60) as client:
            login = client.post("/api/v1/auth/login", json={"username": "instructor", "password": first["password"]})
            assert login.status_code == 200
        again = run_cell_monitor("admin", "create-course", "kept-1", "Kept", *where)
        assert "A course of that id exists already" in again.stderr
    finally:
        up.stop()


@pytest.mark.resilience
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_children_end_with_up_and_it_can_start_again(folder: Path, signum: int) -> None:
    up = StandaloneUp(folder / f"ended-{signum}", "--without-jupyterlab")
    try:
        up.start()
        everything = up.descendants()
        os.kill(up.process.pid, signum)
        up.wait()
        _until(lambda: not _alive(everything), "all children ended")
        up.start()
        assert httpx.get(up.addresses["inside"] + "/readyz", trust_env=False).status_code == 200
    finally:
        up.stop()


def test_failing_service_ends_the_start_with_its_log_and_no_process(folder: Path) -> None:
    # The API refuses this value at start.
    (folder / "no-dashboard").mkdir(exist_ok=True)
    (folder / "no-dashboard" / "index.html").mkdir(exist_ok=True)
    done = run_cell_monitor(
        "up", "--data-dir", str(folder / "fails"), "--port-base", "0", "--dashboard-dir", str(folder / "no-dashboard")
    )
    assert done.returncode == 1
    assert "no built dashboard" in done.stderr
    left = [
        p for p in psutil.process_iter(["cmdline"]) if any(str(folder / "fails") in a for a in p.info["cmdline"] or [])
    ]
    assert left == []


def test_commands_without_an_installation_contain_advice(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "none"))
    for arguments in (("simulate", *where), ("rebuild", "--check", *where), ("status", *where)):
        done = run_cell_monitor(*arguments)
        assert done.returncode != 0
        assert "cell-monitor up" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
