"""Hazards: somebody loses rights and their tokens stay; a revocation is lost on its way, or never ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cell_monitor_core.auth.revocations import Revocation, RevocationList
from cell_monitor_core.redis_client import aclose
from cell_monitor_core.redis_client import connect as connect_redis
from cell_monitor_core.storage.postgres import (
    api_keys,
    courses,
    memberships,
    people,
    revocations,
    sign_ins,
)
from cell_monitor_core.storage.postgres.memberships import Source
from cell_monitor_core.streams.revocations import RedisRevocations, RevocationFeed

COOKIE = bytes(range(32))
SESSION = f"session:{COOKIE.hex()[:32]}"


@pytest.fixture
async def ann(pool, keyring, index):
    person = await people.upsert(pool, keyring, index, username="ann")
    await courses.create(pool, "c1", "One")
    await memberships.upsert_many(pool, "c1", {person: "instructor"})
    await sign_ins.create(pool, COOKIE, person, datetime.now(UTC) + timedelta(days=1))
    await pool.execute("DELETE FROM revocations")
    return person


async def written(pool) -> list[Revocation]:
    rows = await pool.fetch("SELECT subject, generation FROM revocations ORDER BY revocation_id")
    return [Revocation(row["subject"], row["generation"]) for row in rows]


async def key_of(pool) -> str:
    key, _ = await api_keys.create(
        pool, name="k", scopes=["events:write"], expires_at=datetime.now(UTC) + timedelta(days=1)
    )
    return key.key_id


CHANGES = {
    "removed from the roster": lambda pool, ann: memberships.remove(pool, "c1", ann),
    "another role": lambda pool, ann: memberships.upsert_many(pool, "c1", {ann: "student"}),
    "a role of another source": lambda pool, ann: memberships.upsert_many(
        pool, "c1", {ann: "student"}, source=Source.HUB
    ),
    "all of a source": lambda pool, ann: memberships.set_all(pool, ann, {"c1": "observer"}, source=Source.HUB),
    "admin of the site": lambda pool, ann: people.set_admin(pool, ann, is_admin=True),
    "all sign-ins ended": sign_ins.revoke_person,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_each_change_of_somebody_s_rights_begins_a_new_generation_of_their_tokens(pool, ann, change) -> None:
    before = await revocations.generation_of(pool, ann)
    await change(pool, ann)
    after = await revocations.generation_of(pool, ann)
    assert (before is not None, after) == (True, before + 1)
    assert await written(pool) == [Revocation(str(ann), after)]


async def test_what_changes_nothing_ends_no_token(pool, ann) -> None:
    await memberships.upsert_many(pool, "c1", {ann: "instructor"})
    await memberships.remove(pool, "c1", ann, source=Source.HUB)
    await memberships.set_all(pool, ann, {}, source=Source.LTI)
    await sign_ins.revoke(pool, bytes(32))
    assert not await api_keys.revoke(pool, "0" * 16)
    assert await written(pool) == []


async def test_the_end_of_one_sign_in_or_key_ends_its_own_tokens_only(pool, ann) -> None:
    key_id = await key_of(pool)
    assert await sign_ins.revoke(pool, COOKIE)
    assert await api_keys.revoke(pool, key_id)
    assert await written(pool) == [Revocation(SESSION), Revocation(f"key:{key_id}")]


async def test_a_change_that_is_rolled_back_ends_no_token(pool, ann) -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await memberships.remove(connection, "c1", ann)
        await transaction.rollback()
    assert await written(pool) == []


async def deliver(pool, target, most=1000) -> int:
    async with pool.acquire() as connection, connection.transaction():
        found = await revocations.pending(connection, most)
        await target.append(found.values())
        await revocations.delivered(connection, found)
    return len(found)


@pytest.fixture
async def redis(valkey):
    client = connect_redis(valkey, name="test")
    yield client
    await aclose(client)


async def test_revocations_reach_a_process_that_was_there_before_and_one_that_starts_later(pool, ann, redis) -> None:
    target, list_ = RedisRevocations(redis), RevocationList()
    feed = RevocationFeed(target, list_)
    await feed.read()
    await memberships.remove(pool, "c1", ann)
    await sign_ins.revoke(pool, COOKIE)
    assert await deliver(pool, target, most=1) == 1
    await feed.read()
    assert list_.covers(str(ann), 1, "")
    assert await deliver(pool, target) == 1
    assert await deliver(pool, target) == 0
    later = RevocationList()
    await RevocationFeed(target, later).read()
    await feed.read()
    for found in (list_, later):
        assert found.covers(str(ann), 1, "")
        assert found.covers("", 0, SESSION)
    version = list_.version
    await feed.read()
    assert list_.version == version


async def test_an_entry_that_a_clock_behind_wrote_is_read_all_the_same(redis) -> None:
    now = [1_000_000.0]
    ahead, behind = RedisRevocations(redis, lambda: now[0]), RedisRevocations(redis, lambda: now[0] - 20)
    list_ = RevocationList()
    feed = RevocationFeed(ahead, list_)
    await ahead.append([Revocation("key:a")])
    await feed.read()
    await behind.append([Revocation("key:b")])
    await feed.read()
    assert list_.covers("", 0, "key:a")
    assert list_.covers("", 0, "key:b")


async def test_an_entry_of_a_later_release_is_passed_over(redis) -> None:
    await redis.zadd("cm:{revocations}", {"v2|something": 1, b"\xff\xfe": 2, "x y": 3, "4 ok": 4})
    list_ = RevocationList()
    await RevocationFeed(RedisRevocations(redis), list_).read()
    assert len(list_) == 1
    assert list_.covers("ok", 3, "")
