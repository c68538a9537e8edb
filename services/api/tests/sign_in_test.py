"""Signing in with a password, staying signed in, and everything that must not work."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from cell_monitor_api.exceptions import NotAuthenticated
from cell_monitor_api.services import password_checks
from cell_monitor_core.auth import passwords
from cell_monitor_core.auth.tokens import TokenVerifier
from cell_monitor_core.storage.postgres import sign_ins
from cell_monitor_core.telemetry import metrics

PASSWORD = "correct horse battery"
COOKIE = "cell_monitor_sign_in"


def fault(answer):
    return answer.status_code, answer.json()["detail"][0]["type"]


async def login(site, username="ivy", password=PASSWORD, **options):
    return await site.client.post("/api/v1/auth/login", json={"username": username, "password": password}, **options)


@pytest.fixture
async def ivy(site):
    await site.course("c1", ivy="instructor")
    await site.person("ivy", password=PASSWORD)
    return site


async def test_signing_in_gives_a_short_token_and_a_cookie_that_scripts_cannot_read(ivy):
    answer = await login(ivy)
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in"}
    assert answer.json()["token_type"] == "bearer"
    assert answer.json()["expires_in"] == 600
    assert answer.headers["cache-control"] == "no-store"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    for part in ("HttpOnly", "SameSite=strict", "Path=/api/v1/auth", "Max-Age=1209600"):
        assert part in cookie
    assert "Secure" not in cookie
    claims = TokenVerifier(ivy.process.signing, "gateway").verify(answer.json()["access_token"])
    assert claims.sub == str(ivy.ids["ivy"])
    assert claims.courses == {"c1": "instructor"}
    assert claims.aud == ("api", "gateway")
    assert claims.scopes == ()
    me = await ivy.client.get("/api/v1/me", headers={"authorization": f"Bearer {answer.json()['access_token']}"})
    assert me.json() == {
        "person_id": str(ivy.ids["ivy"]),
        "username": "ivy",
        "display_name": "Ivy Doe",
        "is_admin": False,
        "courses": [{"course_id": "c1", "title": "Course c1", "role": "instructor"}],
    }


async def test_the_cookie_is_secure_over_https(ivy):
    transport = httpx.ASGITransport(ivy.fast_path)
    async with httpx.AsyncClient(transport=transport, base_url="https://api.test") as client:
        answer = await client.post("/api/v1/auth/login", json={"username": "ivy", "password": PASSWORD})
    assert "; Secure" in answer.headers["set-cookie"]


async def test_user_names_are_found_in_any_case(ivy):
    assert (await login(ivy, "IVY")).status_code == 200


async def test_the_config_lists_the_ways_to_sign_in(site):
    config = (await site.client.get("/api/v1/config")).json()
    assert config["sign_in"] == [{"kind": "password"}]


async def test_however_somebody_proves_who_they_are_one_function_begins_the_session(ivy):
    signed_in = await ivy.process.sessions.begin(ivy.ids["ivy"], way="password", generation=0)
    claims = TokenVerifier(ivy.process.signing, "api").verify(signed_in.token.access_token)
    assert (claims.sub, claims.grant, claims.courses) == (str(ivy.ids["ivy"]), "session", {"c1": "instructor"})
    renewed = await ivy.client.post("/api/v1/auth/refresh", headers={"cookie": f"{COOKIE}={signed_in.cookie}"})
    assert renewed.status_code == 200
    await ivy.process.pool.execute("DELETE FROM people WHERE person_id = $1", ivy.ids["ivy"])
    with pytest.raises(NotAuthenticated):
        await ivy.process.sessions.begin(ivy.ids["ivy"], way="password", generation=0)


async def test_unknown_users_and_wrong_passwords_look_the_same_and_cost_the_same(ivy, monkeypatch):
    checked = []
    verify = passwords._argon2.verify
    monkeypatch.setattr(
        passwords, "_argon2", type("Counting", (), {"verify": lambda _, *a: (checked.append(a), verify(*a))[1]})()
    )
    wrong = await login(ivy, password="wrong password")
    unknown = await login(ivy, "nobody", "wrong password")
    assert fault(wrong) == fault(unknown) == (401, "invalid_credentials")
    assert wrong.content == unknown.content
    assert "set-cookie" not in wrong.headers
    # Both went through argon2 with the same parameters.
    assert len(checked) == 2
    assert len({stored.split("$")[3] for stored, _ in checked}) == 1


async def test_guesses_on_one_account_are_limited_until_the_next_window(make_site):
    async with make_site(api_sign_in_per_account=3, api_sign_in_window_s=60) as site:
        await site.person("ivy", password=PASSWORD)
        await site.person("ben", password=PASSWORD)
        for _ in range(3):
            assert fault(await login(site, password="wrong password")) == (401, "invalid_credentials")
        refused = await login(site)
        assert fault(refused) == (429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert (await login(site, "ben")).status_code == 200
        assert await site.process.redis.keys("cm:{signin}:*")
        for key in await site.process.redis.keys("cm:{signin}:pair:*"):
            assert b"ivy" not in key
            assert 0 < await site.process.redis.pttl(key) <= 60_000
            await site.process.redis.delete(key)
        assert (await login(site)).status_code == 200


async def test_a_success_forgets_the_failures(make_site):
    async with make_site(api_sign_in_per_account=3) as site:
        await site.person("ivy", password=PASSWORD)
        for _ in range(4):
            await login(site, password="wrong password")
            assert (await login(site)).status_code == 200


async def test_one_address_cannot_guess_on_many_accounts(make_site):
    async with make_site(api_sign_in_per_address=4) as site:
        await site.person("ivy", password=PASSWORD)
        for number in range(4):
            assert (await login(site, f"user{number}", "wrong password")).status_code == 401
        assert fault(await login(site)) == (429, "rate_limited")
        transport = httpx.ASGITransport(site.fast_path, client=("198.51.100.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as elsewhere:
            body = {"username": "ivy", "password": PASSWORD}
            assert (await elsewhere.post("/api/v1/auth/login", json=body)).status_code == 200


async def test_a_flood_of_sign_ins_is_refused_before_it_queues_for_the_threads(make_site, monkeypatch):
    monkeypatch.setattr(password_checks, "_MAX_CHECKING", 2)
    counters = metrics.RATE_LIMITED.labels("sign_in_load"), metrics.SIGN_INS.labels("password", "rate_limited")
    before = [counter.value for counter in counters]
    async with make_site() as site:
        await site.person("ivy", password=PASSWORD)
        answers = await asyncio.gather(*(login(site, f"user{number}", "wrong password") for number in range(8)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses.count(401) >= 2
        assert statuses.count(429) >= 1
        assert [counter.value for counter in counters] == [then + statuses.count(429) for then in before]
        assert (await login(site)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "ivy"},
        {"username": "ivy", "password": ""},
        {"username": "", "password": PASSWORD},
        {"username": "a\u0000b", "password": PASSWORD},
        {"username": "x" * 151, "password": PASSWORD},
        {"username": "ivy", "password": "x" * 257},
        {"username": "ivy", "password": PASSWORD, "admin": True},
        {"username": ["ivy"], "password": PASSWORD},
        [],
    ],
)
async def test_other_bodies_are_refused_without_repeating_them(ivy, body):
    answer = await ivy.client.post("/api/v1/auth/login", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"]
    assert PASSWORD not in answer.text


async def test_a_half_of_a_surrogate_pair_breaks_nothing(ivy):
    answer = await ivy.client.post(
        "/api/v1/auth/login",
        content=b'{"username": "\\ud800", "password": "\\ud800\\ud800"}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code in {401, 422}
    assert answer.json()["detail"][0]["type"]


async def test_forms_of_other_sites_do_not_sign_in(ivy):
    form = {"username": "ivy", "password": PASSWORD}
    assert (await ivy.client.post("/api/v1/auth/login", data=form)).status_code == 422
    answer = await login(ivy, headers={"sec-fetch-site": "cross-site"})
    assert fault(answer) == (403, "permission_denied")


async def test_the_cookie_brings_new_tokens_until_signing_out(ivy):
    await login(ivy)
    refreshed = await ivy.client.post("/api/v1/auth/refresh")
    assert refreshed.status_code == 200
    assert refreshed.json().keys() == {"access_token", "token_type", "expires_in"}
    for site in ("cross-site", "same-site"):
        answer = await ivy.client.post("/api/v1/auth/refresh", headers={"sec-fetch-site": site})
        assert fault(answer) == (403, "permission_denied")
    cookie = ivy.client.cookies[COOKIE]
    signed_out = await ivy.client.post("/api/v1/auth/logout")
    assert signed_out.status_code == 204
    assert "Max-Age=0" in signed_out.headers["set-cookie"]
    assert fault(await ivy.client.post("/api/v1/auth/refresh")) == (401, "not_authenticated")
    # The old cookie is refused.
    answer = await ivy.client.post("/api/v1/auth/refresh", headers={"cookie": f"{COOKIE}={cookie}"})
    assert fault(answer) == (401, "not_authenticated")
    assert (await ivy.client.post("/api/v1/auth/logout")).status_code == 204


async def test_new_tokens_carry_what_is_so_now(ivy):
    await login(ivy)
    await ivy.course("c2", ivy="assistant")
    await ivy.process.pool.execute("DELETE FROM memberships WHERE course_id = 'c1'")
    token = (await ivy.client.post("/api/v1/auth/refresh")).json()["access_token"]
    assert TokenVerifier(ivy.process.signing, "api").verify(token).courses == {"c2": "assistant"}


async def test_a_sign_in_ends(ivy):
    await login(ivy)
    await ivy.process.pool.execute("UPDATE sign_ins SET expires_at = now() - interval '1 second'")
    assert fault(await ivy.client.post("/api/v1/auth/refresh")) == (401, "not_authenticated")
    assert await sign_ins.prune(ivy.process.pool) == 1


async def test_the_cookie_is_not_stored_as_it_is(ivy):
    await login(ivy)
    cookie = ivy.client.cookies[COOKIE].encode()
    [stored] = await ivy.process.pool.fetch("SELECT cookie_hash FROM sign_ins")
    assert cookie not in stored["cookie_hash"]
    assert len(stored["cookie_hash"]) == 32


async def test_cookies_of_no_sign_in_are_nothing(ivy):
    for cookie in ("", "x", "x" * 5000, "\xff", "%00"):
        headers = {"cookie": f"{COOKIE}={cookie}".encode("latin-1")}
        answer = await ivy.client.post("/api/v1/auth/refresh", headers=headers)
        assert fault(answer) == (401, "not_authenticated")


async def test_tokens_of_the_api_expire(ivy, monkeypatch):
    headers = ivy.bearer("ivy")
    assert (await ivy.client.get("/api/v1/me", headers=headers)).status_code == 200
    later = time.time() + 601
    monkeypatch.setattr(ivy.process.api_verifier, "_clock", lambda: later)
    assert fault(await ivy.client.get("/api/v1/me", headers=headers)) == (401, "token_expired")


async def test_an_account_of_another_hash_is_brought_up_to_date(ivy):
    import argon2

    weak = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    await ivy.process.pool.execute("UPDATE local_accounts SET password_hash = $1", weak)
    assert (await login(ivy)).status_code == 200
    stored = await ivy.process.pool.fetchval("SELECT password_hash FROM local_accounts")
    assert stored != weak
    assert (await login(ivy)).status_code == 200
