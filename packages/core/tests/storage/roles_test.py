"""Least privilege: what each service's role cannot do, whatever happens to the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from cell_monitor_core.storage.postgres import accounts, api_keys, course_counters, failed_events, help_requests, people
from cell_monitor_core.storage.postgres.migrations import check_schema, migrate
from cell_monitor_core.storage.postgres.pool import connect
from cell_monitor_core.storage.postgres.time_series import PostgresTimeSeries


@pytest.fixture(params=["api", "worker"])
async def either(request, database) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, application_name="test")
    await connection.execute(f"SET ROLE cell_monitor_{request.param}")
    yield connection
    await connection.close()


@pytest.fixture
async def api(database) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, application_name="test")
    await connection.execute("SET ROLE cell_monitor_api")
    yield connection
    await connection.close()


@pytest.fixture
async def worker(database) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, application_name="test")
    await connection.execute("SET ROLE cell_monitor_worker")
    yield connection
    await connection.close()


FACTS = ["events", "event_keys", "event_payloads", "help_actions"]


@pytest.mark.parametrize("table", FACTS)
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}", "ALTER TABLE {} ADD x int"])
async def test_neither_service_can_delete_facts(either, table, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await either.execute(statement.format(table))


async def test_neither_service_can_change_facts(either):
    for statement in ("UPDATE events SET seq = 1", "UPDATE help_actions SET action = 'claim'"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await either.execute(statement)


async def test_the_api_cannot_forge_events(api):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await api.execute("INSERT INTO events (event_id) VALUES ($1)", uuid4())


async def test_the_api_cannot_delete_entries_of_the_outbox(api):
    for statement in ("DELETE FROM help_outbox", "UPDATE help_outbox SET course_id = 'c'", "SELECT * FROM help_outbox"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute(statement)


@pytest.mark.parametrize("table", ["local_accounts", "people", "api_keys", "sign_ins"])
async def test_the_worker_cannot_read_people_or_secrets(worker, table):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await worker.execute(f"SELECT * FROM {table}")


async def test_the_worker_cannot_change_who_belongs_to_a_course(worker):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await worker.execute("DELETE FROM memberships")


async def test_each_can_do_its_work(api, worker, keyring, index, minutes):
    await check_schema(api)
    await check_schema(worker)
    person = await people.upsert(api, keyring, index, username="ann", display_name="Ann")
    await accounts.set_password(api, person, "hash")
    key, _ = await api_keys.create(api, name="k", scopes=[], expires_at=minutes(0) + timedelta(days=9999))
    assert await api_keys.revoke(api, key.key_id)
    await api.execute("INSERT INTO courses (course_id, title) VALUES ('c1', 'C')")
    await help_requests.insert_action(api, uuid4(), "c1", "claim", person)
    await course_counters.read_counters(api, ["c1"])
    record = failed_events.FailedRecord("postgres", 0, "1-0", 0, "r", "d", b"x")
    assert await failed_events.insert(worker, keyring, [record]) == 1
    await worker.execute("INSERT INTO student_states (course_id, person_id) VALUES ('c1', $1)", person)
    await worker.execute("DELETE FROM student_states")
    await PostgresTimeSeries(worker).write([])
    assert await PostgresTimeSeries(api).count("c1") == 0


async def test_rights_given_by_hand_are_taken_back_by_the_next_migration(database, worker):
    owner = await connect(database, application_name="test")
    await owner.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO cell_monitor_worker")
    await worker.execute("SELECT * FROM local_accounts")
    await migrate(database)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await worker.execute("SELECT * FROM local_accounts")
    await owner.close()
