"""Hazards of ``cell-monitor up --host``: a printed address that other machines cannot reach, a store that they can.

A second address of the loopback interface is used as the machine's address in the network, so no packet leaves the
machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from cell_monitor_testing.servers import temporary_directory
from cell_monitor_testing.standalone import StandaloneUp, run_cell_monitor

pytestmark = pytest.mark.timeout(400)

NETWORK_ADDRESS = "127.0.0.2"


@pytest.fixture(scope="module")
def up() -> Iterator[StandaloneUp]:
    with temporary_directory("network") as folder:
        running = StandaloneUp(folder / "data", "--host", NETWORK_ADDRESS)
        try:
            running.start()
        except AssertionError as error:
            if "is not an address of this machine" in str(error):
                pytest.skip(f"this system has no second loopback address {NETWORK_ADDRESS}")
            raise
        try:
            yield running
        finally:
            running.stop()


def _subscribe(up: StandaloneUp, *, origin: str) -> list[str]:
    """Sign in and subscribe to the sample course as a page of ``origin``; return the types of the gateway's answers."""
    api = up.addresses["api"]
    login = {"username": up.addresses["user"], "password": up.addresses["password"]}
    answer = httpx.post(f"{api}/api/v1/auth/login", json=login, trust_env=False, timeout=20)
    gateway = httpx.get(f"{api}/api/v1/config", trust_env=False).json()["gateway_url"]

    async def main() -> list[str]:
        async with (
            asyncio.timeout(60),
            connect(
                gateway, origin=Origin(origin), subprotocols=[Subprotocol("cell-monitor.v1")], proxy=None
            ) as socket,
        ):
            token = answer.json()["access_token"]
            await socket.send(json.dumps({"type": "connect", "id": 1, "token": token}))
            kinds = [json.loads(await socket.recv())["type"]]
            await socket.send(json.dumps({"type": "subscribe", "id": 2, "channel": "course:intro-python"}))
            return [*kinds, json.loads(await socket.recv())["type"]]

    return asyncio.run(main())


def test_every_printed_address_has_the_network_address_and_answers(up: StandaloneUp) -> None:
    addresses = up.addresses
    for part in ("dashboard", "api", "ingest", "gateway", "jupyterlab"):
        assert urlsplit(addresses[part]).hostname == NETWORK_ADDRESS
    with httpx.Client(timeout=60, trust_env=False) as client:
        page = client.get(addresses["dashboard"])
        assert page.status_code == 200
        socket = urlsplit(addresses["gateway"])
        # Otherwise the browser would not allow the page's WebSocket.
        assert f"connect-src 'self' {socket.scheme}://{socket.netloc};" in page.headers["content-security-policy"]
        # Figures are for this machine only.
        for outside in (addresses["api"], f"http://{socket.netloc}", addresses["ingest"]):
            assert client.get(outside + "/metrics").status_code == 404
        for inside in ("inside", "gateway_inside", "worker"):
            assert urlsplit(addresses[inside]).hostname == "127.0.0.1"
            assert client.get(addresses[inside] + "/readyz").status_code == 200
        lab = client.get(addresses["jupyterlab"], follow_redirects=True)
        assert "jupyterlab-cell-monitor" in lab.text
    # It refuses requests without its token.
    lab_files = f"http://{urlsplit(addresses['jupyterlab']).netloc}/api/contents"
    assert httpx.get(lab_files, trust_env=False).status_code == 403


def test_a_page_of_the_network_address_goes_live_and_a_foreign_page_does_not(up: StandaloneUp) -> None:
    assert _subscribe(up, origin=up.addresses["dashboard"]) == ["connected", "subscribed"]
    with pytest.raises(InvalidStatus) as refused:
        _subscribe(up, origin="http://127.0.0.3:8900")
    assert refused.value.response.status_code == 403


def test_jupyterlab_and_a_simulated_class_reach_the_api_on_the_network_address(up: StandaloneUp) -> None:
    lab = urlsplit(up.addresses["jupyterlab"])
    answer = httpx.post(
        f"http://{lab.netloc}/cell-monitor",
        json={"events": []},
        headers={"Authorization": f"token {lab.query.removeprefix('token=')}"},
        trust_env=False,
        timeout=20,
    )
    assert (answer.status_code, answer.json()["results"]) == (200, [])
    where = ("--data-dir", str(up.data_dir))
    done = run_cell_monitor("simulate", "--students", "2", "--minutes", "1", "--speed", "60", *where)
    assert done.returncode == 0, done.stderr
    assert run_cell_monitor("status", *where).returncode == 0


def test_stores_and_worker_listen_on_this_machine_only(up: StandaloneUp) -> None:
    listening = {
        (process.name(), connection.laddr.ip)
        for process in up.descendants()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    inside = {address for name, address in listening if name.startswith(("postgres", "valkey"))}
    assert inside == {"127.0.0.1"}
    assert {address for _, address in listening} == {"127.0.0.1", NETWORK_ADDRESS}
    own = [
        connection.laddr.ip
        for connection in up.child("cell_monitor_worker").net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert own == ["127.0.0.1"]


def test_printed_commands_work_in_the_same_terminal(up: StandaloneUp) -> None:
    # As `make` runs it: by its path, without an entry in PATH.
    program = Path(sys.executable).with_name("cell-monitor")
    terminal = {"HOME": str(up.data_dir.parent), "PATH": os.defpath, "COLUMNS": "300"}

    def run(command: list[str]) -> str:
        done = subprocess.run(command, env=terminal, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stderr

    output = run([str(program), "admin", "create-course", "physics-1", "Physics 1", "--data-dir", str(up.data_dir)])
    unknown = [str(program), "simulate", "--course", "physics-2", "--data-dir", str(up.data_dir)]
    refused = subprocess.run(unknown, env=terminal, capture_output=True, text=True, check=False, timeout=60)
    [printed] = re.findall(r"Create it: (.*)", refused.stderr)
    assert "Course physics-2 made" in run(shlex.split(printed))
    [printed] = re.findall(r"Next: (.*)", output)
    output = run(shlex.split(printed.replace("USERNAME", "sato")))
    assert "sato is instructor of physics-1" in output
    [printed] = re.findall(r"with which they sign in: (.*)", output)
    done = subprocess.run(shlex.split(printed), env=terminal, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"{up.addresses['dashboard']}/courses#sign-in=" in done.stdout


def test_address_of_another_machine_is_refused_before_anything_starts(up: StandaloneUp) -> None:
    other = up.data_dir.with_name("other")
    done = run_cell_monitor("up", "--data-dir", str(other), "--host", "198.51.100.7")
    assert done.returncode == 1
    assert "198.51.100.7 is not an address of this machine" in done.stderr
    assert not (other / "postgres").exists()
