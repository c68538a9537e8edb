"""The servers and services of a benchmark, each bound to a core and stopped at the end."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machine

from cell_monitor.embedded.postgres import EmbeddedPostgres
from cell_monitor.embedded.process import ChildProcess, free_port
from cell_monitor.embedded.valkey import EmbeddedValkey
from cell_monitor_core.auth.signing_keys import SigningKeys

__all__ = ["Influx", "Stack", "stack"]

HERE = Path(__file__).parent
SERVED = 0
"""The core of the process that is measured."""
LOADED = 1
"""The core of the load generators, and of stores that are not measured."""


class Influx:
    """A real InfluxDB 2, if this machine has ``influxd``."""

    def __init__(self, directory: Path) -> None:
        program = os.environ.get("CELL_MONITOR_INFLUXD") or shutil.which("influxd")
        if program is None:
            raise FileNotFoundError("InfluxDB's influxd is neither on the PATH nor named by CELL_MONITOR_INFLUXD.")
        directory.mkdir()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.token = secrets.token_urlsafe(24)
        self.org = "bench"
        self.bucket = "bench"
        self.process = ChildProcess(
            "InfluxDB",
            [
                program,
                "--bolt-path",
                directory / "bolt",
                "--engine-path",
                directory / "engine",
                "--http-bind-address",
                f"127.0.0.1:{port}",
                "--reporting-disabled",
            ],
            log_path=directory / "influxd.log",
        )
        self.process.start()
        self.process.wait_until(lambda: _answers(f"{self.url}/health"), timeout=60, interval=0.1)
        setup = {
            "username": "bench",
            "password": secrets.token_urlsafe(16),
            "org": self.org,
            "bucket": self.bucket,
            "token": self.token,
        }
        request = urllib.request.Request(
            f"{self.url}/api/v2/setup", json.dumps(setup).encode(), {"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=30).read()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class Stack:
    """Real servers, secrets, and services started on demand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.valkey = EmbeddedValkey(directory / "valkey")
        self.postgres = EmbeddedPostgres(directory / "postgres")
        self._children: list[ChildProcess] = []
        self._databases = 0
        self.signing_keys = SigningKeys.generate()
        self._keys_file = directory / "signing-keys.json"
        self._keys_file.write_text(self.signing_keys.to_json())
        self.encryption_keys = json.dumps(
            {"active": "k1", "keys": {"k1": base64.b64encode(secrets.token_bytes(32)).decode()}}
        )
        self.index_key = base64.b64encode(secrets.token_bytes(32)).decode()
        self.influx: Influx | None = None
        self.trace_sink = ""

    def start_trace_sink(self, core: int) -> None:
        """Start a server that receives and discards spans, so that sampled requests have their real cost."""
        port = free_port()
        self.trace_sink = f"http://127.0.0.1:{port}"
        self.uvicorn("baselines.empty_asgi:app", port=port, core=core)

    def start_valkey(self, core: int) -> None:
        """Start Valkey with AOF everysec, which is its embedded default, on a core."""
        self.valkey.start()
        machine.pin(self._pid(self.valkey.process), core)

    def start_postgres(self, core: int) -> None:
        """Start PostgreSQL; its backends inherit the core."""
        self.postgres.start()
        machine.pin(self._pid(self.postgres.process), core)

    def start_influx(self, core: int) -> Influx:
        """Start InfluxDB.

        Raises:
            FileNotFoundError: this machine has no influxd.
        """
        self.influx = Influx(self.directory / "influx")
        self._children.append(self.influx.process)
        machine.pin(self._pid(self.influx.process), core)
        return self.influx

    def influx_settings(self) -> dict[str, str]:
        """Return the services' settings for InfluxDB; empty if it does not run, so that PostgreSQL stores the series."""
        if self.influx is None:
            return {}
        return {
            "influxdb_url": self.influx.url,
            "influxdb_token": self.influx.token,
            "influxdb_org": self.influx.org,
            "influxdb_bucket": self.influx.bucket,
        }

    def unpin(self) -> None:
        """Allow the stores to run on all cores, for measurements of the whole stack."""
        for process in (self.valkey.process, self.postgres.process, *([self.influx.process] if self.influx else [])):
            machine.unpin(self._pid(process))

    @staticmethod
    def _pid(process: ChildProcess) -> int:
        if process.pid is None:
            raise RuntimeError(process.describe_end())
        return process.pid

    def environment(self, *, database_url: str | None = None, **settings: object) -> dict[str, str]:
        """Return the environment of a service, without settings of the caller."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(("CELL_MONITOR_", "OTEL_"))}
        env |= {
            "CELL_MONITOR_REDIS_URL": self.valkey.url,
            "CELL_MONITOR_ENCRYPTION_KEYS": self.encryption_keys,
            "CELL_MONITOR_INDEX_KEY": self.index_key,
            "CELL_MONITOR_LOG_LEVEL": "warning",
            "BENCH_REDIS_URL": self.valkey.url,
            "PYTHONPATH": str(HERE),
        }
        if database_url:
            env["CELL_MONITOR_DATABASE_URL"] = database_url
        return env | {f"CELL_MONITOR_{key.upper()}": str(value) for key, value in settings.items()}

    @property
    def signing_keys_file(self) -> Path:
        """File with the private keys of the API."""
        return self._keys_file

    def spawn(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        core: int | None,
        ready: str | None = None,
        timeout: float = 60,
    ) -> ChildProcess:
        """Start a program, wait until ``ready`` answers 200, and bind it to a core (None: no binding)."""
        child = ChildProcess(name, argv, log_path=self.directory / f"{name}.log", env=env)
        child.start()
        self._children.append(child)
        if ready is not None:
            child.wait_until(lambda: _answers(ready), timeout=timeout, interval=0.05)
        if core is not None:
            machine.pin(self._pid(child), core)
        return child

    def uvicorn(self, app: str, *, port: int, core: int) -> ChildProcess:
        """Serve a baseline app with uvicorn, uvloop and httptools."""
        return self.spawn(
            app.split(":", maxsplit=1)[0].rsplit(".", 1)[-1],
            [
                sys.executable,
                "-m",
                "uvicorn",
                app,
                "--port",
                str(port),
                "--loop",
                "uvloop",
                "--http",
                "httptools",
                "--ws",
                "websockets-sansio",
                "--no-access-log",
                "--log-level",
                "warning",
            ],
            env=self.environment(),
            core=core,
            ready=None,
        )

    def stop(self, child: ChildProcess) -> None:
        """Stop a program."""
        child.stop()
        self._children.remove(child)

    def close(self) -> None:
        """Stop all programs."""
        for child in reversed(self._children):
            child.stop(5)
        for server in (self.postgres, self.valkey):
            server.stop()


@contextmanager
def stack() -> Iterator[Stack]:
    """Yield an empty stack in a new folder; stop all programs and delete the folder afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="cell-monitor-bench-"))
    directory.chmod(0o755)
    running = Stack(directory)
    try:
        yield running
    finally:
        running.close()
        shutil.rmtree(directory, ignore_errors=True)


def wait_for(condition: Any, *, timeout: float, what: str, interval: float = 0.05) -> None:
    """Poll a condition.

    Raises:
        TimeoutError: it was not true in time; the message contains ``what``.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:.0f} s for {what}")
        time.sleep(interval)
