"""Hazard: a task of the gateway ends without a sign, and tokens no longer expire in a process that reports ready."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cell_monitor.embedded.process import free_port
from cell_monitor_testing.processes import ServiceProcess

BROKEN = """\
import sys

import cell_monitor_gateway.channel
import cell_monitor_gateway.presence
import cell_monitor_gateway.session
from cell_monitor_gateway.__main__ import main


def fault(*_):
    raise RuntimeError("a fault of this version")


# Each is called only once there is a connection, after the process has become ready.
owner, name = {
    "deadlines": (cell_monitor_gateway.session.Session, "check_deadlines"),
    "presence": (cell_monitor_gateway.presence.PresenceReporter, "_flush_channel"),
    "position-check": (cell_monitor_gateway.channel.Channel, "check_position"),
}[sys.argv.pop()]
setattr(owner, name, fault)
sys.exit(main())
"""


@pytest.mark.parametrize("task", ["deadlines", "presence", "position-check"])
async def test_a_gateway_with_a_failed_task_closes_all_connections_and_exits(
    task: str, authority: Any, connect_client: Any, valkey: str, tmp_path: Path
) -> None:
    (tmp_path / "broken_gateway.py").write_text(BROKEN)
    port = free_port()
    env = {
        "CELL_MONITOR_REDIS_URL": valkey,
        "CELL_MONITOR_GATEWAY_PORT": str(port),
        "CELL_MONITOR_JWKS_URL": authority.url,
        "CELL_MONITOR_GATEWAY_DRAIN_S": "1",
        "CELL_MONITOR_GATEWAY_POSITION_CHECK_S": "0.2",
        "PYTHONPATH": str(tmp_path),
    }
    process = ServiceProcess("broken_gateway", env=env, port=port, log_path=tmp_path / "log", arguments=[task])
    try:
        await process.start()

        class Address:
            url = f"ws://127.0.0.1:{port}/ws"

        client = await connect_client(Address)
        await client.request("subscribe", channel="course:c1")
        code, disconnect = await client.closed()
        # The client may reconnect: to another gateway, or to this one once it has been restarted.
        assert (code, (disconnect or {}).get("reason")) == (3001, "shutdown")
        async with asyncio.timeout(60):
            while process.running:
                await asyncio.sleep(0.05)
        assert process.exit_code == 1
        assert [
            line["task"] for line in map(json.loads, process.log.splitlines()) if line["event"] == "task_failed"
        ] == [task]
    finally:
        process.kill()
