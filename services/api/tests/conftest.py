"""An API over real PostgreSQL and Valkey, with people, courses and tokens to try it with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from cell_monitor.embedded.process import free_port
from cell_monitor_api.config import ApiSettings
from cell_monitor_api.context import ProcessContext
from cell_monitor_api.handlers.ingest import IngestFastPath
from cell_monitor_api.main import create_app
from cell_monitor_api.services.notices import Notices
from cell_monitor_core import keys
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.passwords import hash_password
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.channels import course_channel, partition_of
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.records import StreamRecord, decode_entry
from cell_monitor_core.storage.postgres import accounts, api_keys, courses, memberships, people
from cell_monitor_core.storage.postgres.api_keys import ApiKey
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_testing.keys import NEWEST_GENERATION, SampleSecrets
from cell_monitor_testing.processes import ServiceProcess

PASSWORD = "correct horse battery"


@dataclass
class Site:
    """One API and what belongs to it."""

    fast_path: IngestFastPath
    settings: ApiSettings
    client: httpx.AsyncClient
    reference: httpx.AsyncClient
    ids: dict[str, UUID] = field(default_factory=dict)
    roles: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def process(self) -> ProcessContext:
        """What the process holds."""
        return self.fast_path.app.state.context

    @property
    def keyring(self) -> KeyRing:
        return KeyRing.from_settings(self.settings)

    @property
    def index(self) -> BlindIndex:
        return BlindIndex.from_settings(self.settings)

    async def course(self, course_id: str, **members: str) -> None:
        """Add a course with members, given as ``username=role``."""
        await courses.create(self.process.pool, course_id, f"Course {course_id}")
        for username, role in members.items():
            person_id = await self.person(username)
            await memberships.upsert_many(self.process.pool, course_id, {person_id: role})
            self.roles.setdefault(username, {})[course_id] = role

    async def person(self, username: str, *, admin: bool = False, password: str | None = None) -> UUID:
        """Add somebody."""
        person_id = await people.upsert(
            self.process.pool, self.keyring, self.index, username=username, display_name=f"{username.title()} Doe"
        )
        if admin:
            await people.set_admin(self.process.pool, person_id, is_admin=True)
        if password is not None:
            await accounts.set_password(self.process.pool, person_id, hash_password(password))
        self.ids[username] = person_id
        return person_id

    async def key(self, *scopes: str, username: str | None = None, days: float = 1.0) -> tuple[ApiKey, str]:
        """Make an API key of somebody, or of a program; return it with its text."""
        return await api_keys.create(
            self.process.pool,
            name="test",
            scopes=scopes,
            expires_at=datetime.now(UTC) + timedelta(days=days),
            person_id=None if username is None else self.ids[username],
        )

    def token(
        self,
        username: str,
        *audience: str,
        scopes: Sequence[str] = (),
        admin: bool = False,
        courses: Mapping[str, str] | None = None,
        issuer: TokenIssuer | None = None,
    ) -> str:
        """Return a token of somebody: of a sign-in or, with scopes or for ingest, of an API key."""
        of_key = bool(scopes) or "ingest" in audience
        token, _ = (issuer or self.process.signing.issuer).issue(
            grant=Grant.API_KEY if of_key else Grant.SESSION,
            person_id=self.ids[username],
            audience=audience or ("api", "gateway"),
            courses=self.roles.get(username, {}) if courses is None else courses,
            scopes=scopes,
            admin=admin,
            generation=NEWEST_GENERATION,
        )
        return token

    def bearer(self, username: str, *audience: str, **options: Any) -> dict[str, str]:
        """Return the header that carries such a token."""
        return {"authorization": f"Bearer {self.token(username, *audience, **options)}"}

    def sender(self, username: str, **options: Any) -> dict[str, str]:
        """Return the header of somebody who sends events."""
        return self.bearer(username, "ingest", scopes=("events:write", "test:write"), **options)

    async def send(self, username: str, *events: Any, client: httpx.AsyncClient | None = None) -> httpx.Response:
        """Send events."""
        return await (client or self.client).post(
            "/api/v1/events", headers=self.sender(username), json={"events": list(events)}
        )

    async def store(self, username: str, course_id: str, *events: dict[str, Any]) -> None:
        """Store events as the worker does."""
        now = int(datetime.now(UTC).timestamp() * 1000)
        await PostgresFactStore(self.process.pool, self.keyring).apply(
            [StreamRecord(self.ids[username].bytes, course_id, now, json.dumps(event).encode()) for event in events]
        )

    async def queued(self, course_id: str) -> list[StreamRecord]:
        """Return the queued records of a course, oldest first."""
        partition = partition_of(course_channel(course_id), self.settings.partitions)
        entries = await self.process.redis.xrange(keys.events_stream(partition))
        records = [record for _, fields in entries for record in decode_entry(fields)]
        return [record for record in records if record.course_id == course_id]

    async def queued_ids(self, course_id: str) -> list[str]:
        """Return the sorted event ids in the queue of a course."""
        return sorted(json.loads(record.event)["event_id"] for record in await self.queued(course_id))


MakeSite = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def make_settings(database: str, valkey: str, secrets: SampleSecrets) -> Callable[..., ApiSettings]:
    """Maker of settings; anything may be set otherwise."""

    def make(**changes: Any) -> ApiSettings:
        values: dict[str, Any] = {
            "redis_url": valkey,
            "database_url": database,
            "encryption_keys": secrets.encryption_keys,
            "index_key": secrets.index_key,
            "signing_keys": secrets.signing_keys,
            "log_level": "error",
        }
        return ApiSettings(**(values | changes))

    return make


@pytest.fixture
def load_settings(
    monkeypatch: pytest.MonkeyPatch, secrets: SampleSecrets
) -> Callable[[dict[str, str | None]], ApiSettings]:
    """Loader of settings from the environment, as at a start; None leaves one out. Nothing is connected."""

    def load(values: dict[str, str | None]) -> ApiSettings:
        stores = {"redis_url": "redis://localhost", "database_url": "postgresql://localhost/x"}
        environment = {f"CELL_MONITOR_{name.upper()}": value for name, value in (stores | values).items()}
        for name, value in (environment | secrets.environment).items():
            if value is not None:
                monkeypatch.setenv(name, value)
        return ApiSettings.load()

    return load


@pytest.fixture
def make_site(make_settings: Callable[..., ApiSettings], monkeypatch: pytest.MonkeyPatch) -> MakeSite:
    """Maker of running APIs."""
    # Freezing the garbage of hundreds of applications would keep all of it.
    monkeypatch.setattr("cell_monitor_api.main.tune_gc", lambda: None)
    # On a busy machine a read takes longer than ingest waits for it: a test of that limit sets it.
    monkeypatch.setitem(Notices.__init__.__kwdefaults__, "budget_s", 30.0)

    @asynccontextmanager
    async def make(**changes: Any) -> AsyncIterator[Site]:
        settings = make_settings(**changes)
        fast_path = create_app(settings)
        assert isinstance(fast_path, IngestFastPath)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(fast_path.app.router.lifespan_context(fast_path.app))
            client, reference = [
                await stack.enter_async_context(
                    httpx.AsyncClient(
                        transport=httpx.ASGITransport(app, client=("192.0.2.7", 4711)), base_url="http://api.test"
                    )
                )
                for app in (fast_path, fast_path.app)
            ]
            yield Site(fast_path, settings, client, reference)

    return make


@pytest.fixture
async def site(make_site: MakeSite) -> AsyncIterator[Site]:
    """A running API."""
    async with make_site() as made:
        yield made


@pytest.fixture
def environment(database: str, valkey: str, secrets: SampleSecrets) -> dict[str, str]:
    """Settings of an API as a process, over the same stores as ``site``."""
    return {
        "CELL_MONITOR_API_PORT": str(free_port()),
        "CELL_MONITOR_REDIS_URL": valkey,
        "CELL_MONITOR_DATABASE_URL": database,
        **secrets.environment,
    }


@pytest.fixture
def make_process(environment: dict[str, str], tmp_path: Path) -> Callable[..., ServiceProcess]:
    """Maker of an API as a process, whose whole output is in its ``log_path``; any variable may be set otherwise."""

    def make(**changes: str) -> ServiceProcess:
        return ServiceProcess(
            "cell_monitor_api",
            # A worker's end would drop what it printed last.
            env=environment | {"PYTHONUNBUFFERED": "1"} | changes,
            port=int(environment["CELL_MONITOR_API_PORT"]),
            log_path=tmp_path / "api.log",
        )

    return make


MakeEvent = Callable[..., dict[str, Any]]


@pytest.fixture
def make_event() -> MakeEvent:
    """Maker of valid events; anything may be set otherwise, ``None`` leaves a field out."""

    def make(kind: str = "cell_selected", **changes: Any) -> dict[str, Any]:
        event: dict[str, Any] = {
            "event_id": new_event_id(),
            "type": kind,
            "schema_version": 1,
            "occurred_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "session_id": str(uuid4()),
            "seq": 1,
            "notebook": {"id": "nb-1", "path": "week1/exercises.ipynb", "title": "Exercises"},
            "cell": {"id": "c1", "source_id": "exercise-1", "index": 3, "type": "code", "heading": "Exercise 1"},
            "data": {
                "cell_executed": {
                    "execution_id": str(uuid4()),
                    "execution_count": 4,
                    "status": "ok",
                    "duration_ms": 12,
                    "code": "print(1)",
                    "outputs": [{"type": "stream", "name": "stdout", "text": "1\n", "size": 2}],
                },
                "heartbeat": {"queued": 0, "dropped": 0, "visible": True},
                "help_requested": {"message": "I am lost"},
            }.get(kind, {}),
        }
        event.update(changes)
        return {name: value for name, value in event.items() if value is not None}

    return make
