"""Hazards: an outage of a store loses events, is not reported to clients, or outlasts the store's return."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import redis

from cell_monitor_api.readiness import SchemaUnknown, SchemaWatch
from cell_monitor_core import keys
from cell_monitor_core.channels import course_channel, partition_of
from cell_monitor_core.storage.postgres.migrations import SchemaMismatch
from cell_monitor_testing.fault_proxy import FaultProxy

PASSWORD = "correct horse battery"


def fault(answer):
    assert "retry-after" in answer.headers or answer.status_code != 503
    return answer.status_code, answer.json()["detail"][0]["type"]


def _through(url, port):
    parts = urlsplit(url)
    userinfo, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{userinfo}{at}127.0.0.1:{port}"))


@pytest.fixture
async def redis_proxy(valkey):
    async with FaultProxy(urlsplit(valkey).port) as proxy:
        yield proxy


@pytest.fixture
async def postgres_proxy(database):
    async with FaultProxy(urlsplit(database).port) as proxy:
        yield proxy


@pytest.fixture
async def site(make_site, redis_proxy, postgres_proxy, valkey, database):
    async with make_site(
        redis_url=_through(valkey, redis_proxy.port),
        database_url=_through(database, postgres_proxy.port),
        # More attempts than the test makes.
        api_sign_in_per_account=5,
    ) as site:
        await site.course("c1", ann="student", ivy="instructor")
        await site.person("ivy", password=PASSWORD)
        yield site


async def until(condition):
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_unavailable_redis_is_answered_503_with_retry_after(site, redis_proxy, make_event):
    first, second = make_event(), make_event()
    assert (await site.send("ann", first)).status_code == 200
    await redis_proxy.cut()
    for client in (site.client, site.reference):
        refused = await site.send("ann", second, client=client)
        assert fault(refused) == (503, "log_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
    # What needs no queue is answered all the same.
    nothing_to_queue = await site.send("ann", {"broken": True})
    assert nothing_to_queue.json()["results"][0]["status"] == "rejected"
    assert (await site.client.get("/api/v1/me", headers=site.bearer("ivy"))).status_code == 200
    assert fault(await site.client.get("/api/v1/courses/c1/state", headers=site.bearer("ivy"))) == (
        503,
        "broker_unavailable",
    )
    assert (await site.client.get("/livez")).status_code == 200
    await redis_proxy.heal()

    async def accepted():
        return (await site.send("ann", second)).status_code == 200

    await until(accepted)
    assert sorted(await site.queued_ids("c1")) == sorted([first["event_id"], second["event_id"]])


async def test_an_unresponsive_redis_is_answered_503(site, redis_proxy, make_event):
    assert (await site.send("ann", make_event())).status_code == 200
    redis_proxy.stall()
    event = make_event()
    async with asyncio.timeout(60):
        assert fault(await site.send("ann", event)) == (503, "log_unavailable")
    await redis_proxy.heal()

    async def accepted():
        return (await site.send("ann", event)).status_code == 200

    await until(accepted)
    assert event["event_id"] in await site.queued_ids("c1")


async def test_readiness_follows_redis(site, redis_proxy):
    async def ready():
        return (await site.client.get("/readyz")).status_code == 200

    async def unready():
        return not await ready()

    assert await ready()
    await redis_proxy.cut()
    await until(unready)
    assert "redis" in (await site.client.get("/readyz")).text
    await redis_proxy.heal()
    await until(ready)


async def test_a_stream_at_its_limit_is_said_by_readiness(site, valkey, make_event):
    client = redis.Redis.from_url(valkey)
    stream = keys.events_stream(partition_of(course_channel("c1"), 8))
    # The limit is the documented one; a stream has some places more for what is no event.
    client.eval("for i = 1, 101000 do redis.call('XADD', KEYS[1], '*', 'v', '1') end", 1, stream)
    answer = await site.send("ann", make_event())
    assert fault(answer) == (503, "log_unavailable")

    async def said(word):
        return word in (await site.client.get("/readyz")).text

    await until(lambda: said("events: StreamFull"))
    assert (await site.client.get("/readyz")).status_code == 200
    client.xtrim(stream, maxlen=10)
    await until(lambda: said("events: ok"))
    client.close()


async def test_ingest_needs_no_postgresql(site, postgres_proxy, make_event):
    # The first answer with notices opens the connection that is then cut.
    assert (await site.send("ann")).status_code == 200
    await postgres_proxy.cut()
    event = make_event("heartbeat")
    answer = await site.send("ann", event)
    assert answer.json() == {"results": [{"event_id": event["event_id"], "status": "accepted"}], "notices": None}
    headers = site.bearer("ivy")
    for path in ("/api/v1/me", "/api/v1/courses", "/api/v1/courses/c1/state"):
        assert fault(await site.client.get(path, headers=headers)) == (503, "database_unavailable")
    body = {"username": "ivy", "password": PASSWORD}
    assert fault(await site.client.post("/api/v1/auth/login", json=body)) == (503, "database_unavailable")
    readiness = await site.client.get("/readyz")
    assert readiness.status_code == 200
    assert "postgresql: ok" not in readiness.text
    await postgres_proxy.heal()

    async def back():
        return (await site.client.get("/api/v1/me", headers=headers)).status_code == 200

    await until(back)


async def test_a_postgresql_that_does_not_answer_holds_ingest_up_for_a_moment_only(site, postgres_proxy, make_event):
    notices = site.process.ingest.notices
    # The wait is short of the test's limit, the pause longer than the test.
    notices._budget_s, notices._pause_s = 0.1, 600.0
    assert (await site.send("ann")).status_code == 200
    postgres_proxy.stall()
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*(site.send("ann", make_event("heartbeat")) for _ in range(20)))
    assert {answer.json()["results"][0]["status"] for answer in answers} == {"accepted"}
    # Not an empty list: JupyterLab would take the student's open request off the screen.
    assert all(answer.json()["notices"] is None for answer in answers)
    asked = []
    # For a while PostgreSQL is not even asked, so nobody waits.
    notices._read = asked.append
    assert (await site.send("ann")).json()["notices"] is None
    assert asked == []
    await postgres_proxy.heal()


async def test_sign_in_is_limited_although_redis_is_unavailable(site, redis_proxy):
    await redis_proxy.cut()

    async def login(password):
        return await site.client.post("/api/v1/auth/login", json={"username": "ivy", "password": password})

    assert (await login(PASSWORD)).status_code == 200
    statuses = [(await login("wrong password")).status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2


async def test_the_api_starts_without_postgresql_and_finds_it_later(make_site, postgres_proxy, database, monkeypatch):
    monkeypatch.setattr("cell_monitor_api.readiness._PATIENCE_S", 0.05)
    monkeypatch.setattr(SchemaWatch.__init__, "__kwdefaults__", {"patience_s": 0.05, "retry_s": 0.02})
    await postgres_proxy.cut()
    async with make_site(database_url=_through(database, postgres_proxy.port)) as site:
        answer = await site.client.get("/readyz")
        assert answer.status_code == 503
        assert SchemaUnknown.__name__ in answer.text
        await postgres_proxy.heal()

        async def ready():
            return (await site.client.get("/readyz")).status_code == 200

        await until(ready)


async def test_another_schema_is_refused_at_start(make_site, database):
    connection = await asyncpg.connect(database)
    await connection.execute("INSERT INTO schema_version (version, name, checksum) VALUES (9999, 'future', 'x')")
    await connection.close()
    with pytest.raises(SchemaMismatch, match="version 9999"):
        async with make_site():
            pass


async def test_an_empty_database_is_refused_with_advice(make_site, empty_database):
    with pytest.raises(SchemaMismatch, match="migrate it"):
        async with make_site(database_url=empty_database):
            pass
