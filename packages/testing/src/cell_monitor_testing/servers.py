"""Real servers for tests: PostgreSQL with a template database, InfluxDB 2, and the folders of their data."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx

from cell_monitor.embedded.postgres import EmbeddedPostgres
from cell_monitor.embedded.process import ChildProcess, free_port
from cell_monitor_core.storage.postgres.migrations import migrate

__all__ = [
    "InfluxServer",
    "TestDatabases",
    "influxd_program",
    "run_apart",
    "running_postgres",
    "start_influxdb",
    "temporary_directory",
]

T = TypeVar("T")


@contextmanager
def temporary_directory(name: str) -> Iterator[Path]:
    """Create a folder that an unprivileged server can access, unlike pytest's own; it is removed at the end."""
    path = Path(tempfile.mkdtemp(prefix=f"cell-monitor-{name}-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def run_apart(make: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine from synchronous code, even if an event loop runs in this thread."""

    async def main() -> T:
        return await make()

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: asyncio.run(main())).result()


@asynccontextmanager
async def connection(dsn: str) -> AsyncIterator[Any]:
    """One asyncpg connection, closed at the end."""
    postgres = await asyncpg.connect(dsn)
    try:
        yield postgres
    finally:
        await postgres.close()


@contextmanager
def running_postgres(name: str) -> Iterator[EmbeddedPostgres]:
    """Run a PostgreSQL whose data is removed at the end."""
    with temporary_directory(name) as directory:
        server = EmbeddedPostgres(directory, disposable=True)
        try:
            server.start()
            yield server
        finally:
            server.stop()


class TestDatabases:
    """Creates migrated databases on one server as copies of a template that is migrated once."""

    __test__ = False
    _TEMPLATE = "cell_monitor_template"

    def __init__(self, server: EmbeddedPostgres) -> None:
        """Create databases on this running server."""
        self._server = server
        self._template_made = False

    async def create(self, *, migrated: bool = True) -> str:
        """Create a database and return its DSN.

        Args:
            migrated: False creates an empty one.
        """
        async with connection(self._server.dsn_of("postgres")) as postgres:
            if migrated and not self._template_made:
                await postgres.execute(f"DROP DATABASE IF EXISTS {self._TEMPLATE}")
                await postgres.execute(f"CREATE DATABASE {self._TEMPLATE} TEMPLATE template0")
                await migrate(self._server.dsn_of(self._TEMPLATE))
                self._template_made = True
            name = f"test_{uuid.uuid4().hex}"
            source = self._TEMPLATE if migrated else "template0"
            await postgres.execute(f"CREATE DATABASE {name} TEMPLATE {source}")
        return self._server.dsn_of(name)

    async def drop(self, dsn: str) -> None:
        """Drop a database, even if clients are connected to it."""
        name = dsn.rpartition("/")[2]
        if not self._server.process.running:
            return
        async with connection(self._server.dsn_of("postgres")) as postgres:
            await postgres.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@dataclass(frozen=True, slots=True)
class InfluxServer:
    """A real InfluxDB 2 with one organisation.

    Attributes:
        url: base URL.
        token: operator token.
        org: name of the organisation.
        bucket: a bucket for the current test.
        process: the server's process, which a test can kill and restart.
    """

    url: str
    token: str
    org: str
    bucket: str
    process: ChildProcess

    def wait_ready(self, *, timeout: float = 60.0) -> None:
        """Wait until the server answers after a restart."""
        self.process.wait_until(lambda: _influx_answers(self.url), timeout=timeout, interval=0.1)

    def create_bucket(self, name: str) -> str:
        """Create a bucket without expiry and return its name."""
        with httpx.Client(
            base_url=self.url, headers={"Authorization": f"Token {self.token}"}, trust_env=False
        ) as client:
            orgs = client.get("/api/v2/orgs", params={"org": self.org}).raise_for_status().json()["orgs"]
            body = {"orgID": orgs[0]["id"], "name": name, "retentionRules": []}
            client.post("/api/v2/buckets", json=body).raise_for_status()
        return name


def influxd_program() -> Path | None:
    """Return the path of ``influxd`` from ``CELL_MONITOR_INFLUXD`` or the PATH, or None.

    Raises:
        FileNotFoundError: ``CELL_MONITOR_INFLUXD`` is not a program.
    """
    named = os.environ.get("CELL_MONITOR_INFLUXD")
    if named:
        path = Path(named)
        if not os.access(path, os.X_OK):
            raise FileNotFoundError(f"CELL_MONITOR_INFLUXD={named} is not a program")
        return path
    found = shutil.which("influxd")
    return Path(found) if found else None


def start_influxdb(program: Path, directory: Path) -> InfluxServer:
    """Start InfluxDB on a free port and set it up with an organisation, a token and a bucket."""
    port = free_port()
    process = ChildProcess(
        "InfluxDB",
        [
            program,
            f"--bolt-path={directory / 'influxd.bolt'}",
            f"--sqlite-path={directory / 'influxd.sqlite'}",
            f"--engine-path={directory / 'engine'}",
            f"--http-bind-address=127.0.0.1:{port}",
            "--reporting-disabled",
            "--log-level=error",
            "--session-length=60",
        ],
        log_path=directory / "influxd.log",
        cwd=directory,
        env={"HOME": str(directory), "PATH": os.environ.get("PATH", os.defpath)},
    )
    server = InfluxServer(f"http://127.0.0.1:{port}", "test-token-of-influxdb", "cell-monitor", "cell-monitor", process)
    process.start()
    try:
        server.wait_ready(timeout=60)
        body = {
            "username": "tester",
            "password": "password-of-tests",
            "org": server.org,
            "bucket": server.bucket,
            "token": server.token,
        }
        httpx.post(f"{server.url}/api/v2/setup", json=body, timeout=30, trust_env=False).raise_for_status()
    except BaseException:
        process.kill()
        raise
    return server


def _influx_answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
