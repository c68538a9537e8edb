"""All services as real processes over the stores that Debian installs, each with TLS and with no more than the documented rights."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from cell_monitor.embedded.process import free_port
from cell_monitor_core.auth.passwords import hash_password
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.storage.postgres import accounts, api_keys, courses, memberships, people
from cell_monitor_core.storage.postgres.migrations import migrate
from cell_monitor_core.storage.postgres.pool import close_pool, create_pool
from cell_monitor_core.storage.postgres.rebuild import rebuild
from cell_monitor_testing.event_sender import EventSender
from cell_monitor_testing.installed_programs import InstalledServer
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.live_client import LiveClient
from cell_monitor_testing.processes import ServiceProcess
from cell_monitor_testing.servers import run_apart
from cell_monitor_testing.traffic import StudentTraffic, class_traffic

__all__ = ["SECRET", "Classroom", "Site", "running", "until"]

PASSWORD: Final = "password of an instructor"  # noqa: S105
SECRET: Final = "password-of-a-service"  # noqa: S105
"""What Redis's users and PostgreSQL's roles have as their passwords."""


async def until(done: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Wait until a condition is true."""
    deadline = time.monotonic() + 60
    while not (value := await done()):
        assert time.monotonic() < deadline, f"not within 60 s: {what}"
        await asyncio.sleep(0.05)
    return value


@dataclass
class Site:
    """The services and their stores. Its addresses may be those of something between."""

    folder: Path
    secrets: SampleSecrets
    redis: InstalledServer
    postgresql: InstalledServer
    redis_user: str
    redis_port: int = 0
    postgresql_port: int = 0
    api_key: str = ""
    api: ServiceProcess = field(init=False)
    worker: ServiceProcess = field(init=False)
    gateway: ServiceProcess = field(init=False)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def services(self) -> list[ServiceProcess]:
        """All services."""
        return [self.api, self.worker, self.gateway]

    def dsn(self, user: str, *, port: int | None = None) -> str:
        """Return the URL of the database for a login."""
        port = port or self.postgresql_port or self.postgresql.port
        options = f"sslmode=verify-full&sslrootcert={self.folder / 'trusted.pem'}"
        return f"postgresql://{user}:{SECRET}@127.0.0.1:{port}/postgres?{options}"

    def describe(self, *others: InstalledServer) -> None:
        """Configure the services; they are not started. ``others`` are between them and have certificates of their own."""
        bundle = self.folder / "trusted.pem"
        trusted = [server.certificate.certificate for server in (self.redis, self.postgresql, *others)]
        bundle.write_text("".join(path.read_text() for path in trusted))
        redis = f"127.0.0.1:{self.redis_port or self.redis.port}"
        common = {"REDIS_URL": f"rediss://{self.redis_user}:{SECRET}@{redis}/0?ssl_ca_certs={bundle}"} | self.settings
        data = {"ENCRYPTION_KEYS": self.secrets.encryption_keys, "INDEX_KEY": self.secrets.index_key}
        api = {"DATABASE_URL": self.dsn("api_login"), "SIGNING_KEYS": self.secrets.signing_keys}
        self.api = self._service("api", common | data | api)
        worker = {"DATABASE_URL": self.dsn("worker_login"), "WORKER_RECLAIM_IDLE_S": "1"}
        self.worker = self._service("worker", common | data | worker)
        self.gateway = self._service("gateway", common | {"JWKS_URL": f"{self.api.url}/api/v1/auth/jwks.json"})

    def _service(self, kind: str, settings: dict[str, str]) -> ServiceProcess:
        port = free_port()
        settings = settings | {f"{kind.upper()}_PORT": str(port)}
        return ServiceProcess(
            f"cell_monitor_{kind}",
            env={f"CELL_MONITOR_{name}": value for name, value in settings.items()},
            port=port,
            log_path=self.folder / f"{kind}.log",
        )

    async def wait_ready(self) -> None:
        """Wait until every service is ready."""
        for service in self.services:
            await service.wait_ready()

    async def prepare(self) -> None:
        """Make the schema and the services' logins."""
        owner = self.dsn("owner", port=self.postgresql.port)
        await migrate(owner)
        async with self.database() as pool:
            for role in ("api", "worker"):
                await pool.execute(f"CREATE ROLE {role}_login LOGIN PASSWORD '{SECRET}' IN ROLE cell_monitor_{role}")
            _, self.api_key = await api_keys.create(
                pool,
                name="test",
                scopes=("events:write", "people:act_as"),
                expires_at=datetime.now(UTC) + timedelta(hours=2),
            )

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        """A pool of the owner's connections."""
        pool = await create_pool(self.dsn("owner", port=self.postgresql.port), application_name="test", max_size=2)
        try:
            yield pool
        finally:
            await close_pool(pool)

    async def classroom(self, *, students: int, events: int) -> Classroom:
        """Create a course with an instructor and students, who are about to send these events."""
        course = f"course-{uuid.uuid4().hex[:12]}"
        index = BlindIndex(base64.b64decode(self.secrets.index_key))
        traffic = class_traffic(students=students, events=events, course=course)
        names = [student.username for student in traffic]
        async with self.database() as pool:
            await courses.create(pool, course, course.title())
            new = [people.NewPerson(name, name.title()) for name in [*names, f"instructor-{course}"]]
            *student_ids, instructor = await people.upsert_many(pool, self.keyring, index, new)
            roles = dict.fromkeys(student_ids, "student") | {instructor: "instructor"}
            await memberships.upsert_many(pool, course, roles)
            await accounts.set_password(pool, instructor, hash_password(PASSWORD))
        return Classroom(self, course, f"instructor-{course}", traffic)

    @property
    def keyring(self) -> KeyRing:
        """The key ring for encrypted columns."""
        return KeyRing.from_json(self.secrets.encryption_keys)


