"""A pool on a fresh database, keys, and makers of the rows that several tests need."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from cell_monitor.embedded.postgres import EmbeddedPostgres
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.storage.postgres.pool import connect
from cell_monitor_testing.servers import run_apart, running_postgres

_OWNED_SCHEMA = """
CREATE ROLE monitor_owner LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB PASSWORD 'pw';
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA monitor AUTHORIZATION monitor_owner;
CREATE TABLE monitor.belongs_to_others (nothing int);
CREATE SCHEMA others;
CREATE TABLE others.schema_version (nothing int);
"""
START = datetime(2026, 4, 1, 9, tzinfo=UTC)


@pytest.fixture
def make_id() -> Callable[[datetime], UUID]:
    """A UUIDv7 of a moment.

    Drawn from a seed: of 300 points of one millisecond two meet in one run of twenty where their ids are random.
    """
    drawn = random.Random(1)

    def make(at: datetime) -> UUID:
        milliseconds = int(at.timestamp() * 1000)
        bits = drawn.getrandbits(80)
        return UUID(int=milliseconds << 80 | 7 << 76 | (bits >> 68 & 0xFFF) << 64 | 0b10 << 62 | bits & (1 << 62) - 1)

    return make


@pytest.fixture
def add_run(pool: asyncpg.Pool, keyring: KeyRing, make_id: Callable[[datetime], UUID]) -> Callable[..., Any]:
    """Store one event of a cell as the worker would: a run unless ``type`` says otherwise."""

    async def add(
        person_id: UUID,
        *,
        course_id: str = "c1",
        at: datetime = START,
        cell: str = "cell-1",
        status: str = "ok",
        duration_ms: int | None = 10,
        kind: str = "cell_executed",
        test_id: str | None = None,
    ) -> UUID:
        event_id, stored_at = make_id(at), datetime.now(UTC)
        payload: dict[str, Any] = {
            "notebook": {"id": "n1", "path": "week1.ipynb", "title": "Week 1"},
            "cell": {"id": "x", "source_id": cell, "index": 3, "type": "code"},
            "data": {
                "code": f"print('{cell}')",
                "outputs": [{"type": "stream", "name": "stdout", "text": cell, "size": 6, "later": True}],
                "status": status,
            },
        }
        if status == "error":
            payload["data"]["error"] = {"name": "NameError", "value": "x", "traceback": "Traceback"}
        fact = {key: payload[key] for key in ("notebook", "cell")} | {
            "at": int(at.timestamp() * 1000), "id": str(event_id), "type": kind, "session": str(uuid4()), "seq": 1,
            "status": status, "duration_ms": duration_ms, "execution_count": 7,
            "error": {"name": "NameError"} if status == "error" else None,
        }  # fmt: skip
        await pool.execute(
            "INSERT INTO events VALUES ($13, $1, $2, $3, $4, $5, 1, $6, $6, 'n1', $7, $8, $9, $10, 7, $11, $12)",
            person_id,
            event_id,
            kind,
            course_id,
            uuid4(),
            at,
            cell,
            status,
            "NameError" if status == "error" else None,
            duration_ms,
            fact,
            test_id,
            stored_at,
        )
        await pool.execute("INSERT INTO event_keys VALUES ($1, $2, $3)", person_id, event_id, stored_at)
        await pool.execute(
            "INSERT INTO event_payloads VALUES ($1, $2, $3, $4)",
            stored_at,
            person_id,
            event_id,
            keyring.encrypt(
                msgspec.json.encode(payload), context="events.payload", row=person_id.bytes + event_id.bytes
            ),
        )
        return event_id

    return add


@pytest.fixture
def minutes() -> Callable[[float], datetime]:
    """A moment, so many minutes after the tests' lesson began."""
    return lambda count: START + timedelta(minutes=count)


@pytest.fixture
async def api(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the rights of the API."""
    connection = await connect(database, application_name="test")
    await connection.execute("SET ROLE cell_monitor_api")
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def managed_server() -> Iterator[EmbeddedPostgres]:
    """A server of somebody else, on which the two group roles do not exist; ``dsn`` is its administrator's."""
    with running_postgres("managed") as server:
        run_apart(lambda: _execute(server.dsn, _OWNED_SCHEMA))
        yield server


@pytest.fixture(scope="module")
def owned_schema(managed_server: EmbeddedPostgres) -> str:
    """The URL of a login on that server that owns the schema ``monitor`` and may create no roles."""
    return f"postgresql://monitor_owner:pw@127.0.0.1:{managed_server.port}/cell_monitor?options=-csearch_path%3Dmonitor"


async def _execute(dsn: str, sql: str) -> None:
    connection = await connect(dsn, application_name="test")
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
