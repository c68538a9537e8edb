"""Hazards: an upgrade derives an event twice, not at all or out of its order; what a newer release sent is lost meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_monitor_core import keys
from cell_monitor_core.crypto import KeyRing
from cell_monitor_core.derivation.errors import ErrorSigner
from cell_monitor_core.events.ids import new_event_id
from cell_monitor_core.records import StreamRecord
from cell_monitor_core.storage.postgres import derivation_keys, help_queries, opaque_events
from cell_monitor_core.storage.postgres.facts import PostgresFactStore
from cell_monitor_core.storage.postgres.partitions import delete_payloads
from cell_monitor_core.storage.postgres.rebuild import rebuild
from cell_monitor_testing.releases import earlier_release

ANN = uuid.UUID(int=7)
NOW = datetime.now(UTC)
CELL = {"id": "a", "source_id": "a", "index": 0, "type": "code"}


def event(kind: str, seq: int, *, test_id: str | None = None, **fields: Any) -> StreamRecord:
    """An event of one session; the higher its number, the later."""
    at = NOW - timedelta(hours=2) + timedelta(seconds=seq)
    body = {
        "event_id": new_event_id(),
        "type": kind,
        "schema_version": 1,
        "occurred_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "session_id": str(uuid.UUID(int=1)),
        "seq": seq,
        "notebook": {"id": "n1", "path": "n1.ipynb"},
        "data": {},
        **fields,
    }
    return StreamRecord(ANN.bytes, "c1", int(NOW.timestamp() * 1000), json.dumps(body).encode(), test_id)


def run(seq: int, status: str = "error") -> StreamRecord:
    data: dict[str, Any] = {"execution_id": str(uuid.uuid4()), "status": status, "code": "1/0", "outputs": []}
    if status == "error":
        data["error"] = {"name": "ZeroDivisionError", "value": "division by zero", "traceback": ""}
    return event("cell_executed", seq, cell=CELL, data=data)


def added(seq: int, **fields: Any) -> StreamRecord:
    return event("cell_added", seq, **{"cell": CELL | {"index": seq}, "data": {"count": 1}, **fields})


async def types_of(db: Any) -> list[str]:
    return [row["type"] for row in await db.fetch("SELECT type FROM events ORDER BY happened_at, seq, event_id")]


async def state(db: Any) -> dict[str, Any]:
    return json.loads(await db.fetchval("SELECT state::text FROM student_states WHERE person_id = $1", ANN))


async def forget(db: Any) -> None:
    await db.execute("TRUNCATE events, event_keys, event_payloads, help_requests, opaque_outbox")
    await db.execute("TRUNCATE student_states, cell_states, session_states")


async def shown_by_todays_release(db: Any, keyring: KeyRing, records: list[StreamRecord]) -> dict[str, Any]:
    """Derive everything from nothing; what the same events give without an upgrade."""
    await forget(db)
    await PostgresFactStore(db, keyring).apply(records)
    return await state(db)


async def assert_exact(db: Any, keyring: KeyRing) -> None:
    report = await rebuild(db, keyring, check=True)
    assert (report.differences, report.students) == ([], 1)


async def derive(db: Any, keyring: KeyRing) -> list[opaque_events.Derived]:
    signer = ErrorSigner(await derivation_keys.error_signature_key(db, keyring))
    done = []
    for student in await opaque_events.students_with_known_events(db):
        async with db.acquire() as connection, connection.transaction():
            done.append(await opaque_events.derive_student(connection, keyring, signer, student))
    return done


def but_version(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if name != "version"}


async def test_an_upgrade_derives_what_was_opaque_once_and_as_if_it_had_known_it(db: Any, keyring: KeyRing) -> None:
    records = [
        event("cell_selected", 1, cell=CELL),
        run(2),
        added(3),
        run(4),
        added(5),
    ]
    with earlier_release("cell_added"):
        applied = await PostgresFactStore(db, keyring).apply(records)
        assert (applied.stored, applied.opaque, applied.failed) == (5, 2, [])
        await assert_exact(db, keyring)
    before = await state(db)
    # Received, and no gap: but no place and no activity, for what it means is not known.
    assert (before["missing"], before["runs"], before["cell"]["index"]) == (0, 2, 0)
    assert "cell_added@1" in await types_of(db)
    await assert_exact(db, keyring)

    assert await derive(db, keyring) == [opaque_events.Derived(2, [], more=False)]
    after = await state(db)
    assert (after["missing"], after["runs"], after["cell"]["index"]) == (0, 2, 5)
    assert after["version"] > before["version"]
    assert "cell_added@1" not in await types_of(db)
    await assert_exact(db, keyring)

    # Neither a second round nor the delivery of the same events again changes anything.
    assert await derive(db, keyring) == []
    again = await PostgresFactStore(db, keyring).apply(records)
    assert (again.stored, again.opaque, again.duplicates) == (0, 0, 5)
    assert await state(db) == after
    await assert_exact(db, keyring)
    assert but_version(await shown_by_todays_release(db, keyring, records)) == but_version(after)


async def test_what_two_workers_find_at_once_is_derived_by_one_of_them(db: Any, keyring: KeyRing) -> None:
    with earlier_release("cell_added"):
        await PostgresFactStore(db, keyring).apply([run(1), added(2)])
    signer = ErrorSigner(await derivation_keys.error_signature_key(db, keyring))
    [student] = await opaque_events.students_with_known_events(db)

    async def derive_on(connection: Any) -> opaque_events.Derived:
        async with connection.transaction():
            return await opaque_events.derive_student(connection, keyring, signer, student)

    async with db.acquire() as first, db.acquire() as second, asyncio.timeout(60):
        waiting = await second.fetchval("SELECT pg_backend_pid()")
        async with first.transaction():
            done = await opaque_events.derive_student(first, keyring, signer, student)
            other = asyncio.create_task(derive_on(second))
            while not await first.fetchval("SELECT cardinality(pg_blocking_pids($1))", waiting):
                await asyncio.sleep(0.01)
        assert (done.derived, await other) == (1, opaque_events.Derived(0, [], more=False))
    await assert_exact(db, keyring)


async def test_runs_and_requests_for_help_are_derived_in_their_order(db: Any, keyring: KeyRing) -> None:
    records = [run(1), run(2), event("help_requested", 3, data={"message": "why?"}), run(4, "ok"), run(5)]
    with earlier_release("cell_executed", "help_requested"):
        await PostgresFactStore(db, keyring).apply(records)
        await assert_exact(db, keyring)
    assert (await state(db))["runs"] == 0
    await derive(db, keyring)
    shown = await state(db)
    # The streak began again after the success.
    assert (shown["runs"], shown["errors"], shown["error_streak"], shown["help"]["status"]) == (4, 3, 1, "open")
    (request,) = await help_queries.list_active(db, keyring, "c1")
    assert (request.message, request.error and request.error.name) == ("why?", "ZeroDivisionError")
    await assert_exact(db, keyring)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), unknown=st.sets(st.sampled_from(["cell_executed", "cell_added", "session_ended"])))
async def test_whatever_was_unknown_and_whenever_it_came_the_state_is_the_same(
    db: Any, keyring: KeyRing, seed: int, unknown: set[str]
) -> None:
    choice = random.Random(seed)
    makers = [
        run,
        added,
        lambda seq: run(seq, "ok"),
        lambda seq: event("session_ended", seq, data={"reason": "hidden"}),
    ]
    records = [choice.choice(makers)(seq) for seq in range(1, choice.randint(2, 20))]
    shown = await shown_by_todays_release(db, keyring, records)
    await forget(db)
    delivered = choice.sample(records, len(records))
    middle = choice.randint(0, len(records))
    if unknown:
        with earlier_release(*unknown):
            await PostgresFactStore(db, keyring).apply(delivered[:middle])
    else:
        await PostgresFactStore(db, keyring).apply(delivered[:middle])
    # The newer release takes over, in the middle of the stream, before and after it derives what it finds.
    split = choice.randint(middle, len(records))
    await PostgresFactStore(db, keyring).apply(delivered[middle:split])
    await derive(db, keyring)
    await PostgresFactStore(db, keyring).apply(delivered[split:])
    assert but_version(await state(db)) == but_version(shown)
    await assert_exact(db, keyring)


async def test_an_event_that_is_not_as_its_schema_says_is_marked_and_not_tried_again(db: Any, keyring: KeyRing) -> None:
    broken = added(2, data={"count": "many"})
    with earlier_release("cell_added"):
        await PostgresFactStore(db, keyring).apply([run(1), broken, added(3)])
    [done] = await derive(db, keyring)
    [(event_id, reason)] = done.unreadable
    assert (done.derived, str(event_id)) == (1, json.loads(broken.event)["event_id"])
    assert reason.startswith("invalid_event")
    assert sorted(await types_of(db)) == ["cell_added", "cell_added!1", "cell_executed"]
    assert await derive(db, keyring) == []
    assert await opaque_events.count_opaque(db) == 0
    await assert_exact(db, keyring)


async def test_a_senders_own_types_and_versions_wait_for_a_release_that_knows_them(db: Any, keyring: KeyRing) -> None:
    store = PostgresFactStore(db, keyring)
    made_up = [event(f"made_up_{number}", number) for number in range(1, 101)]
    applied = await store.apply([*made_up, added(101, schema_version=2)])
    assert (applied.opaque, applied.failed) == (101, [])
    assert await derive(db, keyring) == []
    assert await opaque_events.count_opaque(db) == 101
    shown = await state(db)
    assert (shown["status"], shown["notebook"], shown["last_activity_at"], shown["missing"]) == (
        "waiting",
        None,
        None,
        0,
    )
    await assert_exact(db, keyring)


async def test_the_payload_of_an_opaque_event_outlives_those_of_derived_ones(db: Any, keyring: KeyRing) -> None:
    with earlier_release("cell_added"):
        await PostgresFactStore(db, keyring).apply([event("cell_selected", 1, cell=CELL), added(2)])
    moment = NOW - timedelta(days=70)
    await db.execute("SELECT event_month_partition($1::timestamptz), payload_week_partition($1::timestamptz)", moment)
    for table in ("event_keys", "events", "event_payloads"):
        await db.execute(f"UPDATE {table} SET stored_at = $1", moment)
    async with db.acquire() as connection:
        await delete_payloads(connection, NOW - timedelta(days=30))
    assert await db.fetchval("SELECT count(*) FROM event_payloads") == 1
    assert [done.derived for done in await derive(db, keyring)] == [1]
    assert (await state(db))["cell"]["index"] == 2
    await assert_exact(db, keyring)


async def test_more_than_one_transaction_holds_are_derived_in_several(db: Any, keyring: KeyRing) -> None:
    many = opaque_events.EVENTS_PER_TRANSACTION + 1
    selected = event("cell_selected", 1, cell=CELL)
    with earlier_release("cell_added"):
        await PostgresFactStore(db, keyring).apply([selected, *(added(seq) for seq in range(2, many + 2))])
    assert [done.more for done in await derive(db, keyring)] == [True]
    await assert_exact(db, keyring)
    assert [(done.derived, done.more) for done in await derive(db, keyring)] == [(1, False)]
    assert (await state(db))["cell"]["index"] == many + 1


async def test_each_group_is_given_every_derived_event_and_no_test_event(db: Any, keyring: KeyRing) -> None:
    with earlier_release("cell_added"):
        await PostgresFactStore(db, keyring).apply([added(1), added(2), added(3, test_id="t1")])
    await derive(db, keyring)
    for group in keys.REQUIRED_GROUPS:
        async with db.acquire() as connection, connection.transaction():
            entries = await opaque_events.claim_entries(connection, group, limit=10)
            assert sorted(fact.seq for _, fact in await opaque_events.facts_of(connection, entries)) == [1, 2]
            # Another process is given none of them meanwhile.
            assert await opaque_events.claim_entries(db, group, limit=10) == []
            await opaque_events.delete_entries(connection, group, entries)
        assert await opaque_events.claim_entries(db, group, limit=10) == []
    assert (await types_of(db)).count("cell_added@1") == 1


async def test_the_worker_may_change_an_opaque_fact_into_what_it_is_and_nothing_else(db: Any, keyring: KeyRing) -> None:
    with earlier_release("cell_added"):
        await PostgresFactStore(db, keyring).apply([run(1), added(2)])
    rows = await db.fetch("SELECT stored_at, event_id, fact::text AS fact FROM events")

    async def change(to: str) -> int:
        wanted = [
            {
                "stored_at": row["stored_at"].isoformat(),
                "event_id": str(row["event_id"]),
                "type": to,
                "fact": json.loads(row["fact"]),
            }
            for row in rows
        ]
        async with db.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL ROLE cell_monitor_worker")
            return int(
                await connection.fetchval(
                    "SELECT derive_opaque_facts($1, 'c1', $2::text::json)", ANN, json.dumps(wanted)
                )
            )

    assert await change("help_requested") == 0
    assert await change("cell_executed") == 0
    assert await change("cell_added") == 1
    assert await change("cell_added") == 0