@dataclass
class Classroom:
    """A course of a site."""

    site: Site
    course: str
    instructor: str
    traffic: list[StudentTraffic]
    token: str = ""

    async def sign_in(self, client: httpx.AsyncClient) -> str:
        """Return an access token of the instructor."""
        if not self.token:
            answer = await client.post("/api/v1/auth/login", json={"username": self.instructor, "password": PASSWORD})
            answer.raise_for_status()
            self.token = answer.json()["access_token"]
        return self.token

    async def send(self, client: httpx.AsyncClient, *, batch: int = 20) -> None:
        """Send all events, again and again where that is asked for, until each is taken."""

        async def one(student: StudentTraffic) -> None:
            sender = EventSender(client, username=student.username, api_key=self.site.api_key)
            for start in range(0, len(student.events), batch):
                await sender.send(student.events[start : start + batch])

        await asyncio.gather(*(one(student) for student in self.traffic))

    @asynccontextmanager
    async def dashboard(
        self, client: httpx.AsyncClient, gateway: str, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[LiveClient]:
        """A dashboard that is live."""
        await self.sign_in(client)

        async def token() -> str:
            return self.token

        live = LiveClient(api=str(client.base_url), gateway=gateway, course_id=self.course, token=token, tls=tls)
        async with live:

            async def ready() -> bool:
                live.check()
                return live.live.is_set()

            await until(ready, "the dashboard is live")
            yield live

    async def assert_arrived_once(self, live: LiveClient) -> None:
        """Check that everything sent is stored once, derived as a rebuild does, and on the screen."""
        sent = {event["event_id"] for student in self.traffic for event in student.events}
        async with self.site.database() as pool:

            async def stored() -> bool:
                query = "SELECT count(*) FROM events WHERE course_id = $1"
                return bool(await pool.fetchval(query, self.course) >= len(sent))

            await until(stored, "all events are stored")
            rows = await pool.fetch("SELECT event_id FROM events WHERE course_id = $1", self.course)
            assert sorted(str(row["event_id"]) for row in rows) == sorted(sent)
            assert await pool.fetch("SELECT reason, detail FROM failed_events") == []

            async def same() -> bool:
                live.check()
                return live.live.is_set() and not live.differences(await live.fetch())

            await until(same, "the screen equals a new snapshot")
            report = await rebuild(pool, self.site.keyring, check=True, course_id=self.course)
        assert (report.differences, report.events) == ([], len(sent))


@contextmanager
def running(site: Site) -> Iterator[None]:
    """Run the services; the message of a failure has the ends of their logs."""
    try:
        for service in site.services:
            service.launch()
        run_apart(site.wait_ready)
        yield
    except AssertionError as error:
        logs = "\n".join(f"--- {service.log_path.name}\n{service.log}" for service in site.services)
        raise AssertionError(f"{error}\n{logs}") from error
    finally:
        for service in site.services:
            service.kill()
