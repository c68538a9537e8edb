"""Key rotation: stopped anywhere and run again, it ends with everything readable under the new key alone."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cell_monitor_core.crypto import DecryptionError, KeyRing
from cell_monitor_core.storage.postgres import (
    audit,
    courses,
    derivation_keys,
    failed_events,
    hub_sessions,
    identities,
    memberships,
    people,
    sign_ins,
    student_queries,
)
from cell_monitor_core.storage.postgres.failed_events import FailedRecord
from cell_monitor_core.storage.postgres.people import NewPerson
from cell_monitor_core.storage.postgres.rotation import COLUMNS, RotationProgress, rotate


@pytest.fixture
def rings(keyring) -> tuple[KeyRing, KeyRing]:
    """(the old and the new key with the new one active, the new key alone)."""
    both = KeyRing.from_json(json.dumps({"active": "k2", "keys": {"k1": KEYS["k1"], "k2": KEYS["k2"]}}))
    return both, KeyRing.from_json(json.dumps({"active": "k2", "keys": {"k2": KEYS["k2"]}}))


KEYS = {name: base64.b64encode(os.urandom(32)).decode() for name in ("k1", "k2")}


@pytest.fixture
def keyring() -> KeyRing:
    return KeyRing.from_json(json.dumps({"active": "k1", "keys": {"k1": KEYS["k1"]}}))


@pytest.fixture
async def filled(pool, keyring, index, add_run, minutes):
    """Values in every encrypted column."""
    ids = await people.upsert_many(
        pool,
        keyring,
        index,
        [NewPerson(f"user{n}", f"User {n}", f"u{n}@example.org" if n % 2 else None) for n in range(7)],
    )
    for number in range(9):
        await add_run(ids[0], at=minutes(number), cell=f"c{number}")
    for number in range(5):
        request_id = uuid4()
        message = keyring.encrypt_text(f"help {number}", context="help.message", row=request_id.bytes)
        await pool.execute(
            "INSERT INTO help_requests "
            "(request_id, event_id, course_id, person_id, status, requested_at, message_enc, error_text_enc) "
            "VALUES ($1, $1, 'c1', $2, 'open', now(), $3, $4)",
            request_id,
            ids[0],
            message if number else None,
            keyring.encrypt_text("x", context="help.error_text", row=request_id.bytes) if number > 2 else None,
        )
    await sign_ins.create(pool, b"c" * 32, ids[0], datetime.now(UTC) + timedelta(days=1))
    await hub_sessions.create(pool, keyring, b"c" * 32, ids[0], "hub token", interval=timedelta(seconds=50))
    for course in ("c1", "c2"):
        await courses.create(pool, course, course)
        await memberships.upsert_many(pool, course, {ids[0]: "student"})
        text = keyring.encrypt_text(
            f"text of {course}", context="student_states.error_text", row=ids[0].bytes + course.encode()
        )
        await pool.execute(
            "INSERT INTO student_states (course_id, person_id, error_text_enc) VALUES ($1, $2, $3)",
            course,
            ids[0],
            text,
        )
    await derivation_keys.error_signature_key(pool, keyring)
    await audit.record_refused_sign_in(pool, keyring, index, way="link", address="192.0.2.1", person_id=None)
    records = [FailedRecord("postgres", 0, f"{n}-0", 0, "r", "d", b"%d" % n) for n in range(3)]
    await failed_events.insert(pool, keyring, records)
    return ids


TOTAL = 7 + 7 + 3 + 7 + 9 + 4 + 2 + 2 + 1 + 3 + 1 + 1


async def test_rotation_rewrites_everything_once_and_the_old_key_may_go(pool, rings, filled):
    both, new = rings
    signature_key = await derivation_keys.error_signature_key(pool, both)
    seen: list[RotationProgress] = []
    result = await rotate(pool, both, batch=2, on_progress=seen.append)
    assert (result.rewritten, result.unreadable, result.remaining) == (TOTAL, [], 0)
    assert {(now.table, now.column) for now in seen} == {(column.table, column.column) for column in COLUMNS}
    assert all(now.done <= now.total for now in seen)
    assert (await people.get(pool, new, filled[1])).email == "u1@example.org"
    assert [identity.subject for identity in await identities.of_person(pool, new, filled[1])] == ["user1"]
    page = await student_queries.student_runs(pool, new, "c1", filled[0])
    assert sorted(run.cell.source_id for run in page.runs) == [f"c{number}" for number in range(9)]
    assert [record for _, record in await failed_events.records_to_replay(pool, new)] == [b"0", b"1", b"2"]
    # Equal errors stay equal.
    assert await derivation_keys.error_signature_key(pool, new) == signature_key
    assert (await rotate(pool, both)).rewritten == 0


@pytest.mark.parametrize("stop_after", [1, 3, 6, 9])
async def test_killed_between_batches_it_goes_on_where_it_was(database, pool, rings, filled, stop_after):
    both, new = rings
    ticks = 0

    def kill(_now: RotationProgress) -> None:
        nonlocal ticks
        ticks += 1
        if ticks == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rotate(pool, both, batch=2, on_progress=kill)
    # Meanwhile a service reads what is half done with both keys.
    assert len((await student_queries.student_runs(pool, both, "c1", filled[0])).runs) == 9
    rest = await rotate(pool, both, batch=2)
    assert 0 < rest.rewritten < TOTAL
    assert await _stale(pool, new) == 0


async def _stale(pool: asyncpg.Pool, ring: KeyRing) -> int:
    count = 0
    for column in COLUMNS:
        names = ", ".join(column.bound_to)
        for value, *key in await pool.fetch(
            f"SELECT {column.column}, {names} FROM {column.table} WHERE {column.column} IS NOT NULL"
        ):
            try:
                ring.decrypt(value, context=column.context, row=column.row(*key))
            except DecryptionError:
                count += 1
    return count


async def test_a_value_that_a_service_writes_meanwhile_is_not_overwritten(pool, rings, filled, index):
    both, new = rings

    async def rename() -> None:
        await people.upsert(pool, both, index, username="user0", display_name="Newer")

    class Slow:
        """Lets the service win the race for the first batch."""

        def __init__(self) -> None:
            self.raced = False

        async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
            if sql.startswith("UPDATE people t SET display_name_enc") and not self.raced:
                self.raced = True
                await rename()
            return await pool.fetch(sql, *arguments)

        fetchval = pool.fetchval

    await rotate(Slow(), both)  # type: ignore[arg-type]
    assert (await people.find(pool, new, index, "user0")).display_name == "Newer"
    assert await _stale(pool, new) == 0


async def test_a_value_that_no_key_opens_is_named_and_does_not_stop_the_rest(pool, rings, filled):
    both, new = rings
    await pool.execute("UPDATE people SET email_enc = '\\x00' WHERE person_id = $1", filled[1])
    result = await rotate(pool, both, batch=1)
    assert result.rewritten == TOTAL - 1
    assert result.remaining == 1
    (line,) = result.unreadable
    assert str(filled[1]) in line
    assert await _stale(pool, new) == 1


async def test_what_a_service_still_writes_with_the_old_key_is_counted(pool, keyring, rings, filled, index):
    both, _ = rings

    class Late:
        async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
            if sql.startswith("UPDATE failed_events"):
                await people.upsert(pool, keyring, index, username="late")
            return await pool.fetch(sql, *arguments)

        fetchval = pool.fetchval

    # Their name, as a person and as an identity.
    assert (await rotate(Late(), both)).remaining == 2  # type: ignore[arg-type]
    assert (await rotate(pool, both)).remaining == 0


async def test_values_that_are_bound_to_their_column_only_are_bound_to_their_row(pool, keyring, filled):
    before = b"\x01" + keyring.active_header[1:]
    cipher = AESGCM(base64.b64decode(KEYS["k1"]))
    nonce = os.urandom(12)
    old = before + nonce + cipher.encrypt(nonce, b"Old Name", before + b"people.display_name")
    await pool.execute("UPDATE people SET display_name_enc = $1 WHERE person_id = $2", old, filled[0])
    assert (await people.get(pool, keyring, filled[0])).display_name == "Old Name"
    assert (await rotate(pool, keyring)).rewritten == 1
    assert (await people.get(pool, keyring, filled[0])).display_name == "Old Name"
    # From now on one person's name cannot be shown as another's.
    await pool.execute(
        "UPDATE people SET display_name_enc = (SELECT display_name_enc FROM people WHERE person_id = $1) "
        "WHERE person_id = $2",
        filled[0],
        filled[1],
    )
    with pytest.raises(DecryptionError):
        await people.get(pool, keyring, filled[1])


async def test_every_encrypted_column_of_the_schema_is_rotated(pool):
    rows = await pool.fetch(
        "SELECT table_name, column_name FROM information_schema.columns c JOIN information_schema.tables t "
        "USING (table_schema, table_name) WHERE table_schema = 'public' AND column_name LIKE '%\\_enc' "
        "AND t.table_type = 'BASE TABLE' AND table_name NOT LIKE 'event\\_payloads\\_%'"
    )
    assert {tuple(row) for row in rows} == {(column.table, column.column) for column in COLUMNS}


async def test_the_command_rotates_and_never_prints_a_key(database, pool, rings, filled):
    both = json.dumps({"active": "k2", "keys": KEYS})

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cell_monitor_core.storage.postgres.rotation"],
            env={"PATH": "/usr/bin:/bin", **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert run(CELL_MONITOR_DATABASE_URL=database).returncode == 2
    done = run(CELL_MONITOR_DATABASE_URL=database, CELL_MONITOR_ENCRYPTION_KEYS=both)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{TOTAL} values" in done.stdout
    assert "event_payloads.payload_enc: 9 of 9" in done.stdout
    assert await _stale(pool, rings[1]) == 0
    wrong = run(CELL_MONITOR_DATABASE_URL=database, CELL_MONITOR_ENCRYPTION_KEYS='{"active": "k2"}')
    assert wrong.returncode == 2
    assert not any(key in done.stdout + wrong.stderr for key in KEYS.values())
