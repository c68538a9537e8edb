"""The whole system as real processes on real stores. The tests of this folder share it; each uses its own courses."""

from __future__ import annotations

import asyncio
import base64
import random
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from redis.crc import key_slot

from cell_monitor.embedded.postgres import EmbeddedPostgres
from cell_monitor.embedded.process import free_port
from cell_monitor_core import keys
from cell_monitor_core.auth.passwords import hash_password
from cell_monitor_core.channels import course_channel, partition_of
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_core.storage.influxdb.time_series import InfluxTimeSeries
from cell_monitor_core.storage.postgres import accounts, api_keys, courses, memberships, people
from cell_monitor_core.storage.postgres.migrations import migrate
from cell_monitor_core.storage.postgres.pool import create_pool
from cell_monitor_core.storage.postgres.rebuild import rebuild
from cell_monitor_core.storage.postgres.roles import API_ROLE, WORKER_ROLE
from cell_monitor_core.streams.consumer import RedisEventConsumer
from cell_monitor_testing.cluster import ValkeyCluster
from cell_monitor_testing.event_sender import EventSender
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.live_client import LiveClient
from cell_monitor_testing.processes import ServiceProcess
from cell_monitor_testing.servers import InfluxServer, connection, run_apart, temporary_directory

PASSWORD = "password of an instructor"
DATABASE_PASSWORD = "password-of-a-service"
RECLAIM_IDLE_S = 1


async def until(done: Callable[[], Awaitable[Any]], what: str, *, timeout: float = 90.0) -> Any:
    """Wait until a condition is true and return its value; ``what`` describes it in the error."""
    deadline = time.monotonic() + timeout
    while True:
        value = await done()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:.0f} s: {what}")
        await asyncio.sleep(0.05)


@dataclass
class Classroom:
    """One course, its students and its instructor."""

    course_id: str
    students: list[str]
    instructor: str


