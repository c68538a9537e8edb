"""Hazard: the token of an API key allows less or more than the key's scopes, in the API or in the gateway."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from cell_monitor.embedded.process import free_port
from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.storage.postgres import api_keys, courses, memberships, people
from cell_monitor_core.storage.postgres.people import NewPerson
from cell_monitor_core.storage.postgres.pool import create_pool
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.processes import ServiceProcess

pytestmark = pytest.mark.timeout(280)


class Watcher:
    """One open connection to the gateway."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._id = 0

    async def request(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return its reply."""
        self._id += 1
        await self._socket.send(json.dumps({"type": kind, "id": self._id, **fields}))
        return await self.frame(lambda frame: frame.get("id") == self._id)

    async def frame(self, wanted: Any) -> dict[str, Any]:
        """Return the next frame of a type."""
        async with asyncio.timeout(60):
            while True:
                frame: dict[str, Any] = json.loads(await self._socket.recv())
                if wanted(frame):
                    return frame

    async def publication(self) -> dict[str, Any]:
        """Return the next publication."""
        frame = await self.frame(lambda frame: frame["type"] == "publications")
        return dict(frame["publications"][0])


@dataclass
class Stack:
    """API, worker and gateway. ann is a student and ivy an instructor of c1; c2 has no members."""

    db: Any
    api: httpx.AsyncClient
    gateway: str
    people: dict[str, UUID]
    exits: AsyncExitStack

    async def key(self, *scopes: str, person: str | None = None) -> str:
        """Create an API key."""
        _, text = await api_keys.create(
            self.db,
            name="test",
            scopes=scopes,
            expires_at=datetime.now(UTC) + timedelta(days=1),
            person_id=None if person is None else self.people[person],
        )
        return text

    async def token(self, key: str, audience: str) -> str:
        """Exchange a key for a token."""
        answer = await self.api.post(
            "/api/v1/auth/token", json={"audience": audience}, headers={"authorization": f"ApiKey {key}"}
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def watch(self, key: str) -> Watcher:
        """Connect to the gateway with the token of a key."""
        socket = await self.exits.enter_async_context(
            connect(self.gateway, subprotocols=[Subprotocol("cell-monitor.v1")], proxy=None)
        )
        watcher = Watcher(socket)
        reply = await watcher.request("connect", token=await self.token(key, "gateway"))
        assert reply["type"] == "connected", reply
        return watcher

    async def send(self, key: str, path: str) -> str:
        """Send an event with the token of a key; return the event's id."""
        event = {
            "event_id": new_event_id(),
            "type": "session_started",
            "schema_version": 1,
            "occurred_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "session_id": str(uuid4()),
            "seq": 1,
            "notebook": {"id": "n1", "path": "n1.ipynb"},
            "data": {"client": {"extension_version": "1.0.0"}},
        }
        headers = {"authorization": f"Bearer {await self.token(key, 'ingest')}"}
        answer = await self.api.post(path, json={"events": [event]}, headers=headers)
        assert [result["status"] for result in answer.json()["results"]] == ["accepted"], answer.text
        return str(event["event_id"])


@pytest.fixture
async def stack(database: str, valkey: str, secrets: SampleSecrets, tmp_path: Path) -> AsyncIterator[Stack]:
    async with AsyncExitStack() as exits:
        db = await create_pool(database, application_name="test", max_size=2)
        exits.push_async_callback(db.close)
        index = BlindIndex(base64.b64decode(secrets.index_key))
        names = ["ann", "ivy"]
        ids = await people.upsert_many(
            db, KeyRing.from_json(secrets.encryption_keys), index, [NewPerson(name) for name in names]
        )
        for course_id in ("c1", "c2"):
            await courses.create(db, course_id, "Course")
        await memberships.upsert_many(db, "c1", dict(zip(ids, ["student", "instructor"], strict=True)))

        def service(kind: str, **settings: str) -> ServiceProcess:
            port = free_port()
            env = {f"CELL_MONITOR_{key}": value for key, value in settings.items()}
            env |= {"CELL_MONITOR_REDIS_URL": valkey, f"CELL_MONITOR_{kind.upper()}_PORT": str(port)}
            made = ServiceProcess(f"cell_monitor_{kind}", env=env, port=port, log_path=tmp_path / f"{kind}.log")
            exits.callback(made.kill)
            made.launch()
            return made

        keys = {"ENCRYPTION_KEYS": secrets.encryption_keys, "INDEX_KEY": secrets.index_key}
        api = service(
            "api",
            DATABASE_URL=f"{database}?role=cell_monitor_api",
            SIGNING_KEYS=secrets.signing_keys,
            TEST_MODE="true",
            **keys,
        )
        worker = service("worker", DATABASE_URL=f"{database}?role=cell_monitor_worker", **keys)
        gateway = service("gateway", JWKS_URL=f"{api.url}/api/v1/auth/jwks.json")
        for each in (api, worker, gateway):
            await each.wait_ready(timeout=60)
        client = await exits.enter_async_context(httpx.AsyncClient(base_url=api.url, timeout=60, trust_env=False))
        url = gateway.url.replace("http:", "ws:") + "/ws"
        yield Stack(db, client, url, dict(zip(names, ids, strict=True)), exits)


async def test_a_key_for_tests_can_watch_tests_and_no_course(stack: Stack) -> None:
    for key in (await stack.key("test:write"), await stack.key("test:write", person="ivy")):
        watcher = await stack.watch(key)
        assert (await watcher.request("subscribe", channel="test:run-1"))["type"] == "subscribed"
        event_id = await stack.send(key, "/api/v1/test/events/run-1")
        publication = await watcher.publication()
        assert (publication["kind"], publication["state"]["event_id"]) == ("test", event_id)
        # ivy may read c1 when she signs in, but her key has no scope for it.
        for kind in ("subscribe", "presence"):
            assert (await watcher.request(kind, channel="course:c1"))["error"]["type"] == "permission_denied"


async def test_a_service_with_courses_read_can_watch_every_course_and_no_test(stack: Stack) -> None:
    watcher = await stack.watch(await stack.key("courses:read"))
    for course_id in ("c1", "c2"):
        assert (await watcher.request("subscribe", channel=f"course:{course_id}"))["type"] == "subscribed"
    await stack.send(await stack.key("events:write", person="ann"), "/api/v1/events")
    publication = await watcher.publication()
    assert publication["channel"] == "course:c1"
    assert (await watcher.request("subscribe", channel="test:run-1"))["error"]["type"] == "permission_denied"


async def test_a_persons_key_with_courses_read_can_watch_that_persons_courses_only(stack: Stack) -> None:
    ivy = await stack.watch(await stack.key("courses:read", person="ivy"))
    ann = await stack.watch(await stack.key("courses:read", person="ann"))
    assert (await ivy.request("subscribe", channel="course:c1"))["type"] == "subscribed"
    assert (await ivy.request("subscribe", channel="course:c2"))["error"]["type"] == "permission_denied"
    assert (await ann.request("subscribe", channel="course:c1"))["error"]["type"] == "permission_denied"
