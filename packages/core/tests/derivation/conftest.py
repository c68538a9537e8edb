"""Traffic as stream records, and a database with a course."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres import courses, pool
from cell_monitor_testing.keys import SampleSecrets
from cell_monitor_testing.people import add_students
from cell_monitor_testing.traffic import class_traffic

START = datetime.now(UTC) - timedelta(hours=2)


@pytest.fixture
def keyring(secrets: SampleSecrets) -> KeyRing:
    return KeyRing.from_json(secrets.encryption_keys)


@pytest.fixture
async def db(database: str) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
    connections = await pool.create_pool(database, application_name="test", min_size=1, max_size=6)
    for course in ("c1", "c2"):
        await courses.create(connections, course, course.upper())
        await add_students(connections, course, (uuid.UUID(int=number) for number in range(200)))
        await add_students(connections, course, (person_of(f"traffic-{number:03d}") for number in range(20)))
    yield connections
    await connections.close()


def person_of(username: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_DNS, username)


@pytest.fixture
def traffic() -> Callable[..., list[StreamRecord]]:
    """Records of a class, student after student, in the order in which things happened."""

    def make(*, students: int, events: int, course: str = "c1", seed: int = 1) -> list[StreamRecord]:
        return [
            StreamRecord(
                person_of(student.username).bytes,
                course,
                int(datetime.now(UTC).timestamp() * 1000),
                json.dumps(event, ensure_ascii=False).encode(),
            )
            for student in class_traffic(students=students, events=events, course=course, seed=seed, start=START)
            for event in student.events
        ]

    return make
