"""Hazard: a request that is under way while a password, a right, a session or a key ends undoes that end.

Each test stops a request between its check and its write, ends what the check relied on, and lets it go on.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import argon2
import httpx
import pytest

from cell_monitor_core.auth.audit import OPERATOR
from cell_monitor_core.auth.passwords import PasswordHasher
from cell_monitor_core.storage.postgres import (
    accounts,
    api_keys,
    joined_computers,
    memberships,
    people,
    sign_in_links,
    sign_ins,
)

PRESENT = "correct horse battery"
NEW = "seven purple lamps"


class Gate:
    """Stops one call of a function, before or after its work, until the test opens it."""

    def __init__(self, monkeypatch, owner, name, *, before=False, call=1):
        self._reached, self._opened = asyncio.Event(), asyncio.Event()
        self._calls = 0
        real = getattr(owner, name)

        async def gated(*arguments, **options):
            self._calls += 1
            stopped = self._calls == call
            if stopped and before:
                await self._stop()
            answer = await real(*arguments, **options)
            if stopped and not before:
                await self._stop()
            return answer

        monkeypatch.setattr(owner, name, gated)

    async def _stop(self):
        self._reached.set()
        await self._opened.wait()

    async def stopped(self, work):
        """Begin some work and return its task once the gate has stopped it."""
        task = asyncio.ensure_future(work)
        reached = asyncio.ensure_future(self._reached.wait())
        await asyncio.wait((task, reached), return_when=asyncio.FIRST_COMPLETED, timeout=30)
        assert reached.done(), "the work did not come to the gate"
        return task

    def open(self):
        self._opened.set()


@asynccontextmanager
async def browser(site):
    transport = httpx.ASGITransport(site.fast_path, client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield client


def fault(answer):
    return answer.status_code, answer.json()["detail"][0]["type"]


async def sign_in(client, password=PRESENT):
    return await client.post("/api/v1/auth/login", json={"username": "ivy", "password": password})


async def refresh(client):
    return await client.post("/api/v1/auth/refresh")


async def until_refused(client, token, path="/api/v1/courses"):
    """Wait until a token is refused as one that has ended."""
    deadline = time.monotonic() + 20
    headers = {"authorization": f"Bearer {token}"}
    while (answer := await client.get(path, headers=headers)).status_code == 200:
        assert time.monotonic() < deadline, "the token is still accepted"
        await asyncio.sleep(0.05)
    assert fault(answer) == (401, "token_expired")


async def begun_or_waiting(site, work):
    """Begin some work and return its task once it is done or waits for a lock in the database."""
    task = asyncio.ensure_future(work)
    deadline = time.monotonic() + 30
    sql = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database OR l.database IS NULL WHERE NOT granted"
    while not task.done() and not await site.process.pool.fetchval(sql):
        assert time.monotonic() < deadline, "neither done nor waiting"
        await asyncio.sleep(0.02)
    return task


@pytest.fixture
async def ivy(site):
    await site.course("c1", ivy="instructor")
    await site.person("ivy", password=PRESENT)
    return site


async def change_password(_site, client):
    answer = await client.post("/api/v1/auth/password", json={"present": PRESENT, "new": NEW})
    assert answer.status_code == 200, answer.text


async def sign_out_everywhere(_site, client):
    assert (await client.post("/api/v1/auth/logout-everywhere")).status_code == 204


async def reset_password(site, _client):
    """As `cell-monitor sign-in-link --reset-password` does."""
    async with site.process.pool.acquire() as connection, connection.transaction():
        await accounts.remove(connection, site.ids["ivy"])
        await sign_ins.revoke_person(connection, site.ids["ivy"])
        await sign_in_links.revoke_person(
            connection, site.ids["ivy"], sign_in_links.EndedBy.PASSWORD_RESET, by=OPERATOR
        )


async def sign_out(_site, client):
    assert (await client.post("/api/v1/auth/logout")).status_code == 204


async def dismiss(site, _client):
    assert await memberships.remove(site.process.pool, "c1", site.ids["ivy"])


ENDS = {"changed": change_password, "everywhere": sign_out_everywhere, "reset": reset_password}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_a_sign_in_under_way_does_not_outlive_the_password_that_it_gave(ivy, monkeypatch, end):
    async with browser(ivy) as here, browser(ivy) as thief:
        await sign_in(here)
        gate = Gate(monkeypatch, PasswordHasher, "verify")
        under_way = await gate.stopped(sign_in(thief))
        await end(ivy, here)
        gate.open()
        assert fault(await under_way) == (401, "invalid_credentials")
        assert (await refresh(thief)).status_code == 401


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_a_sign_in_that_is_being_stored_is_among_those_that_end(ivy, monkeypatch, end):
    async with browser(ivy) as here, browser(ivy) as thief:
        await sign_in(here)
        gate = Gate(monkeypatch, sign_ins, "begin")
        under_way = await gate.stopped(sign_in(thief))
        ending = await begun_or_waiting(ivy, end(ivy, here))
        gate.open()
        answer = await under_way
        await ending
        assert answer.status_code == 200
        assert (await refresh(thief)).status_code == 401
        await until_refused(thief, answer.json()["access_token"])


async def test_a_sign_in_under_way_while_a_role_changes_is_not_refused(ivy, monkeypatch):
    async with browser(ivy) as client:
        gate = Gate(monkeypatch, PasswordHasher, "verify")
        under_way = await gate.stopped(sign_in(client))
        await dismiss(ivy, client)
        gate.open()
        assert (await under_way).status_code == 200
        assert (await refresh(client)).status_code == 200


async def test_a_sign_in_under_way_does_not_bring_the_old_password_back(ivy, monkeypatch):
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PRESENT)
    await accounts.set_password(ivy.process.pool, ivy.ids["ivy"], old)
    async with browser(ivy) as here, browser(ivy) as thief:
        # Its own sign-in would store a newer hash: this one began with the link.
        link = await sign_in_links.create(ivy.process.pool, ivy.ids["ivy"], timedelta(minutes=1))
        await here.post("/api/v1/auth/link", json={"link": link})
        gate = Gate(monkeypatch, PasswordHasher, "hash")
        under_way = await gate.stopped(sign_in(thief))
        await change_password(ivy, here)
        gate.open()
        assert fault(await under_way) == (401, "invalid_credentials")
        assert fault(await sign_in(thief)) == (401, "invalid_credentials")
        assert (await sign_in(thief, NEW)).status_code == 200


async def test_a_sign_in_under_way_does_not_bring_a_deleted_password_back(ivy, monkeypatch):
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PRESENT)
    await accounts.set_password(ivy.process.pool, ivy.ids["ivy"], old)
    async with browser(ivy) as thief:
        gate = Gate(monkeypatch, PasswordHasher, "hash")
        under_way = await gate.stopped(sign_in(thief))
        await reset_password(ivy, thief)
        gate.open()
        assert fault(await under_way) == (401, "invalid_credentials")
        assert fault(await sign_in(thief)) == (401, "invalid_credentials")


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_a_link_that_is_being_used_does_not_outlive_the_end_of_all_links(ivy, monkeypatch, end):
    link = await sign_in_links.create(ivy.process.pool, ivy.ids["ivy"], timedelta(minutes=1))
    async with browser(ivy) as here, browser(ivy) as thief:
        await sign_in(here)
        gate = Gate(monkeypatch, sign_in_links, "use")
        under_way = await gate.stopped(thief.post("/api/v1/auth/link", json={"link": link}))
        await end(ivy, here)
        gate.open()
        # Nobody was signed in, so it does not say that the link was used, now or later.
        assert fault(await under_way) == (401, "sign_in_link_ended")
        assert fault(await thief.post("/api/v1/auth/link", json={"link": link})) == (401, "sign_in_link_ended")
        # Nor a password set without the present one, which such a sign-in allows.
        assert fault(await thief.post("/api/v1/auth/password", json={"new": "another good password"})) == (
            401,
            "not_authenticated",
        )


RENEWALS = {
    "signed out, before the person is read": (sign_out, sign_ins, "get"),
    "everywhere, before the person is read": (sign_out_everywhere, sign_ins, "get"),
    "password changed elsewhere, before the person is read": (change_password, sign_ins, "get"),
    "everywhere, after the person was read": (sign_out_everywhere, people, "get"),
    "dismissed, before the roles are read": (dismiss, people, "get"),
    "dismissed, after the roles were read": (dismiss, memberships, "roles_of"),
}


@pytest.mark.parametrize(("end", "owner", "name"), RENEWALS.values(), ids=RENEWALS.keys())
async def test_the_token_of_a_renewal_under_way_ends_with_the_session_and_the_role(ivy, monkeypatch, end, owner, name):
    async with browser(ivy) as here, browser(ivy) as page:
        await sign_in(here)
        await sign_in(page)
        if end is sign_out:
            here.cookies.update(dict(page.cookies))
        gate = Gate(monkeypatch, owner, name)
        under_way = await gate.stopped(refresh(page))
        await end(ivy, here)
        gate.open()
        answer = await under_way
        if answer.status_code == 200:
            await until_refused(page, answer.json()["access_token"])
        else:
            assert fault(answer) == (401, "not_authenticated")
        assert (await refresh(page)).status_code == (200 if end is dismiss else 401)


async def test_the_token_of_a_change_of_password_under_way_ends_with_a_reset(ivy, monkeypatch):
    async with browser(ivy) as client:
        await sign_in(client)
        # The first time for the rules of new passwords.
        gate = Gate(monkeypatch, people, "get", before=True, call=2)
        body = {"present": PRESENT, "new": NEW}
        under_way = await gate.stopped(client.post("/api/v1/auth/password", json=body))
        resetting = await begun_or_waiting(ivy, reset_password(ivy, client))
        gate.open()
        answer = await under_way
        await resetting
        if answer.status_code == 200:
            await until_refused(client, answer.json()["access_token"])
        assert (await refresh(client)).status_code == 401
        assert fault(await sign_in(client, NEW)) == (401, "invalid_credentials")


@pytest.mark.parametrize("end", [sign_out_everywhere, reset_password], ids=["everywhere", "reset"])
async def test_a_change_of_password_under_way_does_not_outlive_the_sign_in_that_asked_for_it(ivy, monkeypatch, end):
    async with browser(ivy) as here, browser(ivy) as thief:
        await sign_in(here)
        await sign_in(thief)
        gate = Gate(monkeypatch, PasswordHasher, "hash")
        body = {"present": PRESENT, "new": NEW}
        under_way = await gate.stopped(thief.post("/api/v1/auth/password", json=body))
        await end(ivy, here)
        gate.open()
        assert fault(await under_way) == (401, "not_authenticated")
        assert fault(await sign_in(thief, NEW)) == (401, "invalid_credentials")


async def no_admin(site, _key):
    assert await people.set_admin(site.process.pool, site.ids["ivy"], is_admin=False)


async def revoke_key(site, key):
    assert await api_keys.revoke(site.process.pool, key.key_id)


KEY_ENDS = {
    "key revoked": (revoke_key, api_keys, "verify"),
    "no admin any more": (no_admin, people, "get"),
    "dismissed": (dismiss, memberships, "roles_of"),
}


@pytest.mark.parametrize(("end", "owner", "name"), KEY_ENDS.values(), ids=KEY_ENDS.keys())
async def test_the_token_of_a_key_that_is_being_exchanged_ends_with_what_it_states(ivy, monkeypatch, end, owner, name):
    await people.set_admin(ivy.process.pool, ivy.ids["ivy"], is_admin=True)
    key, text = await ivy.key("admin", "courses:read", username="ivy")
    async with browser(ivy) as client:
        gate = Gate(monkeypatch, owner, name)
        exchange = client.post(
            "/api/v1/auth/token", json={"audience": "api"}, headers={"authorization": f"ApiKey {text}"}
        )
        under_way = await gate.stopped(exchange)
        await end(ivy, key)
        gate.open()
        answer = await under_way
        assert answer.status_code == 200
        await until_refused(client, answer.json()["access_token"])


ADMIN_ACTS = {
    "a key": ("POST", "/api/v1/api-keys", {"name": "k", "scopes": ["admin"], "expires_in_days": 700}),
    "a role": ("PUT", "/api/v1/courses/c1/members", {"members": [{"username": "eve", "role": "instructor"}]}),
}


@pytest.mark.parametrize(("method", "path", "body"), ADMIN_ACTS.values(), ids=ADMIN_ACTS.keys())
async def test_what_an_admin_gives_while_they_are_dismissed_does_not_outlast_them(ivy, monkeypatch, method, path, body):
    await people.set_admin(ivy.process.pool, ivy.ids["ivy"], is_admin=True)
    async with browser(ivy) as client:
        headers = {"authorization": f"Bearer {(await sign_in(client)).json()['access_token']}"}
        gate = Gate(monkeypatch, type(ivy.process.access), "_is_admin")
        under_way = await gate.stopped(client.request(method, path, json=body, headers=headers))
        await no_admin(ivy, None)
        await dismiss(ivy, client)
        gate.open()
        answer = await under_way
    assert answer.status_code in (403, 404), answer.text
    assert await ivy.process.pool.fetchval("SELECT count(*) FROM api_keys") == 0
    assert [member.role for member in await memberships.roster(ivy.process.pool, "c1")] == []


async def test_a_key_that_is_being_revoked_makes_no_other_key(ivy, monkeypatch):
    key, text = await ivy.key("admin", "courses:read")
    async with browser(ivy) as client:
        credential = {"authorization": f"ApiKey {text}"}
        exchanged = await client.post("/api/v1/auth/token", json={"audience": "api"}, headers=credential)
        headers = {"authorization": f"Bearer {exchanged.json()['access_token']}"}
        gate = Gate(monkeypatch, type(ivy.process.access), "_is_admin")
        body = {"name": "other", "scopes": ["admin"], "expires_in_days": 700}
        under_way = await gate.stopped(client.post("/api/v1/api-keys", json=body, headers=headers))
        await revoke_key(ivy, key)
        gate.open()
        assert fault(await under_way) == (403, "permission_denied")
    assert await ivy.process.pool.fetchval("SELECT count(*) FROM api_keys") == 1


async def test_a_computer_that_gets_a_token_while_it_is_merged_does_not_go_on_as_the_student_who_left(
    ivy, monkeypatch, make_event
):
    await ivy.course("c1", tanaka="student")
    pool, secret = ivy.process.pool, "s" * 43
    async with pool.acquire() as connection, connection.transaction():
        computer = await joined_computers.add(
            connection, ivy.keyring, ivy.index, course_id="c1", name="Hanako", secret=secret
        )
    credential = {"authorization": f"Join {secret}"}
    async with browser(ivy) as client:

        async def token():
            answer = await client.post("/api/v1/auth/token", json={"audience": "ingest"}, headers=credential)
            assert answer.status_code == 200
            return {"authorization": f"Bearer {answer.json()['access_token']}"}

        async def send(headers):
            return await client.post("/api/v1/events", headers=headers, json={"events": [make_event()]})

        gate = Gate(monkeypatch, joined_computers, "find")
        under_way = await gate.stopped(token())
        await ivy.process.join_codes.merge("c1", computer.person_id, ivy.ids["tanaka"], by=OPERATOR)
        gate.open()
        headers = await under_way
        deadline = time.monotonic() + 20
        while (answer := await send(headers)).status_code == 200:
            assert time.monotonic() < deadline, "it still sends as the student who left"
            await asyncio.sleep(0.05)
        assert fault(answer) == (401, "token_expired")
        assert (await send(await token())).status_code == 200
