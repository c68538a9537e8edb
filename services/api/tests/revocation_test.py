"""Hazard: somebody signs out, is dismissed or loses a key, and goes on reading or sending with the token they hold."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from cell_monitor_core.erasure import tables as erasure
from cell_monitor_core.storage.postgres import api_keys, memberships, people, sign_in_links, sign_ins
from cell_monitor_core.storage.postgres import revocations as postgres_revocations
from cell_monitor_core.streams.revocations import RedisRevocations
from cell_monitor_core.telemetry.metrics import BACKGROUND_TASK_ERRORS

PASSWORD = "correct horse battery"


@pytest.fixture
async def ivy(site):
    await site.course("c1", ivy="instructor", tanaka="student")
    await site.person("ivy", password=PASSWORD)
    return site


async def sign_in(site):
    answer = await site.client.post("/api/v1/auth/login", json={"username": "ivy", "password": PASSWORD})
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


async def until_refused(site, headers, path="/api/v1/me"):
    """Wait until a token is refused; returns the error."""
    deadline = time.monotonic() + 60
    while (answer := await site.client.get(path, headers=headers)).status_code == 200:
        assert time.monotonic() < deadline, "the token is still accepted"
        await asyncio.sleep(0.05)
    return answer.status_code, answer.json()["detail"][0]["type"]


@pytest.mark.parametrize(
    "step", [(RedisRevocations, "since"), (postgres_revocations, "pending")], ids=["read", "deliver"]
)
async def test_tokens_still_end_after_an_error_in_the_background_task(ivy, monkeypatch, step):
    owner, name = step
    real = getattr(owner, name)
    errors = []
    counter = BACKGROUND_TASK_ERRORS.labels({"since": "revocations", "pending": "revocation-delivery"}[name])
    counted = counter.value

    async def fault(*arguments):
        if len(errors) < 2:
            errors.append(name)
            raise RuntimeError("a fault of this version")
        return await real(*arguments)

    monkeypatch.setattr(owner, name, fault)
    headers = await sign_in(ivy)
    deadline = time.monotonic() + 30
    while len(errors) < 2:
        assert time.monotonic() < deadline, "the task has ended"
        await asyncio.sleep(0.05)
    assert (await ivy.client.post("/api/v1/auth/logout")).status_code == 204
    assert await until_refused(ivy, headers) == (401, "token_expired")
    assert counter.value == counted + 2


async def test_signing_out_ends_the_token_too_and_no_other_sign_in(ivy):
    first = await sign_in(ivy)
    cookies = dict(ivy.client.cookies)
    ivy.client.cookies.clear()
    second = await sign_in(ivy)
    ivy.client.cookies.clear()
    ivy.client.cookies.update(cookies)
    assert (await ivy.client.post("/api/v1/auth/logout")).status_code == 204
    assert await until_refused(ivy, first) == (401, "token_expired")
    assert (await ivy.client.get("/api/v1/me", headers=second)).status_code == 200


async def test_signing_out_everywhere_ends_every_session_token_and_link_of_this_person_only(ivy):
    pool = ivy.process.pool
    await ivy.person("ben", password=PASSWORD)
    bens = (await ivy.client.post("/api/v1/auth/login", json={"username": "ben", "password": PASSWORD})).json()
    ivy.client.cookies.clear()
    left = await sign_in(ivy)
    left_cookies = dict(ivy.client.cookies)
    ivy.client.cookies.clear()
    here = await sign_in(ivy)
    link = await sign_in_links.create(pool, ivy.ids["ivy"], timedelta(minutes=1))
    for origin in ("cross-site", "same-site"):
        refused = await ivy.client.post("/api/v1/auth/logout-everywhere", headers={"sec-fetch-site": origin})
        assert refused.status_code == 403
    done = await ivy.client.post("/api/v1/auth/logout-everywhere")
    assert done.status_code == 204
    assert "Max-Age=0" in done.headers["set-cookie"]
    for headers in (left, here):
        assert await until_refused(ivy, headers) == (401, "token_expired")
    ivy.client.cookies.clear()
    ivy.client.cookies.update(left_cookies)
    assert (await ivy.client.post("/api/v1/auth/refresh")).status_code == 401
    assert (await ivy.client.post("/api/v1/auth/logout-everywhere")).status_code == 401
    used = await ivy.client.post("/api/v1/auth/link", json={"link": link})
    assert (used.status_code, used.json()["detail"][0]["type"]) == (401, "sign_in_link_ended_signed_out")
    still = await ivy.client.get("/api/v1/me", headers={"authorization": f"Bearer {bens['access_token']}"})
    assert still.status_code == 200


CHANGES = {
    "dismissed": lambda site: memberships.remove(site.process.pool, "c1", site.ids["ivy"]),
    "another role": lambda site: memberships.upsert_many(site.process.pool, "c1", {site.ids["ivy"]: "student"}),
    "no admin any more": lambda site: people.set_admin(site.process.pool, site.ids["ivy"], is_admin=False),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_token_that_states_lost_rights_ends_and_the_next_one_is_accepted_at_once(ivy, change):
    headers = await sign_in(ivy)
    assert (await ivy.client.get("/api/v1/me", headers=headers)).status_code == 200
    await change(ivy)
    assert await until_refused(ivy, headers) == (401, "token_expired")
    answer = await ivy.client.post("/api/v1/auth/refresh")
    renewed = {"authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await ivy.client.get("/api/v1/me", headers=renewed)).status_code == 200


async def test_a_change_of_password_ends_all_tokens_and_sign_ins(ivy):
    headers = await sign_in(ivy)
    await sign_ins.revoke_person(ivy.process.pool, ivy.ids["ivy"])
    assert await until_refused(ivy, headers) == (401, "token_expired")
    assert (await ivy.client.post("/api/v1/auth/refresh")).status_code == 401


async def test_a_key_that_was_revoked_sends_nothing_more(ivy, make_event):
    key, text = await ivy.key("events:write", username="tanaka")
    answer = await ivy.client.post(
        "/api/v1/auth/token", json={"audience": "ingest"}, headers={"authorization": f"ApiKey {text}"}
    )
    headers = {"authorization": f"Bearer {answer.json()['access_token']}"}

    async def send():
        return await ivy.client.post("/api/v1/events", headers=headers, json={"events": [make_event()]})

    assert (await send()).status_code == 200
    await api_keys.revoke(ivy.process.pool, key.key_id)
    deadline = time.monotonic() + 60
    while (refused := await send()).status_code == 200:
        assert time.monotonic() < deadline, "the key's token is still accepted"
        await asyncio.sleep(0.05)
    assert (refused.status_code, refused.json()["detail"][0]["type"]) == (401, "token_expired")
    again = await ivy.client.post(
        "/api/v1/auth/token", json={"audience": "ingest"}, headers={"authorization": f"ApiKey {text}"}
    )
    assert again.status_code == 401


async def test_another_process_of_the_api_refuses_the_token_as_well(ivy, make_site):
    headers = await sign_in(ivy)
    async with make_site(
        redis_url=ivy.settings.redis_url,
        database_url=ivy.settings.database_url,
        signing_keys=ivy.settings.signing_keys,
    ) as other:
        assert (await other.client.get("/api/v1/me", headers=headers)).status_code == 200
        await memberships.remove(ivy.process.pool, "c1", ivy.ids["ivy"])
        for site in (ivy, other):
            assert await until_refused(site, headers) == (401, "token_expired")


async def test_an_erased_persons_tokens_end_and_they_get_no_other(ivy, make_event):
    headers, sender = await sign_in(ivy), ivy.sender("ivy")
    async with ivy.process.pool.acquire() as connection:
        await erasure.begin_person(connection, ivy.ids["ivy"])
    assert await until_refused(ivy, headers, "/api/v1/courses") == (401, "token_expired")
    answer = await ivy.client.post("/api/v1/events", headers=sender, json={"events": [make_event()]})
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (401, "token_expired")
    assert (await ivy.client.post("/api/v1/auth/refresh")).status_code == 401
    in_redis = await ivy.process.redis.zrange("cm:{revocations}", 0, -1)
    in_database = await ivy.process.pool.fetch("TABLE revocations")
    assert str(ivy.ids["ivy"]) not in repr((in_redis, in_database))
