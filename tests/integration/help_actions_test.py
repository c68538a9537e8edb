"""Hazard: open dashboards do not show an action on a help request, because the API was killed after the commit."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest

from cell_monitor.embedded.process import free_port
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.signing_keys import SigningKeys
from cell_monitor_core.auth.tokens import TokenIssuer
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.derivation.help import help_request_id
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres import courses, memberships, people
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.people import NewPerson
from cell_monitor_core.storage.postgres.pool import create_pool
from cell_monitor_testing.fault_proxy import FaultProxy
from cell_monitor_testing.keys import NEWEST_GENERATION, SampleSecrets
from cell_monitor_testing.live_client import LiveClient
from cell_monitor_testing.processes import ServiceProcess

pytestmark = [pytest.mark.resilience, pytest.mark.timeout(280)]


async def until(done: Callable[[], Awaitable[bool]], what: str, *, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not await done():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        await asyncio.sleep(0.02)


@dataclass
class Desk:
    """Two API processes of which a test kills one, a worker, a gateway and an open dashboard.

    Only the API that is killed and the worker use proxies to Redis. The gateway never loses Redis, so it never makes the
    dashboard fetch a snapshot.
    """

    db: Any
    killed: ServiceProcess
    killed_redis: FaultProxy
    worker: ServiceProcess
    worker_redis: FaultProxy
    screen: LiveClient
    request_id: str
    student_id: str
    headers: dict[str, str]

    async def act(self, action: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.killed.url, timeout=60, trust_env=False) as client:
            return await client.post(f"/api/v1/courses/c1/help/{self.request_id}/{action}", headers=self.headers)

    async def until_committed(self, status: str) -> None:
        async def committed() -> bool:
            return bool(await self.db.fetchval("SELECT status = $1 FROM help_requests", status))

        await until(committed, f"the request is {status} in PostgreSQL")

    async def until_shown(self, status: str, *, help_open: int) -> None:
        """Wait until the client's help request, student row and counters have the status."""

        async def shown() -> bool:
            self.screen.check()
            ref = self.screen.students[self.student_id]["help"]
            return (
                self.screen.help[self.request_id]["status"] == status
                and (None if ref is None else ref["status"]) == (status if help_open else None)
                and self.screen.counters["help_open"] == help_open
            )

        await until(shown, f"the screen shows {status}")
        # Received as publications, not by a snapshot.
        assert (self.screen.snapshots, self.screen.closes) == (1, [])

        async def settled() -> bool:
            return await self.db.fetchval("SELECT count(*) FROM help_outbox") == 0

        await until(settled, "the outbox is empty")


