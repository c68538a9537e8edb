"""Ingest: the API compared with an empty raw ASGI app and with the textbook app, in alternating rounds on one core."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from typing import Any

import machine
import stack as stacks
from progress import Progress

from cell_monitor.embedded.process import ChildProcess, free_port

__all__ = ["measure", "serve_keys"]

CONNECTIONS = 32


def _load(running: stacks.Stack, spec: dict[str, Any]) -> dict[str, Any]:
    """Run the load generator on its core."""
    path = running.directory / "http-load.json"
    path.write_text(json.dumps(spec | {"core": stacks.LOADED}))
    completed = subprocess.run(
        [sys.executable, str(stacks.HERE / "http_load.py"), str(path)],
        check=True,
        capture_output=True,
        timeout=spec["seconds"] + 60,
    )
    result = dict(json.loads(completed.stdout))
    if result["errors"]:
        raise RuntimeError(f"{result['errors']} requests were refused, first answer: {result['first_error']}")
    return result


class Target:
    """A running server and the specification of its load."""

    def __init__(self, name: str, child: ChildProcess, spec: dict[str, Any]) -> None:
        self.name = name
        self.child = child
        self.spec = spec
        self.rates: list[float] = []
        self.cpu_us: list[float] = []
        self.p99: list[float] = []

    def round(self, running: stacks.Stack, seconds: float) -> None:
        """Load the target once and record its rate, its CPU per request in µs and its p99 in ms."""
        client = running.valkey.client()
        client.flushall()
        client.close()
        pid = self.child.pid
        if pid is None:
            raise RuntimeError(self.child.describe_end())
        before = machine.cpu_seconds(pid)
        result = _load(running, self.spec | {"seconds": seconds})
        spent = machine.cpu_seconds(pid) - before
        self.rates.append(result["rate"])
        self.cpu_us.append(spent / result["requests"] * 1e6)
        self.p99.append(result["p99_ms"])


def _api(running: stacks.Stack, database_url: str, *, instruments: bool, port: int) -> ChildProcess:
    env = running.environment(
        database_url=database_url,
        api_host="127.0.0.1",
        api_port=port,
        api_workers=1,
        signing_keys_file=running.signing_keys_file,
        gateway_url="ws://127.0.0.1:1/ws",
        api_bucket_events=1_000_000,
        api_bucket_refill_per_s=100_000,
        **({"otlp_endpoint": running.trace_sink} if instruments else {}),
    )
    if instruments:
        arguments = ["cell_monitor_api"]
    else:
        # What ``cell_monitor_api`` becomes, with other settings of gunicorn.
        env["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(dir=running.directory)
        arguments = ["gunicorn", "--config", "python:baselines.uncounted_api"]
    return running.spawn(
        f"api-{port}",
        [sys.executable, "-m", *arguments],
        env=env,
        core=stacks.SERVED,
        ready=f"http://127.0.0.1:{port}/readyz",
    )


def serve_keys(running: stacks.Stack, database_url: str) -> tuple[ChildProcess, str]:
    """Start an API that publishes a JWKS; return it and the URL."""
    port = free_port()
    child = _api(running, database_url, instruments=False, port=port)
    return child, f"http://127.0.0.1:{port}/api/v1/auth/jwks.json"


def measure(
    running: stacks.Stack, database_url: str, tokens: list[str], progress: Progress, *, rounds: int, seconds: float
) -> dict[str, Any]:
    """Return the figures of ingest: rates, ratios, CPU per event, memory."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    common = {"connections": CONNECTIONS, "tokens": tokens, "course": "bench", "at": at, "path": "/api/v1/events"}
    ports = [free_port() for _ in range(4)]
    one = common | {"shape": "batch", "batch": 1, "status": 200, "ending": "}"}
    plain = _api(running, database_url, instruments=False, port=ports[3])
    ours_child = _api(running, database_url, instruments=True, port=ports[2])
    empty = Target(
        "empty raw-ASGI app",
        running.uvicorn("baselines.empty_asgi:app", port=ports[0], core=stacks.SERVED),
        one | {"port": ports[0], "status": 202, "ending": "\r\n\r\n"},
    )
    textbook = Target(
        "textbook",
        running.uvicorn("baselines.textbook:app", port=ports[1], core=stacks.SERVED),
        common | {"port": ports[1], "shape": "one", "batch": 1, "status": 202, "ending": "}", "tokens": tokens[:1]},
    )
    ours = Target("ours", ours_child, one | {"port": ports[2]})
    bare = Target("ours, instruments off", plain, one | {"port": ports[3]})
    batch = Target("ours, batches of 50", ours_child, one | {"port": ports[2], "batch": 50, "connections": 16})
    targets = [empty, textbook, ours, bare, batch]
    for target in targets:
        port = target.spec["port"]
        stacks.wait_for(lambda port=port: _listens(port), timeout=30, what=f"{target.name} to listen")
        target.round(running, 1.0)  # warm-up: caches and connections
        target.rates.clear()
        target.cpu_us.clear()
        target.p99.clear()
    for number in range(rounds):
        for target in targets:
            progress.step(f"ingest, round {number + 1} of {rounds}: {target.name}")
            target.round(running, seconds)
    memory = max(machine.rss_mib(process.pid) for process in machine.tree(ours_child.pid or 0)[1:])
    for target in {id(t.child): t for t in targets}.values():
        running.stop(target.child)

    def paired(numerator: list[float], denominator: list[float]) -> float:
        return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))

    return {
        "targets": [
            {
                "name": t.name,
                "rate": statistics.median(t.rates),
                "cpu_us": statistics.median(t.cpu_us),
                "p99_ms": statistics.median(t.p99),
            }
            for t in targets
        ],
        "ingest_vs_empty_asgi": paired(ours.rates, empty.rates),
        "ingest_vs_textbook": paired(ours.rates, textbook.rates),
        "ingest_batch_us_per_event": statistics.median(batch.cpu_us) / 50,
        "instruments_cpu_share": paired(ours.cpu_us, bare.cpu_us) - 1,
        "api_mib": memory,
    }


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
