"""Event to frame: the whole stack on all cores with 200 dashboards, from POST to the frame that shows the event."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import machine
import stack as stacks
from gateway import Audience
from progress import Progress

from cell_monitor.embedded.process import free_port
from cell_monitor_core.channels import course_channel

__all__ = ["WINDOW_MS", "measure"]

WINDOW_MS = 50
DASHBOARDS = 200
RATE = 2_000
BATCH = 4
"""Events per request, as in a class of 500 whose extensions send every one to two seconds."""
MARK = "sent at "


def measure(
    running: stacks.Stack,
    database_url: str,
    people: Sequence[tuple[str, UUID]],
    issue_student: Callable[[str, UUID], str],
    issue_instructor: Callable[[], str],
    progress: Progress,
    *,
    seconds: float,
) -> dict[str, Any]:
    """Return p50 and p99 from POST to frame in ms, p99 without the window, and CPU shares."""
    client = running.valkey.client()
    client.flushall()
    client.close()
    api_port, gateway_port, worker_port = free_port(), free_port(), free_port()
    api = running.spawn(
        "api",
        [sys.executable, "-m", "cell_monitor_api"],
        env=running.environment(
            database_url=database_url,
            api_host="127.0.0.1",
            api_port=api_port,
            api_workers=1,
            signing_keys_file=running.signing_keys_file,
            gateway_url=f"ws://127.0.0.1:{gateway_port}/ws",
        ),
        core=None,
        ready=f"http://127.0.0.1:{api_port}/readyz",
    )
    worker = running.spawn(
        "worker",
        [sys.executable, "-m", "cell_monitor_worker"],
        env=running.environment(
            database_url=database_url,
            worker_port=worker_port,
            **running.influx_settings(),
        ),
        core=None,
        ready=f"http://127.0.0.1:{worker_port}/readyz",
    )
    gateway = running.spawn(
        "gateway",
        [sys.executable, "-m", "cell_monitor_gateway"],
        env=running.environment(
            gateway_host="127.0.0.1",
            gateway_port=gateway_port,
            jwks_url=f"http://127.0.0.1:{api_port}/api/v1/auth/jwks.json",
            gateway_coalesce_ms=WINDOW_MS,
        ),
        core=None,
        ready=f"http://127.0.0.1:{gateway_port}/readyz",
    )
    courses = sorted({course for course, _ in people})
    token = issue_instructor()
    hellos = [
        [
            {"send": json.dumps({"type": "connect", "id": 1, "token": token}), "expect": '"connected"'},
            {
                "send": json.dumps({"type": "subscribe", "id": 2, "channel": course_channel(course)}),
                "expect": '"subscribed"',
            },
        ]
        for course in courses
    ]
    students = [{"course": course, "token": issue_student(course, person)} for course, person in people]
    results: dict[str, Any] = {}
    for label, length in (("warm-up", 3.0), ("measured", seconds)):
        progress.step(f"event to screen, {label}: {RATE} events/s, {DASHBOARDS} dashboards, {length:.0f} s")
        audience = Audience(
            running,
            {
                "port": gateway_port,
                "path": "/ws",
                "subprotocol": "cell-monitor.v1",
                "sockets": DASHBOARDS,
                "sample": DASHBOARDS // 4,
                "hellos_of": hellos,
                "mark": MARK,
                "seconds": length + 3,
            },
        )
        audience.ready()
        pids = {"api": api.pid or 0, "worker": worker.pid or 0, "gateway": gateway.pid or 0}
        pids |= {"postgresql": running.postgres.process.pid or 0, "valkey": running.valkey.process.pid or 0}
        before = {name: machine.cpu_seconds(pid) for name, pid in pids.items()}
        path = running.directory / "http-pace.json"
        path.write_text(
            json.dumps(
                {
                    "port": api_port,
                    "students": students,
                    "rate": RATE,
                    "batch": BATCH,
                    "seconds": length,
                    "mark": MARK,
                }
            )
        )
        completed = subprocess.run(
            [sys.executable, str(stacks.HERE / "http_pace.py"), str(path)], check=True, capture_output=True, timeout=180
        )
        cpu = {name: (machine.cpu_seconds(pid) - before[name]) / length for name, pid in pids.items()}
        seen = audience.result()
        sent = dict(json.loads(completed.stdout))
        if sent["refused"]:
            raise RuntimeError(f"{sent['refused']} events were refused, first answer: {sent['first_refusal']}")
        if not seen["samples"]:
            raise RuntimeError("no frame reached the dashboards")
        results = {"p50_ms": seen["p50_ms"], "p99_ms": seen["p99_ms"], "deliveries": seen["deliveries"], "cpu": cpu}
        results |= {"rate": sent["rate"], "late_requests": sent["late_requests"], "samples": seen["samples"]}
    for child in (gateway, worker, api):
        running.stop(child)
    return results | {"event_to_screen_p99_beyond_window_ms": results["p99_ms"] - WINDOW_MS}
