"""The API as a process: its settings, its workers, its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from urllib.parse import urlsplit

import asyncpg
import httpx
import psutil

from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_testing.log_text import event_names

PERSON = "7f0f0e7e-54a5-4d92-a0a5-8c1c3f1f0a11"


def run(environment, *arguments):
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "cell_monitor_api", *arguments],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def headers(secrets):
    issuer = TokenIssuer(SigningKeys.load(secrets.signing_keys))
    token, _ = issuer.issue(
        grant=Grant.API_KEY, person_id=PERSON, audience=["ingest"], courses={"c1": "student"}, scopes=["events:write"]
    )
    return {"authorization": f"Bearer {token}"}


async def until(done, what):
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


def logged(process):
    """Return the names of the events in its log, oldest first."""
    return event_names(process.log_path.read_text())


def metric(text, name):
    [line] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.rpartition(" ")[2])


def test_help_names_every_setting_and_needs_none():
    done = run({}, "--help")
    assert done.returncode == 0
    assert "CELL_MONITOR_API_PORT" in done.stdout
    assert "CELL_MONITOR_TEST_MODE" in done.stdout


def test_wrong_settings_are_named_and_values_are_not(environment):
    done = run({**environment, "CELL_MONITOR_API_PROT": "1", "CELL_MONITOR_REDIS_URL": "secret-nonsense"})
    assert done.returncode != 0
    assert "CELL_MONITOR_API_PROT is not a setting" in done.stderr
    assert "secret-nonsense" not in done.stderr
    missing = {name: value for name, value in environment.items() if name != "CELL_MONITOR_SIGNING_KEYS"}
    done = run(missing)
    assert done.returncode != 0
    assert "CELL_MONITOR_SIGNING_KEYS" in done.stderr
    assert "Traceback" not in done.stderr


def test_place_for_metrics_that_cannot_be_used_is_named_without_a_traceback(environment, tmp_path):
    (tmp_path / "file").touch()
    done = run({**environment, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "file" / "folder")})
    assert done.returncode == 2
    assert "PROMETHEUS_MULTIPROC_DIR" in done.stderr
    assert "Traceback" not in done.stderr


async def test_place_for_metrics_cannot_be_taken_by_somebody_else_and_none_stays_behind(
    make_process, environment, tmp_path
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # The former name: anyone who knew it could keep the API from starting.
    squatter = temporary / f"cell-monitor-api-{os.getuid()}-{environment['CELL_MONITOR_API_PORT']}"
    squatter.touch(mode=0o400)
    process = make_process(TMPDIR=str(temporary), CELL_MONITOR_API_WORKERS="2")
    async with process:
        [folder] = [path for path in temporary.iterdir() if path.is_dir()]
        # Another API that starts on the same machine does not delete it.
        run({**environment, "TMPDIR": str(temporary), "CELL_MONITOR_DATABASE_URL": "postgresql://127.0.0.1:1/none"})
        assert folder.exists()
        assert await process.stop() == 0
    assert not folder.exists()
    # A killed run cannot clean up; the next one does.
    async with process:
        process.kill()
    [left] = [path for path in temporary.iterdir() if path.is_dir()]
    async with process:
        assert not left.exists()
        assert [path for path in temporary.iterdir() if path.is_dir()]


async def test_several_workers_count_as_one_and_end_in_order(make_process, secrets, make_event):
    process = make_process(CELL_MONITOR_API_WORKERS="2")
    async with process:
        # One worker is enough for /readyz; the other one may still be starting.
        await until(lambda: logged(process).count("api_started") == 2, "both workers serve")
        # A connection each, so that both workers get some.
        for number in range(12):
            async with httpx.AsyncClient(base_url=process.url, trust_env=False) as client:
                answer = await client.post("/api/v1/events", headers=headers(secrets), json={"events": [make_event()]})
                assert answer.status_code == 200, answer.text
                assert answer.json()["results"][0]["status"] == "accepted", number
        async with httpx.AsyncClient(base_url=process.url, trust_env=False) as client, asyncio.timeout(60):
            while metric((await client.get("/metrics")).text, "cell_monitor_events_accepted_total") != 12:
                await asyncio.sleep(0.05)
        assert await process.stop() == 0
    assert logged(process).count("api_started") == 2
    assert logged(process).count("api_stopping") == 2
    # No line for each request.
    assert "/api/v1/events" not in process.log_path.read_text()
    assert "Traceback" not in process.log_path.read_text()


async def test_a_stop_while_a_worker_starts_ends_in_order(make_process):
    process = make_process(CELL_MONITOR_API_WORKERS="2")
    process.launch()
    arbiter = psutil.Process(process.pid)
    await until(lambda: len(arbiter.children()) == 2, "both workers are forked")
    late = arbiter.children()[1]
    late.suspend()
    await process.wait_ready()
    # It continues with its start while the signal to end waits for it.
    process.signal(signal.SIGTERM)
    late.resume()
    assert await process.stop() == 0
    assert "api_started" in logged(process)
    assert "Traceback" not in process.log_path.read_text()


async def test_a_hangup_brings_new_keys_while_it_serves(make_process, environment, secrets, tmp_path):
    path = tmp_path / "signing-keys.json"
    path.write_text(secrets.signing_keys)
    del environment["CELL_MONITOR_SIGNING_KEYS"]
    rotated = SigningKeys.load(secrets.signing_keys).with_new_key()
    async with (
        make_process(CELL_MONITOR_SIGNING_KEYS_FILE=str(path)) as process,
        httpx.AsyncClient(base_url=process.url, trust_env=False) as client,
    ):
        path.write_text(rotated.to_json())
        process.signal(signal.SIGHUP)
        kids = set()
        async with asyncio.timeout(60):
            while rotated.active not in kids:
                await asyncio.sleep(0.05)
                try:
                    kids = {key["kid"] for key in (await client.get("/api/v1/auth/jwks.json")).json()["keys"]}
                except httpx.TransportError:
                    # The old worker has closed a connection that we kept.
                    continue
        assert len(kids) == 2
        assert await process.stop() == 0


async def test_another_schema_keeps_it_from_starting(make_process, database):
    connection = await asyncpg.connect(database)
    await connection.execute("INSERT INTO schema_version (version, name, checksum) VALUES (9999, 'future', 'x')")
    await connection.close()
    process = make_process()
    process.launch()
    try:
        async with asyncio.timeout(60):
            while process.running:
                await asyncio.sleep(0.05)
    finally:
        code = await process.stop()
    assert code != 0
    assert "9999" in process.log


async def test_bytes_on_the_wire(make_process, secrets, make_event):
    """What only a real server shows: pipelining, chunks, a refusal before the body, no server name."""
    async with make_process() as process:
        address = urlsplit(process.url)
        authorization = headers(secrets)["authorization"]
        body = json.dumps({"events": [make_event()]}).encode()
        start = (
            "POST /api/v1/events HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n"
            f"Authorization: {authorization}\r\n"
        ).encode()
        whole = start + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(whole + whole)
        first = await _response(reader)
        second = await _response(reader)
        assert b'"accepted"' in first[1]
        assert b'"duplicate"' in second[1]
        assert b"server:" not in first[0].lower()
        chunked = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + 50]), body[i : i + 50]) for i in range(0, len(body), 50))
        writer.write(start + b"Transfer-Encoding: chunked\r\n\r\n" + chunked + b"0\r\n\r\n")
        assert b'"duplicate"' in (await _response(reader))[1]
        # The answer comes although the body never does.
        writer.write(start + b"Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
        head, answer = await _response(reader)
        assert head.startswith(b"HTTP/1.1 413")
        assert b"body_too_large" in answer
        writer.close()
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(start + b"\r\n")
        assert (await _response(reader))[0].startswith(b"HTTP/1.1 411")
        writer.close()


async def _response(reader):
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
        [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return head, await reader.readexactly(int(length.partition(b":")[2]))
