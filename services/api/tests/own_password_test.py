"""Hazards: somebody sets a password that is not theirs to set, guesses the present one, or stays signed in after a change."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import httpx
import pytest

from cell_monitor_api.exceptions import NotAuthenticated
from cell_monitor_core.auth.passwords import hash_password
from cell_monitor_core.storage.postgres import accounts, people, sign_in_links
from cell_monitor_testing.log_text import assert_not_written, event_names

PRESENT = "correct horse battery"
NEW = "seven purple lamps"
PATH = "/api/v1/auth/password"


def fault(answer):
    return answer.status_code, answer.json()["detail"][0]["type"]


@asynccontextmanager
async def browser(site, address="192.0.2.7"):
    transport = httpx.ASGITransport(site.fast_path, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield client


async def sign_in(client, username="ivy", password=PRESENT):
    return await client.post("/api/v1/auth/login", json={"username": username, "password": password})


async def open_link(site, client, username="ivy"):
    link = await sign_in_links.create(site.process.pool, site.ids[username], timedelta(minutes=1))
    answer = await client.post("/api/v1/auth/link", json={"link": link})
    assert answer.status_code == 200
    return answer


async def state(client):
    answer = await client.get(PATH)
    assert answer.status_code == 200, answer.text
    return answer.json()["has_password"], answer.json()["change"]


async def change(client, new=NEW, **body):
    return await client.post(PATH, json={"new": new, **body})


@pytest.fixture
async def ivy(site):
    await site.course("c1", ivy="instructor")
    await site.person("ivy", password=PRESENT)
    return site


@pytest.fixture
async def invited(site):
    """Somebody who was added to a course and has no password."""
    await site.course("c1", ivy="instructor")
    return site


async def test_who_was_invited_by_a_link_chooses_a_password_and_signs_in_with_it(invited):
    async with browser(invited) as client, browser(invited) as elsewhere:
        await open_link(invited, client)
        assert await state(client) == (False, "link")
        answer = await change(client)
        assert answer.status_code == 200
        # The token is good, and the page goes on with the new cookie.
        headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
        assert (await client.get("/api/v1/me", headers=headers)).json()["username"] == "ivy"
        assert (await client.post("/api/v1/auth/refresh")).status_code == 200
        assert (await sign_in(elsewhere, password=NEW)).status_code == 200


async def test_a_link_lets_choose_once_and_for_an_hour(invited):
    async with browser(invited) as client:
        await open_link(invited, client)
        assert (await change(client)).status_code == 200
        # From now on only with the present one.
        assert await state(client) == (True, "present_password")
        assert fault(await change(client, "another good password")) == (403, "present_password_wrong")
        await open_link(invited, client)
        assert await state(client) == (True, "link")
        await invited.process.pool.execute("UPDATE sign_ins SET created_at = now() - interval '61 minutes'")
        assert await state(client) == (True, "present_password")
        assert fault(await change(client, "another good password")) == (403, "present_password_wrong")


async def test_without_a_password_a_sign_in_that_is_older_needs_a_new_link(invited):
    async with browser(invited) as client:
        await open_link(invited, client)
        await invited.process.pool.execute("UPDATE sign_ins SET created_at = now() - interval '61 minutes'")
        assert await state(client) == (False, "link_needed")
        refused = await change(client)
        assert fault(refused) == (409, "password_not_changeable")
        assert "cell-monitor sign-in-link USERNAME" in refused.json()["detail"][0]["msg"]


async def test_who_finds_a_page_left_open_cannot_set_a_password(ivy):
    async with browser(ivy) as client:
        await sign_in(client)
        assert await state(client) == (True, "present_password")
        assert fault(await change(client)) == (403, "present_password_wrong")
        assert fault(await change(client, present="")) == (403, "present_password_wrong")
        assert fault(await change(client, present="wrong password")) == (403, "present_password_wrong")
        assert (await sign_in(client)).status_code == 200


async def test_a_change_ends_every_other_sign_in_its_tokens_and_links(ivy):
    async with browser(ivy) as left, browser(ivy) as here, browser(ivy) as thief:
        await sign_in(left)
        await sign_in(here)
        link = await sign_in_links.create(ivy.process.pool, ivy.ids["ivy"], timedelta(minutes=1))
        thief.cookies.update(dict(here.cookies))
        generation = (await people.get(ivy.process.pool, ivy.keyring, ivy.ids["ivy"])).token_generation
        assert (await change(here, present=PRESENT)).status_code == 200
        # Open pages and connections end by the generation, see revocation_test.
        assert (await people.get(ivy.process.pool, ivy.keyring, ivy.ids["ivy"])).token_generation > generation
        assert (await here.post("/api/v1/auth/refresh")).status_code == 200
        # The cookie that this browser had before is worth nothing any more.
        for ended in (left, thief):
            assert fault(await ended.post("/api/v1/auth/refresh")) == (401, "not_authenticated")
        assert fault(await left.post("/api/v1/auth/link", json={"link": link})) == (
            401,
            "sign_in_link_ended_password_changed",
        )
        assert fault(await sign_in(left)) == (401, "invalid_credentials")
        assert (await sign_in(left, password=NEW)).status_code == 200


async def test_another_persons_sign_ins_stay(ivy):
    await ivy.person("ben", password=PRESENT)
    async with browser(ivy) as bens, browser(ivy) as client:
        await sign_in(bens, "ben")
        await sign_in(client)
        assert (await change(client, present=PRESENT)).status_code == 200
        assert (await bens.post("/api/v1/auth/refresh")).status_code == 200
        assert (await sign_in(bens, "ben")).status_code == 200


async def test_of_changes_at_the_same_time_one_counts(ivy):
    async with browser(ivy) as client:
        await sign_in(client)
        cookie = client.cookies["cell_monitor_sign_in"]

        async def once(number):
            async with browser(ivy) as tab:
                tab.cookies.set("cell_monitor_sign_in", cookie)
                return await change(tab, f"purple lamps number {number}", present=PRESENT)

        answers = await asyncio.gather(*(once(number) for number in range(5)))
        assert sorted(answer.status_code for answer in answers) in (
            [200, 401, 401, 401, 401],
            [200, 401, 401, 401, 403],
        )
        assert await ivy.process.pool.fetchval("SELECT count(*) FROM sign_ins") == 1
        (won,) = [number for number, answer in enumerate(answers) if answer.status_code == 200]
        assert (await sign_in(client, password=f"purple lamps number {won}")).status_code == 200


async def test_of_changes_that_passed_every_check_at_the_same_time_one_is_committed(ivy):
    # Each has seen the sign-in; the pool has a connection for each, so that they meet in the database.
    sessions, pool, person_id = ivy.process.sessions, ivy.process.pool, ivy.ids["ivy"]
    async with AsyncExitStack() as held:
        for _ in range(5):
            await held.enter_async_context(pool.acquire())
    begun = await sessions.begin(person_id, way="password", generation=0)

    async def once(number):
        async def write(connection):
            await accounts.set_password(connection, person_id, f"$argon2id${number}")

        return await sessions.begin_instead(begun.cookie, person_id, with_it=write)

    outcomes = await asyncio.gather(*(once(number) for number in range(5)), return_exceptions=True)
    (won,) = [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
    assert {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)} == {NotAuthenticated}
    assert (await accounts.of_person(pool, person_id)).password_hash == f"$argon2id${won}"
    assert await pool.fetchval("SELECT count(*) FROM sign_ins") == 1


async def test_guesses_of_the_present_password_are_limited_as_sign_ins_are(make_site):
    async with make_site(api_sign_in_per_account=3) as site:
        await site.person("ivy", password=PRESENT)
        async with browser(site) as client:
            await sign_in(client)
            for _ in range(3):
                assert fault(await change(client, present="wrong password")) == (403, "present_password_wrong")
            refused = await change(client, present=PRESENT)
            assert fault(refused) == (429, "rate_limited")
            assert int(refused.headers["retry-after"]) > 0
            # The same count as of the sign-in in this browser.
            assert fault(await sign_in(client)) == (429, "rate_limited")
            client.cookies.delete("cell_monitor_device")
            for _ in range(3):
                assert fault(await change(client, present="wrong password")) == (403, "present_password_wrong")
            assert fault(await sign_in(client)) == (429, "rate_limited")


REFUSED = {
    "eleven_char": "password_too_short",
    "password1234": "password_common",
    "ivyivyivyivy1": "password_common",
    "é" * 129: "password_too_long",
}


@pytest.mark.parametrize(("new", "error"), REFUSED.items(), ids=REFUSED.values())
async def test_the_rules_of_new_passwords_hold_here(invited, new, error):
    async with browser(invited) as client:
        await open_link(invited, client)
        refused = await change(client, new)
        assert fault(refused) == (422, error)
        assert refused.json()["detail"][0]["loc"] == ["body", "new"]
        assert new not in refused.text
        assert await state(client) == (False, "link")


async def test_who_signs_in_elsewhere_gets_no_password_here(site):
    (hubs,) = await people.upsert_many(
        site.process.pool, site.keyring, site.index, [people.NewPerson("ueda")], issuer="jupyterhub"
    )
    site.ids["ueda"] = hubs
    async with browser(site) as client:
        await open_link(site, client, "ueda")
        assert await state(client) == (False, "elsewhere")
        refused = await change(client)
        assert fault(refused) == (409, "password_not_changeable")
        assert "JupyterHub" in refused.json()["detail"][0]["msg"]
    assert await site.process.pool.fetchval("SELECT count(*) FROM local_accounts") == 0


async def test_a_password_that_the_installation_keeps_is_not_changed_on_the_page(ivy):
    await accounts.set_installation_password(ivy.process.pool, ivy.ids["ivy"], hash_password(PRESENT))
    async with browser(ivy) as client:
        await open_link(ivy, client)
        assert await state(client) == (True, "installation")
        assert fault(await change(client, present=PRESENT)) == (409, "password_not_changeable")
        assert (await sign_in(client)).status_code == 200
        # The new hash of a sign-in with an old one leaves that mark.
        await accounts.set_password(ivy.process.pool, ivy.ids["ivy"], hash_password(PRESENT))
        assert await state(client) == (True, "installation")


async def test_nobody_changes_anything_without_a_sign_in_or_from_another_site(ivy):
    async with browser(ivy) as client:
        assert fault(await client.get(PATH)) == (401, "not_authenticated")
        assert fault(await change(client, present=PRESENT)) == (401, "not_authenticated")
        await sign_in(client)
        for origin in ("cross-site", "same-site"):
            headers = {"sec-fetch-site": origin}
            assert fault(await client.get(PATH, headers=headers)) == (403, "permission_denied")
            answer = await client.post(PATH, json={"new": NEW, "present": PRESENT}, headers=headers)
            assert fault(answer) == (403, "permission_denied")
        assert (await sign_in(client)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [{}, {"present": PRESENT}, {"new": ""}, {"new": "x" * 513}, {"new": NEW, "present": "x" * 257}, {"new": [NEW]}, []],
)
async def test_other_bodies_are_refused_without_repeating_them(ivy, body):
    async with browser(ivy) as client:
        await sign_in(client)
        answer = await client.post(PATH, json=body)
        assert answer.status_code == 422
        assert PRESENT not in answer.text
        assert NEW not in answer.text


async def test_no_password_and_no_hash_of_one_is_logged(ivy, make_process):
    wrong = 'an "other" pässword+1'
    # A process: what its servers and libraries write is in its output, too.
    async with (
        make_process(CELL_MONITOR_LOG_LEVEL="debug") as process,
        httpx.AsyncClient(base_url=process.url, trust_env=False) as client,
    ):
        answers = [
            await sign_in(client, password=wrong),
            await sign_in(client),
            await change(client, present=wrong),
            await change(client, present=PRESENT, more=wrong),
            await change(client, new=f"{wrong}{'x' * 512}", present=PRESENT),
            await change(client, present=PRESENT),
        ]
    assert [answer.status_code for answer in answers] == [401, 200, 403, 422, 422, 200]
    log = process.log_path.read_text()
    for event in ("sign_in_refused", "signed_in", "password_change_refused", "password_changed"):
        assert event in event_names(log)
    assert_not_written(log, wrong, PRESENT, NEW, "$argon2id$")