@pytest.fixture
async def desk(database: str, valkey: str, secrets: SampleSecrets, tmp_path: Path) -> AsyncIterator[Desk]:
    keyring = KeyRing.from_json(secrets.encryption_keys)
    async with AsyncExitStack() as stack:
        db = await create_pool(database, application_name="test", max_size=2)
        stack.push_async_callback(db.close)
        await courses.create(db, "c1", "Course")
        index = BlindIndex(base64.b64decode(secrets.index_key))
        ann, ivy = await people.upsert_many(db, keyring, index, [NewPerson("ann"), NewPerson("ivy")])
        await memberships.upsert_many(db, "c1", {ann: "student", ivy: "instructor"})
        event_id = new_event_id()
        await PostgresFactStore(db, keyring).apply([_request(ann.bytes, event_id)])
        request_id = str(help_request_id(ann, UUID(event_id)))

        killed_redis = await stack.enter_async_context(FaultProxy(urlsplit(valkey).port or 6379))
        worker_redis = await stack.enter_async_context(FaultProxy(urlsplit(valkey).port or 6379))

        def service(name: str, redis_url: str, **settings: str) -> ServiceProcess:
            kind = name.partition("-")[0]
            port = free_port()
            own = {f"CELL_MONITOR_{key}": value for key, value in settings.items()}
            base = {"CELL_MONITOR_REDIS_URL": redis_url, f"CELL_MONITOR_{kind.upper()}_PORT": str(port)}
            made = ServiceProcess(f"cell_monitor_{kind}", env=base | own, port=port, log_path=tmp_path / f"{name}.log")
            stack.callback(made.kill)
            return made

        def through(proxy: FaultProxy) -> str:
            userinfo, at, _ = urlsplit(valkey).netloc.rpartition("@")
            return urlsplit(valkey)._replace(netloc=f"{userinfo}{at}127.0.0.1:{proxy.port}").geturl()

        keys = {"ENCRYPTION_KEYS": secrets.encryption_keys, "INDEX_KEY": secrets.index_key}
        api = {"DATABASE_URL": f"{database}?role=cell_monitor_api", "SIGNING_KEYS": secrets.signing_keys, **keys}
        killed = service("api-killed", through(killed_redis), **api)
        other = service("api-other", valkey, **api)
        worker = service("worker", through(worker_redis), DATABASE_URL=f"{database}?role=cell_monitor_worker", **keys)
        gateway = service("gateway", valkey, JWKS_URL=f"{other.url}/api/v1/auth/jwks.json")
        for each in (killed, other, worker, gateway):
            each.launch()
        for each in (killed, other, worker, gateway):
            await each.wait_ready(timeout=60)

        issuer = TokenIssuer(SigningKeys.load(secrets.signing_keys))
        token, _ = issuer.issue(
            grant=Grant.SESSION,
            person_id=str(ivy),
            audience=["api", "gateway"],
            courses={"c1": "instructor"},
            generation=NEWEST_GENERATION,
        )

        async def give() -> str:
            return token

        screen = await stack.enter_async_context(
            LiveClient(api=other.url, gateway=gateway.url.replace("http:", "ws:") + "/ws", course_id="c1", token=give)
        )
        async with asyncio.timeout(60):
            await screen.live.wait()
        yield Desk(
            db, killed, killed_redis, worker, worker_redis, screen, request_id, str(ann),
            {"authorization": f"Bearer {token}"},
        )  # fmt: skip


def _request(person: bytes, event_id: str) -> StreamRecord:
    now = datetime.now(UTC)
    event = {
        "event_id": event_id,
        "type": "help_requested",
        "schema_version": 1,
        "occurred_at": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "session_id": str(uuid4()),
        "seq": 1,
        "notebook": {"id": "n1", "path": "n1.ipynb"},
        "data": {"message": "why?"},
    }
    return StreamRecord(person, "c1", int(now.timestamp() * 1000), json.dumps(event).encode())


async def test_a_claim_is_shown_although_its_api_is_killed_between_commit_and_publication(desk: Desk) -> None:
    # Redis receives nothing more from the process that is killed.
    desk.killed_redis.drop("up")
    claiming = asyncio.create_task(desk.act("claim"))
    await desk.until_committed("claimed")
    desk.killed.kill()
    await asyncio.gather(claiming, return_exceptions=True)
    await desk.until_shown("claimed", help_open=1)


async def test_a_resolution_is_shown_although_redis_was_unavailable_and_its_api_is_killed(desk: Desk) -> None:
    for proxy in (desk.killed_redis, desk.worker_redis):
        await proxy.cut()
    answer = await desk.act("resolve")
    assert (answer.status_code, answer.json()["published"]) == (200, False)
    desk.killed.kill()
    assert desk.screen.help[desk.request_id]["status"] == "open"
    await desk.worker_redis.heal()
    await desk.until_shown("resolved", help_open=0)


async def test_an_action_is_shown_when_a_worker_is_available_again(desk: Desk) -> None:
    desk.worker.kill()
    desk.killed_redis.drop("up")
    claiming = asyncio.create_task(desk.act("claim"))
    await desk.until_committed("claimed")
    desk.killed.kill()
    await asyncio.gather(claiming, return_exceptions=True)
    assert desk.screen.help[desk.request_id]["status"] == "open"
    desk.worker.launch()
    await desk.until_shown("claimed", help_open=1)
