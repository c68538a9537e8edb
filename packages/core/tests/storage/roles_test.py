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
async def worker(database) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, application_name="test")
    await connection.execute("SET ROLE cell_monitor_worker")
    yield connection
    await connection.close()


# Typed by hand, never computed from core's own table: S, I, U, D are select, insert, update, delete; a column's name:
# only that column may be selected.
PRIVILEGES = """
                api   worker
schema_version  S     S
courses         SIUD  S
people          SIUD  person_id
local_accounts  SIUD  -
identities      SI    -
join_codes      SIUD  -
joined_computers SIU  -
memberships     SIU   S
course_members  S     S
course_links    SID   -
group_properties SIUD -
group_readings  SIU   -
sign_ins        SIUD  -
hub_sessions    SIUD  -
sign_in_links   SIUD  -
revocations     SIUD  -
api_keys        SIUD  -
events          S     SI
event_keys      S     SI
event_payloads  S     SI
executions      S     S
derivation_keys -     SI
help_actions    SI    SI
help_outbox     I     SID
student_states  SIU   SIUD
help_requests   SIU   SIUD
course_versions SIU   SIUD
cell_states     S     SIUD
session_states  S     SIUD
time_series     S     SIUD
failed_events   S     SIUD
audit_entries   SI    -
erasures        -     -
opaque_outbox   -     SIUD
"""

_RELATIONS = """
SELECT c.relname AS name,
       concat(CASE WHEN has_table_privilege($1, c.oid, 'SELECT') THEN 'S' END,
              CASE WHEN has_table_privilege($1, c.oid, 'INSERT') THEN 'I' END,
              CASE WHEN has_table_privilege($1, c.oid, 'UPDATE') THEN 'U' END,
              CASE WHEN has_table_privilege($1, c.oid, 'DELETE') THEN 'D' END,
              CASE WHEN has_table_privilege($1, c.oid, 'TRUNCATE, REFERENCES, TRIGGER') THEN '!' END) AS whole,
       (SELECT string_agg(a.attname, ',' ORDER BY a.attnum) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attacl IS NOT NULL
           AND has_column_privilege($1, c.oid, a.attnum, 'SELECT, INSERT, UPDATE, REFERENCES')) AS columns
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND NOT c.relispartition
"""


async def test_each_service_has_these_rights_on_each_table_and_no_others(pool):
    head, *lines = PRIVILEGES.strip().splitlines()
    expected = {line.split()[0]: dict(zip(head.split(), line.split()[1:], strict=True)) for line in lines}
    for service in head.split():
        rows = await pool.fetch(_RELATIONS, f"cell_monitor_{service}")
        found = {row["name"]: row["whole"] or row["columns"] or "-" for row in rows}
        assert found == {table: rights[service] for table, rights in expected.items()}


async def test_partitions_are_open_to_no_service_by_themselves(pool):
    for service in ("api", "worker"):
        open_ones = await pool.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relispartition "
            "AND relkind = 'r' AND has_table_privilege($1, oid, 'SELECT, INSERT, UPDATE, DELETE')",
            f"cell_monitor_{service}",
        )
        assert open_ones == []


async def test_who_may_call_what_runs_with_the_owners_rights(pool):
    rows = await pool.fetch(
        "SELECT p.proname, has_function_privilege('cell_monitor_api', p.oid, 'EXECUTE') AS api, "
        "has_function_privilege('cell_monitor_worker', p.oid, 'EXECUTE') AS worker, "
        "p.proconfig FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef"
    )
    # A name in such a function means this schema's table, whatever the caller's search path says.
    for row in rows:
        assert any(setting.startswith("search_path=public, pg_temp") for setting in row["proconfig"] or ()), row
    assert {row["proname"]: (row["api"], row["worker"]) for row in rows} == {
        "ensure_event_partitions": (False, True),
        "derive_opaque_facts": (False, True),
        "record_refused_sign_in": (True, False),
        "delete_audit_entries": (False, True),
    }


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


async def test_the_api_may_mark_a_failed_event_as_replayed_and_change_nothing_else_of_it(api):
    await api.execute("UPDATE failed_events SET replayed_at = now()")
    for statement in (
        "UPDATE failed_events SET course_id = 'c'",
        "UPDATE failed_events SET record_enc = ''",
        "DELETE FROM failed_events",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute(statement)


async def test_the_api_cannot_delete_entries_of_the_outbox(api):
    for statement in ("DELETE FROM help_outbox", "UPDATE help_outbox SET course_id = 'c'", "SELECT * FROM help_outbox"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute(statement)


@pytest.mark.parametrize("table", ["local_accounts", "people", "api_keys", "sign_ins", "hub_sessions"])
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
