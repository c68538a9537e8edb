"""Hazard: an installation of schema 0004 loses people, passwords, keys or roles when it is migrated to identities."""

from __future__ import annotations

import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from cell_monitor_core.auth.passwords import verify_password
from cell_monitor_core.crypto import BlindIndex, DecryptionError, KeyRing
from cell_monitor_core.storage.postgres import accounts, identities, memberships, people
from cell_monitor_core.storage.postgres.migrations import MigrationError, load_migrations, migrate
from cell_monitor_core.storage.postgres.pool import connect

DUMP = Path(__file__).parent / "dumps" / "schema_0004.sql"
RING = KeyRing({"k1": bytes(range(32))}, "k1")
INDEX = BlindIndex(bytes(range(32, 64)))
TABLES = ("people", "courses", "memberships", "local_accounts", "sign_ins", "api_keys")

# As they were when the dump was made.
ROLES = {
    "Sato.Aoi@Example.org": {"physics-1": "instructor", "stats-2": "observer"},
    "tanaka": {"physics-1": "student", "stats-2": "student"},
    "\uff48\uff41\uff4e\uff41\uff4b\uff4f": {"physics-1": "student"},
    "Stra\u00dfe": {"physics-1": "assistant"},
    "boss": {},
}
NAMES = {"Sato.Aoi@Example.org": "佐藤 葵", "tanaka": "田中 太郎"}
PASSWORDS = {
    "Sato.Aoi@Example.org": "sato's password",
    "Stra\u00dfe": "stra\u00dfe's password",
    "boss": "the boss's password",
}


@pytest.fixture
async def old_database(empty_database: str) -> str:
    await migrate(empty_database, migrations=load_migrations()[:4])
    connection = await connect(empty_database, application_name="test")
    await connection.execute(DUMP.read_text(encoding="utf-8"))
    await connection.close()
    return empty_database


async def _counts(dsn: str) -> dict[str, int]:
    connection = await connect(dsn, application_name="test")
    try:
        return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}
    finally:
        await connection.close()


async def test_everybody_keeps_name_password_roles_and_keys(old_database: str) -> None:
    before = await _counts(old_database)
    assert before == {
        "people": 5, "courses": 2, "memberships": 6, "local_accounts": 3, "sign_ins": 1, "api_keys": 1,
    }  # fmt: skip
    said: list[str] = []
    await migrate(old_database, said.append, keys=(RING, INDEX))
    assert "computed the identities of 5 people" in said
    assert await _counts(old_database) == before
    connection = await connect(old_database, application_name="test")
    try:
        for username, roles in ROLES.items():
            person = await people.find(connection, RING, INDEX, username)
            assert person is not None
            assert (person.username, person.display_name) == (username, NAMES.get(username))
            assert person.is_admin == (username == "boss")
            assert await memberships.roles_of(connection, person.person_id) == roles
            for sayings in [await memberships.said_of(connection, course, [person.person_id]) for course in roles]:
                assert [said.source for said in sayings[person.person_id]] == ["roster"]
            assert await identities.of_person(connection, RING, person.person_id) == [
                identities.Identity("local", username)
            ]
            # As before, also in another case.
            for typed in (username, username.upper(), username.casefold()):
                account = await accounts.find(connection, INDEX, typed)
                assert (account is not None) == (username in PASSWORDS), typed
                if account is not None:
                    assert account.person_id == person.person_id
                    assert verify_password(account.password_hash, PASSWORDS[username])
        # Written again by a roster, they are the same people.
        ids = await people.upsert_many(connection, RING, INDEX, [people.NewPerson(name) for name in ROLES])
        assert await connection.fetchval("SELECT count(*) FROM people") == 5
        assert len(set(ids)) == 5
    finally:
        await connection.close()
    assert await migrate(old_database, said.append) == 0


async def test_without_the_keys_the_migration_says_what_it_needs_and_is_finished_later(old_database: str) -> None:
    with pytest.raises(MigrationError, match=r"5 people .* CELL_MONITOR_ENCRYPTION_KEYS and CELL_MONITOR_INDEX_KEY"):
        await migrate(old_database)
    # Again, and with keys of another installation: nothing is done by halves.
    with pytest.raises(MigrationError):
        await migrate(old_database)
    with pytest.raises(DecryptionError):
        await migrate(old_database, keys=(KeyRing({"k1": bytes(32)}, "k1"), INDEX))
    connection = await connect(old_database, application_name="test")
    assert await connection.fetchval("SELECT count(*) FROM identities") == 0
    assert await migrate(old_database, keys=(RING, INDEX)) == 0
    assert await connection.fetchval("SELECT count(*) FROM identities") == 5
    assert await identities.count_pending(connection) == 0
    await connection.close()


def test_the_command_takes_the_keys_from_the_environment(old_database: str) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "CELL_MONITOR_DATABASE_URL": old_database,
        "CELL_MONITOR_ENCRYPTION_KEYS": f'{{"active": "k1", "keys": {{"k1": "{b64encode(bytes(range(32))).decode()}"}}}}',
    }
    command = [sys.executable, "-m", "cell_monitor_core.storage.postgres.migrations"]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    refused = run()
    assert (refused.returncode, "CELL_MONITOR_INDEX_KEY" in refused.stderr) == (1, True)
    environment["CELL_MONITOR_INDEX_KEY"] = "not a key"
    wrong = run()
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
    environment["CELL_MONITOR_INDEX_KEY"] = b64encode(bytes(range(32, 64))).decode()
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "computed the identities of 5 people" in done.stdout
