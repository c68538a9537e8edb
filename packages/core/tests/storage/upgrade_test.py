"""Hazard: a class that ran on the old schema loses something when it is migrated.

``class_at_schema_4.json`` was written by the last release with schema version 4: a small class with runs, errors, requests
for help, a test event, a failed event and time series, half of its events received a month after they happened.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from cell_monitor_core.crypto import BlindIndex, KeyRing
from cell_monitor_core.derivation.help import help_request_id
from cell_monitor_core.publications import ErrorRef
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres import event_rows, failed_events, help_queries, people, student_queries
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.migrations import load_migrations, migrate
from cell_monitor_core.storage.postgres.pool import create_pool
from cell_monitor_core.storage.postgres.rebuild import rebuild
from cell_monitor_core.storage.postgres.rotation import rotate
from cell_monitor_core.storage.postgres.time_series import PostgresTimeSeries

BEFORE: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "class_at_schema_4.json").read_text(encoding="utf-8")
)
INDEX = BlindIndex(b"i" * 32)
RING = KeyRing({"k1": b"k" * 32}, "k1")
ERROR = "division by zero in exercise"


@pytest.fixture
async def upgraded(empty_database: str) -> AsyncIterator[asyncpg.Pool]:
    """The class of before on the schema of now."""
    await migrate(empty_database, migrations=load_migrations()[:4])
    pool = await create_pool(empty_database, application_name="test", max_size=4)
    for table, rows in BEFORE.items():
        await pool.execute(
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1)",
            rows,
        )
    await pool.close()
    await migrate(empty_database, keys=(RING, INDEX))
    pool = await create_pool(empty_database, application_name="test", max_size=4)
    yield pool
    await pool.close()


def key_of(row: dict[str, Any]) -> tuple[UUID, UUID]:
    return UUID(row["person_id"]), UUID(row["event_id"])


def payload_of(row: dict[str, Any]) -> bytes:
    blob = bytes.fromhex(row["payload_enc"].removeprefix("\\x"))
    return RING.decrypt(blob, context="events.payload", row=b"")


def without_error_text(fact: dict[str, Any]) -> dict[str, Any]:
    return {**fact, "error": {"name": fact["error"]["name"]}} if "error" in fact else fact


async def test_every_event_is_there_with_its_fact_and_its_payload(upgraded: asyncpg.Pool) -> None:
    rows = await upgraded.fetch(
        "SELECT to_jsonb(e)::text AS row, k.stored_at = e.stored_at AND e.stored_at = e.received_at AS placed "
        "FROM events e JOIN event_keys k USING (person_id, event_id)"
    )
    after = {key_of(each): each for each in (json.loads(row["row"]) for row in rows)}
    assert len(rows) == len(after) == len(BEFORE["events"])
    assert all(row["placed"] for row in rows)
    for before in BEFORE["events"]:
        now = after[key_of(before)]
        assert now.pop("stored_at")
        assert now == {
            **{name: value for name, value in before.items() if name not in {"payload_enc", "occurred_at"}},
            # The sender's clock as it was: what is stored keeps its time.
            "happened_at": before["occurred_at"],
            "fact": without_error_text(before["fact"]),
        }
    payloads = await event_rows.payloads_of(upgraded, RING, after)
    assert payloads == {key_of(before): payload_of(before) for before in BEFORE["events"]}


async def test_what_derives_from_the_facts_is_what_it_was(upgraded: asyncpg.Pool) -> None:
    report = await rebuild(upgraded, RING, check=True)
    assert (report.differences, report.events) == ([], sum(row["test_id"] is None for row in BEFORE["events"]))
    states = {
        str(row["person_id"]): json.loads(row["state"])
        for row in await upgraded.fetch("SELECT person_id, state::text FROM student_states")
    }
    assert len(states) == len(BEFORE["student_states"])
    for before in BEFORE["student_states"]:
        shown, now = before["state"], states[before["person_id"]]
        if shown["help"] is not None:
            request_id = help_request_id(UUID(before["person_id"]), UUID(shown["help"]["request_id"]))
            shown = {**shown, "help": {**shown["help"], "request_id": str(request_id)}}
        if shown["last_execution"]["error"] is not None:
            run = shown["last_execution"]
            shown = {**shown, "last_execution": {**run, "error": {"name": run["error"]["name"]}}}
        # What it names in addition: the notebook of the run, and the cell of the run that goes on.
        facts = {row["event_id"]: row["fact"] for row in BEFORE["events"]}
        assert now["last_execution"].pop("notebook") == facts[now["last_execution"]["event_id"]]["notebook"]
        if shown["running_since"] is None:
            assert "running_cell" not in now
        else:
            assert now.pop("running_cell")["source_id"] in {fact["cell"]["source_id"] for fact in facts.values()}
            assert now.pop("running_notebook")["id"] in {fact["notebook"]["id"] for fact in facts.values()}
        assert now == shown


async def test_requests_for_help_keep_everything_under_the_servers_own_ids(upgraded: asyncpg.Pool) -> None:
    requests = {
        (UUID(state.student_id), state.request_id): state
        for list_ in (help_queries.list_active, help_queries.list_closed)
        for state in await list_(upgraded, RING, "c1")
    }
    assert len(requests) == len(BEFORE["help_requests"]) >= 3
    assert {state.status for state in requests.values()} >= {"claimed", "resolved", "cancelled"}
    for before in BEFORE["help_requests"]:
        person = UUID(before["person_id"])
        state = requests[person, str(help_request_id(person, UUID(before["request_id"])))]
        assert (state.status, state.version) == (before["status"], before["version"])
        assert (state.claimed_by, state.resolved_by) == (before["claimed_by"], before["resolved_by"])
        message = before["message_enc"]
        if message is not None:
            blob = bytes.fromhex(message.removeprefix("\\x"))
            assert state.message == RING.decrypt_text(blob, context="help.message", row=b"")
    assert await upgraded.fetchval("SELECT count(*) FROM help_actions JOIN help_requests USING (request_id)") == len(
        BEFORE["help_actions"]
    )


async def test_what_was_stored_before_is_a_duplicate_afterwards(upgraded: asyncpg.Pool) -> None:
    records = [
        StreamRecord(UUID(row["person_id"]).bytes, row["course_id"], row["fact"]["at"], payload_of(row), row["test_id"])
        for row in BEFORE["events"]
    ]
    applied = await PostgresFactStore(upgraded, RING).apply(records)
    assert (applied.stored, applied.duplicates, applied.failed) == (0, len(records), [])
    assert (await rebuild(upgraded, RING, check=True)).differences == []


async def test_texts_leave_the_unencrypted_columns_and_are_shown_again(upgraded: asyncpg.Pool) -> None:
    assert ERROR in json.dumps(BEFORE)
    for table in ("events", "student_states", "cell_states", "help_requests"):
        for row in await upgraded.fetch(f"SELECT t::text AS row FROM {table} t"):
            assert ERROR not in row["row"]
            assert "だめ" not in row["row"]
    (bob,) = [row["person_id"] for row in BEFORE["student_states"] if ERROR in json.dumps(row, ensure_ascii=False)]
    shown = await student_queries.student(upgraded, RING, "c1", UUID(bob))
    assert shown is not None
    assert shown.last_execution is not None
    assert shown.last_execution.error == ErrorRef("ZeroDivisionError", ERROR)
    texts = [state.error.value for state in await help_queries.list_active(upgraded, RING, "c1") if state.error]
    assert texts == [ERROR]


async def test_people_failed_events_and_time_series_are_there_and_everything_is_bound_to_its_row(
    upgraded: asyncpg.Pool,
) -> None:
    new = KeyRing({"k1": b"k" * 32, "k2": b"n" * 32}, "k2")
    result = await rotate(upgraded, new)
    assert (result.unreadable, result.remaining) == ([], 0)
    alone = KeyRing({"k2": b"n" * 32}, "k2")
    named = await people.get_many(upgraded, alone, [UUID(row["person_id"]) for row in BEFORE["people"]])
    assert sorted(person.username for person in named) == ["ann", "bob", "tutor"]
    ((failed, record),) = await failed_events.records_to_replay(upgraded, alone)
    before = BEFORE["failed_events"][0]
    assert (failed.failed_id, str(failed.event_id)) == (before["failed_id"], before["event_id"])
    blob = bytes.fromhex(before["record_enc"].removeprefix("\\x"))
    assert record == RING.decrypt(blob, context="failed_events.record", row=b"")
    series = PostgresTimeSeries(upgraded)
    assert await series.count("c1") == sum(row["course_id"] == "c1" for row in BEFORE["time_series"])
    page = await student_queries.student_runs(upgraded, alone, "c1", UUID(BEFORE["student_states"][0]["person_id"]))
    assert all(run.content == "available" for run in page.runs)
