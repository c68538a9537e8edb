"""Gateway: deliveries to 1,000 sockets within 25 ms, compared with ``send_text`` in a loop; memory per socket."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import machine
import stack as stacks
from progress import Progress
from redis.asyncio import Redis

from cell_monitor.embedded.process import free_port
from cell_monitor_core.broker.redis_broker import RedisBroker
from cell_monitor_core.channels import course_channel
from cell_monitor_core.redis_client import connect
from cell_monitor_core.storage.ports import Draft

__all__ = ["Audience", "measure"]

SOCKETS = 1_000
FRAME = 400
"""Bytes of a frame's JSON in the baseline; the gateway adds its envelope."""
RATES = (20, 40, 60, 80, 100, 120, 140, 160)
"""Publications per second; each is sent to all sockets."""
GOAL_MS = 25.0
PARTITIONS = 8
COURSE = "bench"


class Audience:
    """The process of the load generator; all sockets are open when ``ready`` returns."""

    def __init__(self, running: stacks.Stack, spec: dict[str, Any]) -> None:
        path = running.directory / "ws-load.json"
        path.write_text(json.dumps(spec | {"core": stacks.LOADED}))
        self._process = subprocess.Popen(
            [sys.executable, str(stacks.HERE / "ws_load.py"), str(path)],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout

    def ready(self) -> None:
        """Wait until every socket is open and subscribed."""
        line = self._output.readline()
        if line != b"ready\n":
            self._process.wait()
            raise RuntimeError(f"the load generator could not open its sockets: {line!r}")

    def result(self) -> dict[str, Any]:
        """Wait for the end and return the result."""
        line = self._output.readline()
        self._process.wait(30)
        return dict(json.loads(line))


def _padded(number: int) -> bytes:
    """Return a state of the frame's size with the time of its publication."""
    head = f'{{"number":{number},"at":{time.monotonic_ns()},"pad":"'
    return (head + "x" * (FRAME - len(head) - 2) + '"}').encode()


async def _publish(send: Callable[[int, bytes], Awaitable[Any]], rate: float, seconds: float) -> int:
    """Publish at a fixed rate (open loop); return the number of publications."""
    began = time.perf_counter()
    number = 0
    while (due := began + number / rate) < began + seconds:
        delay = due - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        await send(number, _padded(number))
        number += 1
    return number


async def _ours(url: str, rate: float, seconds: float) -> int:
    client = connect(url, name="bench")
    broker = RedisBroker(client, partitions=PARTITIONS)
    version = int(time.time() * 1000) * 1000  # above all earlier versions and below 2^53, as the broker requires

    async def send(number: int, state: bytes) -> None:
        draft = Draft(kind="student", key="bench", version=version + number, state=state)
        await broker.publish(course_channel(COURSE), [draft])

    try:
        return await _publish(send, rate, seconds)
    finally:
        await client.aclose()


async def _theirs(url: str, rate: float, seconds: float) -> int:
    async with Redis.from_url(url) as client:

        async def send(_number: int, state: bytes) -> None:
            await client.publish("send-loop", state)

        return await _publish(send, rate, seconds)


class Ramp:
    """Raises the rate of one target until its deliveries are late or missing."""

    def __init__(self, name: str, spec: dict[str, Any], publish: Callable[[str, float, float], Awaitable[int]]) -> None:
        self.name = name
        self.spec = spec
        self.publish = publish
        self.best: dict[str, Any] = {"deliveries_s": 0.0, "p99_ms": None, "rate": 0}
        self.steps: list[dict[str, Any]] = []

    def climb(self, running: stacks.Stack, progress: Progress, seconds: float) -> None:
        """Test the rates in ascending order; stop after two that fail."""
        failures = 0
        for rate in RATES:
            progress.step(f"gateway, {self.name}: {rate * SOCKETS // 1000}k deliveries/s")
            audience = Audience(running, self.spec | {"seconds": seconds + 1.0})
            audience.ready()
            sent = asyncio.run(self.publish(running.valkey.url, rate, seconds))
            result = audience.result()
            share = result["deliveries"] / (sent * SOCKETS)
            met = share >= 0.99 and result["p99_ms"] is not None and result["p99_ms"] < GOAL_MS
            self.steps.append({"rate": rate, "share": share, "p99_ms": result["p99_ms"], "met": met})
            if met:
                failures = 0
                self.best = {"deliveries_s": sent / seconds * SOCKETS, "p99_ms": result["p99_ms"], "rate": rate}
            else:
                failures += 1
                if failures == 2:
                    return


def measure(
    running: stacks.Stack, issue: Callable[[], str], jwks_url: str, progress: Progress, *, seconds: float
) -> dict[str, Any]:
    """Return the highest rate of each target within the latency goal, their ratio, and the gateway's memory."""
    ports = free_port(), free_port()
    gateway = running.spawn(
        "gateway",
        [sys.executable, "-m", "cell_monitor_gateway"],
        env=running.environment(
            gateway_host="127.0.0.1",
            gateway_port=ports[0],
            jwks_url=jwks_url,
            gateway_coalesce_ms=0,
            gateway_max_connections=2000,
        ),
        core=stacks.SERVED,
        ready=f"http://127.0.0.1:{ports[0]}/readyz",
    )
    loop = running.uvicorn("baselines.send_loop:app", port=ports[1], core=stacks.SERVED)
    pid = gateway.pid or 0
    channel = course_channel(COURSE)
    token = issue()
    spec = {
        "port": ports[0],
        "path": "/ws",
        "subprotocol": "cell-monitor.v1",
        "sockets": SOCKETS,
        "hellos": [
            {"send": json.dumps({"type": "connect", "id": 1, "token": token}), "expect": '"connected"'},
            {"send": json.dumps({"type": "subscribe", "id": 2, "channel": channel}), "expect": '"subscribed"'},
        ],
    }
    idle = machine.rss_mib(pid)
    progress.step(f"gateway, memory of {SOCKETS} sockets")
    audience = Audience(running, spec | {"seconds": 3})
    audience.ready()
    asyncio.run(_ours(running.valkey.url, 10, 2))
    full = machine.rss_mib(pid)
    audience.result()
    ours = Ramp("ours", spec, _ours)
    theirs = Ramp("send_text in a loop", {"port": ports[1], "path": "/ws", "sockets": SOCKETS}, _theirs)
    for ramp in (theirs, ours):
        ramp.climb(running, progress, seconds)
    for child in (gateway, loop):
        running.stop(child)
    baseline = theirs.best["deliveries_s"] or RATES[0] * SOCKETS  # the first step fails too: its rate is the bound
    return {
        "targets": [{"name": ramp.name, **ramp.best, "steps": ramp.steps} for ramp in (theirs, ours)],
        "gateway_vs_send_loop": ours.best["deliveries_s"] / baseline,
        "gateway_p99_ms": ours.best["p99_ms"],
        "gateway_mib_1000_sockets": full,
        "gateway_kib_per_socket": (full - idle) * 1024 / SOCKETS,
    }