@dataclass
class System:
    """Stores, services, and the access that tests need to them."""

    folder: Path
    secrets: SampleSecrets
    postgres: EmbeddedPostgres
    cluster: ValkeyCluster
    influxdb: InfluxServer
    api: ServiceProcess = field(init=False)
    workers: list[ServiceProcess] = field(init=False)
    gateways: list[ServiceProcess] = field(init=False)
    api_key: str = ""
    last_differences: list[str] = field(default_factory=list)
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict)

    def describe(self) -> None:
        """Configure the services; they are not started."""
        self.api = self.service(
            "api",
            DATABASE_URL=self.dsn_as("api_login"),
            SIGNING_KEYS=self.secrets.signing_keys,
            API_WORKERS="2",
            TEST_MODE="true",
            **self._influxdb(),
        )
        self.workers = [self.worker(number) for number in range(2)]
        self.gateways = [
            self.service(f"gateway-{number}", JWKS_URL=f"{self.api.url}/api/v1/auth/jwks.json", GATEWAY_DRAIN_S="1")
            for number in range(2)
        ]

    def worker(self, number: int, **changes: str) -> ServiceProcess:
        """Return a worker that is not started."""
        return self.service(
            f"worker-{number}",
            DATABASE_URL=self.dsn_as("worker_login"),
            WORKER_RECLAIM_IDLE_S=str(RECLAIM_IDLE_S),
            WORKER_TRIM_INTERVAL_S="1",
            **self._influxdb(),
            **changes,
        )

    def service(self, name: str, *, environment: dict[str, str] | None = None, **settings: str) -> ServiceProcess:
        """Return a service that is not started; ``name`` is ``api``, ``worker-0``, ``gateway-0`` and so on."""
        kind = name.partition("-")[0]
        port = free_port()
        values = {"REDIS_URL": self.cluster.url, f"{kind.upper()}_PORT": str(port)}
        if kind != "gateway":
            values |= {"ENCRYPTION_KEYS": self.secrets.encryption_keys, "INDEX_KEY": self.secrets.index_key}
        return ServiceProcess(
            f"cell_monitor_{kind}",
            env={f"CELL_MONITOR_{key}": value for key, value in (values | settings).items()} | (environment or {}),
            port=port,
            log_path=self.folder / f"{name}.log",
        )

    def dsn_as(self, role: str) -> str:
        """Return the database's DSN for a service's role."""
        parts = urlsplit(self.postgres.dsn)
        return f"postgresql://{role}:{DATABASE_PASSWORD}@127.0.0.1:{parts.port}{parts.path}"

    def _influxdb(self) -> dict[str, str]:
        return {
            "INFLUXDB_URL": self.influxdb.url,
            "INFLUXDB_TOKEN": self.influxdb.token,
            "INFLUXDB_ORG": self.influxdb.org,
            "INFLUXDB_BUCKET": self.influxdb.bucket,
        }

    @property
    def services(self) -> list[ServiceProcess]:
        """All services."""
        return [self.api, *self.workers, *self.gateways]

    @property
    def gateway_urls(self) -> list[str]:
        """WebSocket URLs of the gateways."""
        return [gateway.url.replace("http:", "ws:") + "/ws" for gateway in self.gateways]

    @property
    def keyring(self) -> KeyRing:
        """The key ring for encrypted columns."""
        return KeyRing.from_json(self.secrets.encryption_keys)

    async def heal(self) -> None:
        """Start all parts that an earlier test stopped, and wait until every service is ready."""
        if not self.postgres.process.running:
            await self.start_postgres()
        for number, node in enumerate(self.cluster.nodes):
            if not node.process.running:
                await self.start_valkey(number)
        if not self.influxdb.process.running:
            await self.start_influxdb()
        for service in self.services:
            if service.pid is not None and psutil.Process(service.pid).status() == psutil.STATUS_STOPPED:
                service.kill()
            if not service.running:
                service.launch()
        for service in self.services:
            await service.wait_ready(timeout=60)

    # Servers must start in the main thread (see ``ChildProcess``). The wait runs in another thread, so that clients go on.

    async def start_postgres(self) -> None:
        self.postgres.launch()
        await asyncio.to_thread(self.postgres.wait_ready)

    async def start_valkey(self, number: int) -> None:
        self.cluster.nodes[number].launch()
        await asyncio.to_thread(self.cluster.nodes[number].wait_ready)
        await asyncio.to_thread(self.cluster.wait_ready)

    async def start_influxdb(self) -> None:
        self.influxdb.process.start()
        await asyncio.to_thread(self.influxdb.wait_ready)

    async def kill_and_start(self, *services: ServiceProcess) -> None:
        """Kill services with ``kill -9``, then start them again."""
        for service in services:
            service.kill()
        for service in services:
            service.launch()
        for service in services:
            await service.wait_ready(timeout=60)

    async def kill_one_api_process(self) -> None:
        """Kill one of the API's worker processes with ``kill -9``; gunicorn starts another."""
        assert self.api.pid is not None
        arbiter = psutil.Process(self.api.pid)
        before = {child.pid for child in arbiter.children()}
        victim = random.choice(sorted(before))
        psutil.Process(victim).kill()

        async def replaced() -> bool:
            now = {child.pid for child in arbiter.children() if child.status() != psutil.STATUS_ZOMBIE}
            return victim not in now and len(now) == len(before)

        await until(replaced, "gunicorn starts another process")

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        """A pool of the owner's connections."""
        pool = await create_pool(self.postgres.dsn, application_name="test", max_size=2)
        try:
            yield pool
        finally:
            await pool.close()

    @asynccontextmanager
    async def log(self) -> AsyncIterator[RedisEventConsumer]:
        """A consumer of the event streams without blocking reads."""
        client = connect(self.cluster.url, name="test")
        try:
            yield RedisEventConsumer(client, client)
        finally:
            await aclose(client)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the API."""
        limits = httpx.Limits(max_connections=60, max_keepalive_connections=60)
        async with httpx.AsyncClient(base_url=self.api.url, timeout=60, limits=limits, trust_env=False) as client:
            yield client

    async def classroom(self, *, students: int, prefix: str = "traffic") -> Classroom:
        """Create a course with an instructor and students named ``traffic-000`` and so on."""
        course_id = f"course-{uuid.uuid4().hex[:12]}"
        index = BlindIndex(base64.b64decode(self.secrets.index_key))
        names = [f"{prefix}-{number:03d}" for number in range(students)]
        instructor = f"instructor-{course_id}"
        async with self.database() as pool:
            await courses.create(pool, course_id, course_id.title())
            new = [people.NewPerson(name, f"{name} Yamada") for name in [*names, instructor]]
            *student_ids, instructor_id = await people.upsert_many(pool, self.keyring, index, new)
            roles = dict.fromkeys(student_ids, "student") | {instructor_id: "instructor"}
            await memberships.upsert_many(pool, course_id, roles)
            await accounts.set_password(pool, instructor_id, hash_password(PASSWORD))
        return Classroom(course_id, names, instructor)

    async def new_key(self, *scopes: str, username: str | None = None) -> str:
        """Create an API key and return its text."""
        index = BlindIndex(base64.b64decode(self.secrets.index_key))
        async with self.database() as pool:
            person = None if username is None else await people.find(pool, self.keyring, index, username)
            _, text = await api_keys.create(
                pool,
                name="test",
                scopes=scopes,
                expires_at=datetime.now(UTC) + timedelta(hours=2),
                person_id=None if person is None else person.person_id,
            )
        return text

    async def token(self, username: str) -> str:
        """Return an access token of a person with a password; cached as in a browser."""
        token, good_until = self._tokens.get(username, ("", 0.0))
        if time.monotonic() > good_until:
            async with self.client() as client:
                answer = await client.post("/api/v1/auth/login", json={"username": username, "password": PASSWORD})
                answer.raise_for_status()
            token = answer.json()["access_token"]
            self._tokens[username] = (token, time.monotonic() + answer.json()["expires_in"] / 2)
        return token

    def sender(self, client: httpx.AsyncClient, username: str) -> EventSender:
        """Return a sender of a person's events."""
        return EventSender(client, username=username, api_key=self.api_key)

    async def person_id(self, username: str) -> str:
        """Return a person's id."""
        index = BlindIndex(base64.b64decode(self.secrets.index_key))
        async with self.database() as pool:
            person = await people.find(pool, self.keyring, index, username)
        assert person is not None
        return str(person.person_id)

    @asynccontextmanager
    async def dashboards(
        self, classroom: Classroom, *, number: int, gateways: Sequence[int] = (0,)
    ) -> AsyncIterator[list[LiveClient]]:
        """Several live dashboards of a course. Each connects to the first gateway, and to the next one at each reconnect."""
        urls = [self.gateway_urls[gateway] for gateway in gateways]
        # One sign-in for all, as for the tabs of a browser.
        await self.token(classroom.instructor)
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    LiveClient(
                        api=self.api.url,
                        gateway=urls,
                        course_id=classroom.course_id,
                        token=lambda: self.token(classroom.instructor),
                    )
                )
                for _ in range(number)
            ]
            await self.all_live(clients)
            yield clients

    async def all_live(self, clients: Sequence[LiveClient]) -> None:
        """Wait until every dashboard is live."""

        async def live() -> bool:
            for client in clients:
                client.check()
            return all(client.live.is_set() for client in clients)

        await until(live, "every dashboard is live")

    def node_of(self, course_id: str) -> int:
        """Return the number of the cluster's node with a course's events and publications."""
        slot = key_slot(keys.events_stream(partition_of(course_channel(course_id), 8)).encode())
        return min(slot // (16_384 // len(self.cluster.nodes)), len(self.cluster.nodes) - 1)

    async def pending_entries(self, worker: ServiceProcess) -> int:
        """Return the number of entries that were delivered to a worker and are not acknowledged."""
        name = f"{socket.gethostname()}-{worker.pid}".encode()
        client = connect(self.cluster.url, name="test")
        try:
            consumers = [
                consumer
                for partition in range(8)
                for group in keys.REQUIRED_GROUPS
                for consumer in await client.xinfo_consumers(keys.events_stream(partition), group)
            ]
            return sum(consumer["pending"] for consumer in consumers if consumer["name"] == name)
        finally:
            await aclose(client)

    async def stored(self, course_id: str) -> int:
        """Return the number of a course's events in PostgreSQL."""
        async with connection(self.postgres.dsn) as postgres:
            return int(await postgres.fetchval("SELECT count(*) FROM events WHERE course_id = $1", course_id))

    async def series_count(self, course_id: str) -> int:
        """Return the number of a course's events in InfluxDB."""
        box = self.influxdb
        series = InfluxTimeSeries(box.url, box.token, box.org, box.bucket)
        try:
            return await series.count(course_id)
        finally:
            await series.close()

    async def unfinished_entries(self, *groups: str) -> int:
        """Return the number of entries that these groups, by default all required ones, have not acknowledged."""
        async with self.log() as log:
            return sum(
                [
                    (await log.lag(partition, group))[0]
                    for partition in range(8)
                    for group in groups or keys.REQUIRED_GROUPS
                ]
            )

    async def until_drained(self, *groups: str) -> None:
        """Wait until the groups have acknowledged every entry."""

        async def done() -> bool:
            return not await self.unfinished_entries(*groups)

        await until(done, "every entry is acknowledged\n" + "\n".join(each.log[-1500:] for each in self.workers))

    async def assert_stored_exactly(self, course_id: str, sent: set[str]) -> None:
        """Check that both stores have exactly the sent events, none failed, and the states equal those of a rebuild."""
        await self.until_drained()
        async with self.database() as pool:
            rows = await pool.fetch("SELECT event_id FROM events WHERE course_id = $1", course_id)
            assert await pool.fetch("SELECT reason, detail FROM failed_events LIMIT 5") == []
            stored = {str(row["event_id"]) for row in rows}
            assert len(sent - stored) == 0, f"{len(sent - stored)} of {len(sent)} events are lost"
            assert len(stored - sent) == 0, f"{len(stored - sent)} events were never sent"
            assert len(rows) == len(sent)
            report = await rebuild(pool, self.keyring, check=True, course_id=course_id)
        assert report.differences == []
        assert report.events == len(sent)
        assert await self.series_count(course_id) == len(sent)

    async def assert_screens_are_current(self, clients: Sequence[LiveClient]) -> None:
        """Check that open dashboards show the same as a new snapshot."""
        await self.all_live(clients)
        for client in clients:

            async def same(client: LiveClient = client) -> bool:
                client.check()
                self.last_differences = client.differences(await client.fetch())
                return not self.last_differences

            try:
                await until(same, "the screen equals a new snapshot")
            except AssertionError as error:
                raise AssertionError(f"{error}\n" + "\n".join(self.last_differences[:20])) from None


async def _prepare(system: System) -> None:
    dsn = system.postgres.dsn
    await migrate(dsn)
    async with connection(dsn) as postgres:
        for role, group in (("api_login", API_ROLE), ("worker_login", WORKER_ROLE)):
            await postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{DATABASE_PASSWORD}' IN ROLE {group}")
    system.api_key = await system.new_key("events:write", "people:act_as")


@contextmanager
def _stores(influxdb: InfluxServer) -> Iterator[System]:
    with temporary_directory("resilience") as folder:
        # Not the shared server of the tests: this one keeps committed data after kill -9.
        postgres = EmbeddedPostgres(folder / "postgres")
        cluster = ValkeyCluster(folder / "cluster")
        try:
            cluster.start()
            postgres.start()
            yield System(folder, SampleSecrets.generate(), postgres, cluster, influxdb)
        finally:
            postgres.stop()
            cluster.stop()


@pytest.fixture(scope="session")
def shared_system(influxdb_server: InfluxServer) -> Iterator[System]:
    """The system, started once."""
    with _stores(influxdb_server) as system:
        run_apart(lambda: _prepare(system))
        system.describe()
        try:
            for service in system.services:
                service.launch()
            yield system
        finally:
            for service in system.services:
                service.kill()


@pytest.fixture
async def system(shared_system: System) -> System:
    """The system, all of it running and ready."""
    await shared_system.heal()
    return shared_system


@pytest.fixture(name="until")
def _until() -> Callable[..., Awaitable[Any]]:
    """Waits for a condition."""
    return until
