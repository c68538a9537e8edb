"""Real worker processes with PostgreSQL, Valkey, courses and queued events."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from cell_monitor.embedded.process import free_port
from cell_monitor_core.channels import course_channel
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.records import StreamRecord, encode_record
from cell_monitor_core.redis_client import aclose, connect
from cell_monitor_core.storage.postgres import courses, pool
from cell_monitor_core.streams.consumer import RedisEventConsumer
from cell_monitor_core.streams.producer import RedisEventProducer
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.people import add_students
from cell_monitor_testing.processes import ServiceProcess
from cell_monitor_testing.traffic import class_traffic
from cell_monitor_worker.config import WorkerSettings

COURSES = ("c1", "c2", "c3")


@dataclass
class Stage:
    """The stores, the event log and the worker processes of a test."""

    dsn: str
    redis_url: str
    secrets: SampleSecrets
    keyring: KeyRing
    db: asyncpg.Pool[asyncpg.Record]
    redis: Any
    producer: RedisEventProducer
    log: RedisEventConsumer
    folder: Path
    partitions: int = 4
    workers: list[ServiceProcess] = field(default_factory=list)

    def settings(self, **changes: Any) -> WorkerSettings:
        """Return the settings of a worker in this process."""
        return WorkerSettings(
            redis_url=SecretStr(self.redis_url),
            partitions=self.partitions,
            database_url=SecretStr(self.dsn),
            encryption_keys=SecretStr(self.secrets.encryption_keys),
            **{"worker_reclaim_idle_s": 0.5, **changes},
        )

    def worker(self, **changes: str) -> ServiceProcess:
        """Return a worker process that is not started."""
        port = free_port()
        env = {
            "REDIS_URL": self.redis_url,
            "PARTITIONS": str(self.partitions),
            "DATABASE_URL": self.dsn,
            "ENCRYPTION_KEYS": self.secrets.encryption_keys,
            "WORKER_PORT": str(port),
            "WORKER_RECLAIM_IDLE_S": "1",
            "WORKER_TRIM_INTERVAL_S": "0.5",
            "WORKER_LAG_INTERVAL_S": "0.5",
            **changes,
        }
        process = ServiceProcess(
            "cell_monitor_worker",
            env={f"CELL_MONITOR_{name}": value for name, value in env.items()},
            port=port,
            log_path=self.folder / f"worker-{len(self.workers)}.log",
        )
        self.workers.append(process)
        return process

    async def queue(self, records: list[StreamRecord], *, each: int = 40, repeated: bool = False) -> None:
        """Append records; ``repeated`` bypasses the log's deduplication, as a retry after minutes does."""
        for start in range(0, len(records), each):
            by_course: dict[str, list[tuple[bytes, bytes]]] = {}
            for record in records[start : start + each]:
                event_id = uuid.uuid4() if repeated else uuid.UUID(json.loads(record.event)["event_id"])
                by_course.setdefault(record.course_id, []).append((event_id.bytes, encode_record(record)))
            for course, items in by_course.items():
                await self.producer.append(course_channel(course), items)

    async def queue_raw(self, channel: str, record: bytes) -> None:
        """Append a record that no API would let through."""
        await self.producer.append(channel, [(uuid.uuid4().bytes, record)])

    async def stored(self) -> int:
        """Return the number of events in PostgreSQL."""
        return int(await self.db.fetchval("SELECT count(*) FROM events"))

    async def in_series(self) -> int:
        """Return the number of points of the time series."""
        return int(await self.db.fetchval("SELECT count(*) FROM time_series"))

    async def waiting(self, *groups: str) -> int:
        """Return the number of entries that groups have not acknowledged."""
        counts = [
            (await self.log.lag(partition, group))[0]
            for partition in range(self.partitions)
            for group in groups or ("postgres", "influxdb")
        ]
        return sum(counts)

    async def until(self, done: Callable[[], Awaitable[bool]], what: str, *, timeout: float = 60.0) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + timeout
        while not await done():
            if time.monotonic() > deadline:
                logs = "\n".join(worker.log for worker in self.workers)
                raise AssertionError(f"not within {timeout:.0f} s: {what}\n{logs}")
            await asyncio.sleep(0.05)

    async def until_drained(self, *groups: str, timeout: float = 90.0) -> None:
        """Wait until groups have acknowledged all entries."""

        async def done() -> bool:
            return await self.waiting(*groups) == 0

        await self.until(done, "the stream is drained", timeout=timeout)


def person_of(course: str, username: str) -> uuid.UUID:
    """Return the same id for the same names. Its version is that of people: version 5 is a service's (``owners``)."""
    digest = hashlib.blake2b(f"{course}-{username}".encode(), digest_size=16).digest()
    return uuid.UUID(bytes=digest, version=4)


async def make_stage(dsn: str, redis_url: str, secrets: SampleSecrets, folder: Path) -> AsyncIterator[Stage]:
    db = await pool.create_pool(dsn, application_name="test", max_size=4)
    for course in COURSES:
        await courses.create(db, course, course.upper())
        await add_students(db, course, (person_of(course, f"traffic-{number:03d}") for number in range(40)))
        await add_students(db, course, (uuid.UUID(int=number) for number in range(1, 20)))
    redis = connect(redis_url, name="test")
    stage = Stage(
        dsn, redis_url, secrets, KeyRing.from_json(secrets.encryption_keys), db, redis,
        RedisEventProducer(redis, partitions=4),
        RedisEventConsumer(redis, connect(redis_url, name="test-reads", blocking=True), partitions=4), folder,
    )  # fmt: skip
    await stage.log.ensure_groups()
    try:
        yield stage
    finally:
        for worker in stage.workers:
            worker.kill()
        await stage.producer.aclose()
        await aclose(stage.log._blocking_client)
        await aclose(redis)
        await db.close()


@pytest.fixture
async def stage(database: str, valkey: str, secrets: SampleSecrets, tmp_path: Path) -> AsyncIterator[Stage]:
    async for made in make_stage(database, valkey, secrets, tmp_path):
        yield made


@pytest.fixture(params=["valkey", "valkey_cluster"])
def any_redis(request: pytest.FixtureRequest) -> str:
    """Stages on a single server and on a Cluster of three masters."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
async def any_stage(database: str, any_redis: str, secrets: SampleSecrets, tmp_path: Path) -> AsyncIterator[Stage]:
    async for made in make_stage(database, any_redis, secrets, tmp_path):
        yield made


@pytest.fixture
def traffic() -> Callable[..., list[StreamRecord]]:
    """Shuffled records of classes in several courses."""

    def make(*, students: int, events: int, seed: int = 1, shuffled: bool = True) -> list[StreamRecord]:
        start = datetime.now(UTC) - timedelta(hours=2)
        records = [
            StreamRecord(
                person_of(course, student.username).bytes,
                course,
                int(datetime.now(UTC).timestamp() * 1000),
                json.dumps(event, ensure_ascii=False).encode(),
            )
            for number, course in enumerate(COURSES)
            for student in class_traffic(
                students=students, events=events // len(COURSES), course=course, seed=seed * 10 + number, start=start
            )
            for event in student.events
        ]
        if shuffled:
            random.Random(seed).shuffle(records)
        return records

    return make
