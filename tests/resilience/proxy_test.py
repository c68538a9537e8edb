"""Hazard: events of an outage of the API are lost or stored twice, even if a student's Jupyter Server is killed."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cell_monitor.embedded.process import ChildProcess, free_port
from cell_monitor_testing.traffic import class_traffic

pytestmark = [pytest.mark.resilience, pytest.mark.influxdb, pytest.mark.timeout(180)]


class JupyterServer:
    """A student's ``jupyter server`` with the extension, and an HTTP client in place of the browser."""

    def __init__(self, home: Path, *, api_url: str, api_key: str) -> None:
        home.mkdir()
        config = home / "config"
        config.mkdir()
        self.token = secrets.token_hex(16)
        self.spool = home / "spool"
        (home / "api-key").write_text(api_key)
        settings = {
            "ServerApp": {
                "jpserver_extensions": {"jupyterlab_cell_monitor": True},
                "ip": "127.0.0.1",
                "allow_root": True,
                "open_browser": False,
                "root_dir": str(home),
                "port_retries": 0,
            },
            "IdentityProvider": {"token": self.token},
            "CellMonitorApp": {
                "api_url": api_url,
                "api_key_file": str(home / "api-key"),
                "spool_dir": str(self.spool),
            },
        }
        (config / "jupyter_server_config.json").write_text(json.dumps(settings))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CELL_MONITOR_")}
        self.process = ChildProcess(
            "Jupyter Server",
            [sys.executable, "-m", "jupyter_server", f"--ServerApp.port={port}"],
            log_path=home / "server.log",
            env=environment
            | {
                "HOME": str(home),
                "JUPYTER_CONFIG_DIR": str(config),
                "JUPYTER_DATA_DIR": str(home / "data"),
                "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
                "NO_PROXY": "127.0.0.1",
            },
            cwd=home,
        )

    async def start(self, until: Any) -> None:
        self.process.start()

        async def ready() -> bool:
            assert self.process.running, self.process.describe_end()
            try:
                return (await self.ask("GET", "/api/status")).status_code == 200
            except httpx.TransportError:
                return False

        await until(ready, "the Jupyter Server answers")

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"token {self.token}"}
        async with httpx.AsyncClient(base_url=self.url, timeout=60, trust_env=False) as client:
            return await client.request(method, path, headers=headers, **options)

    async def post(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """Post a batch as the browser does; every event must be accepted."""
        answer = await self.ask("POST", "/cell-monitor", json={"events": events})
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        assert [result["event_id"] for result in results] == [event["event_id"] for event in events]
        assert {result["status"] for result in results} <= {"accepted", "duplicate"}, results
        return dict(answer.json())

    async def status(self) -> dict[str, Any]:
        return dict((await self.ask("GET", "/cell-monitor/status")).json())


@pytest.fixture
def jupyter(system: Any, until: Any, tmp_path: Path) -> Callable[..., Any]:
    """Start Jupyter Servers of students."""

    @asynccontextmanager
    async def start(username: str) -> AsyncIterator[JupyterServer]:
        key = await system.new_key("events:write", username=username)
        server = JupyterServer(tmp_path / username, api_url=system.api.url, api_key=key)
        try:
            await server.start(until)
            yield server
        finally:
            server.process.kill()

    return start


async def test_events_of_an_outage_arrive_once_also_when_the_jupyter_server_is_killed(
    system: Any, until: Any, jupyter: Any
) -> None:
    classroom = await system.classroom(students=2)
    first, second = class_traffic(students=2, events=800, course=classroom.course_id)
    batches = [first.events[start : start + 20] for start in range(0, len(first.events), 20)]
    half = len(batches) // 2
    async with (
        system.dashboards(classroom, number=2) as screens,
        jupyter(first.username) as killed,
        jupyter(second.username) as quiet,
    ):
        # Before the outage: events are sent directly.
        assert (await killed.post(batches[0]))["notices"] != [{"kind": "spooled"}]
        assert (await quiet.post(second.events[:50]))["notices"] != [{"kind": "spooled"}]

        system.api.kill()
        for batch in batches[1:half]:
            # Some events are sent twice, as after a closed tab.
            for _ in range(2 if len(batch) % 3 else 1):
                assert {"kind": "spooled"} in (await killed.post(batch))["notices"]
        for start in range(50, len(second.events), 150):
            assert {"kind": "spooled"} in (await quiet.post(second.events[start : start + 150]))["notices"]
        assert (await killed.status())["state"] == "unavailable"
        assert (await killed.status())["spooled_events"] >= 20 * (half - 1)

        # The student's server is killed too, and restarted before the API.
        killed.process.kill()
        await killed.start(until)
        assert (await killed.status())["spooled_events"] >= 20 * (half - 1)
        for batch in batches[half:-1]:
            assert {"kind": "spooled"} in (await killed.post(batch))["notices"]

        await system.api.start(timeout=60)

        async def draining() -> bool:
            return await system.stored(classroom.course_id) > 70

        await until(draining, "spooled events arrive")
        # Killed again while it sends: events without an answer are sent again.
        killed.process.kill()
        await killed.start(until)
        await killed.post(batches[-1])

        async def sent() -> bool:
            return all([(await server.status())["spooled_events"] == 0 for server in (killed, quiet)])

        await until(sent, "both servers have sent all spooled events")
        for server in (killed, quiet):
            status = await server.status()
            assert (status["state"], status["dropped_events"]) == ("ok", 0)
        ids = {event["event_id"] for event in [*first.events, *second.events]}
        await system.assert_stored_exactly(classroom.course_id, ids)
        await system.assert_screens_are_current(screens)
