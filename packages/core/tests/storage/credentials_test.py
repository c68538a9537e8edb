"""Passwords, sign-ins and API keys: nothing usable is stored, and what is over or revoked does not work."""

from __future__ import annotations

import hashlib
import os
import traceback
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from cell_monitor_core.storage.postgres import accounts, api_keys, people, sign_ins
from cell_monitor_testing.log_text import assert_not_written

LATER = datetime.now(UTC) + timedelta(days=1)
BEFORE = datetime.now(UTC) - timedelta(seconds=1)


@pytest.fixture
async def ann(pool, keyring, index) -> UUID:
    return await people.upsert(pool, keyring, index, username="ann")


async def test_an_account_is_found_by_name_and_its_text_has_no_hash(pool, keyring, index, ann):
    assert await accounts.find(pool, index, "ann") is None
    await accounts.set_password(pool, ann, "$argon2id$one")
    await accounts.set_passwords(pool, {ann: "$argon2id$two"})
    account = await accounts.find(pool, index, "ANN")
    assert account is not None
    assert (account.person_id, account.password_hash, account.is_admin) == (ann, "$argon2id$two", False)
    assert "argon2" not in repr(account)
    assert await accounts.find(pool, index, "bob") is None
    assert await accounts.remove(pool, ann)
    assert not await accounts.remove(pool, ann)
    assert await accounts.find(pool, index, "ann") is None


async def test_a_hash_that_the_database_refuses_is_neither_in_its_log_nor_in_the_traceback(pool, postgres_server):
    log = postgres_server.directory / "postgres.log"
    before = log.stat().st_size
    person_id, password_hash = uuid4(), "$argon2id$v=19$three"
    with pytest.raises(asyncpg.ForeignKeyViolationError) as refused:
        await accounts.set_password(pool, person_id, password_hash)
    # PostgreSQL writes before it answers. It can be set to write the values of a statement that failed.
    written = log.read_bytes()[before:].decode()
    # What a service logs of the error, with what the database said of it.
    for text in (written, "".join(traceback.format_exception(refused.value))):
        assert str(person_id) in text
        assert_not_written(text, password_hash)
    assert "INSERT INTO" in written


async def test_a_sign_in_ends_by_time_by_sign_out_or_for_all_browsers(pool, ann):
    cookies = [os.urandom(32) for _ in range(4)]
    for cookie in cookies[:3]:
        await sign_ins.create(pool, cookie, ann, LATER)
    await sign_ins.create(pool, cookies[3], ann, BEFORE)
    assert (await sign_ins.get(pool, cookies[0])).person_id == ann
    assert await sign_ins.get(pool, cookies[3]) is None
    assert await sign_ins.get(pool, os.urandom(32)) is None
    assert await sign_ins.prune(pool) == 1
    assert await sign_ins.revoke(pool, cookies[0])
    assert not await sign_ins.revoke(pool, cookies[0])
    assert await sign_ins.get(pool, cookies[0]) is None
    assert await sign_ins.revoke_person(pool, ann) == 2
    assert await sign_ins.get(pool, cookies[1]) is None


async def test_a_key_works_until_revoked_and_its_text_is_not_stored(pool, ann):
    key, text = await api_keys.create(pool, name="hub", scopes=["events:write"], expires_at=LATER, person_id=ann)
    assert (key.name, key.scopes, key.person_id, key.last_used_at) == ("hub", ("events:write",), ann, None)
    found = await api_keys.verify(pool, text)
    assert found is not None
    assert found.key_id == key.key_id
    stored = await pool.fetchrow("SELECT * FROM api_keys")
    secret = text.rsplit("_", 1)[-1] if text.count("_") == 2 else text.split("_", 2)[2]
    assert stored["key_hash"] == hashlib.sha256(secret.encode()).digest()
    assert secret not in str(dict(stored))
    assert await api_keys.revoke(pool, key.key_id)
    assert not await api_keys.revoke(pool, key.key_id)
    assert await api_keys.verify(pool, text) is None
    assert [listed.revoked_at is not None for listed in await api_keys.list_all(pool)] == [True]


async def test_keys_that_are_wrong_over_or_malformed_do_not_work(pool):
    _, over = await api_keys.create(pool, name="over", scopes=[], expires_at=BEFORE)
    key, good = await api_keys.create(pool, name="good", scopes=[], expires_at=LATER)
    other = good[:-1] + ("A" if good[-1] != "A" else "B")
    unknown = f"cm_{'0' * 16}_{good[-43:]}"
    for text in (
        over,
        other,
        unknown,
        "",
        "cm_",
        key.key_id,
        good + "x",
        good + "\n",
        "x" * 100_000,
        "cm_é_" + "a" * 43,
    ):
        assert await api_keys.verify(pool, text) is None
    assert await api_keys.verify(pool, good) is not None


async def test_use_is_noted_at_most_once_a_minute(pool):
    _, text = await api_keys.create(pool, name="k", scopes=[], expires_at=LATER)

    async def used() -> datetime:
        return (await api_keys.list_all(pool))[0].last_used_at

    await api_keys.verify(pool, text)
    first = await used()
    assert first is not None
    await api_keys.verify(pool, text)
    assert await used() == first
    await pool.execute("UPDATE api_keys SET last_used_at = now() - interval '61 s'")
    await api_keys.verify(pool, text)
    assert await used() > first
