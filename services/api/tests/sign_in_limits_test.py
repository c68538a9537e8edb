"""Hazards: failed sign-ins of others keep a whole campus out; or a password can be guessed without end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest

from cell_monitor_api.services.device_cookies import DeviceCookies
from cell_monitor_core.storage.postgres import sign_in_links

PASSWORD = "correct horse battery"

DEVICE = "cell_monitor_device"
CAMPUS = "192.0.2.7"


def fault(answer):
    return answer.status_code, answer.json()["detail"][0]["type"]


@asynccontextmanager
async def browser(site, address=CAMPUS, **cookies):
    transport = httpx.ASGITransport(site.fast_path, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test", cookies=cookies) as client:
        yield client


async def login(client, username, password=PASSWORD):
    return await client.post("/api/v1/auth/login", json={"username": username, "password": password})


async def fail(site, username, times, address=CAMPUS, **cookies):
    """Fail to sign in, in a browser that is new to the server; return the statuses."""
    async with browser(site, address, **cookies) as client:
        return [(await login(client, username, "wrong password")).status_code for _ in range(times)]


async def device_of(site, username, address=CAMPUS):
    """Sign in once and return the cookie by which the server knows this browser again."""
    async with browser(site, address) as client:
        answer = await login(client, username)
        assert answer.status_code == 200, answer.text
        return client.cookies[DEVICE]


@pytest.fixture
async def campus(site):
    for name in ("ivy", "ben"):
        await site.person(name, password=PASSWORD)
    return site


async def test_a_hundred_failures_from_one_address_do_not_keep_out_the_browsers_that_signed_in_before(campus):
    known = await device_of(campus, "ivy")
    statuses = [status for number in range(25) for status in await fail(campus, f"user{number}", 4)]
    assert statuses == [401] * 100
    async with browser(campus) as unknown, browser(campus, **{DEVICE: known}) as ivys:
        assert fault(await login(unknown, "ben")) == (429, "rate_limited")
        assert (await login(ivys, "ivy")).status_code == 200
    # Elsewhere nobody is kept out.
    async with browser(campus, "198.51.100.9") as elsewhere:
        assert (await login(elsewhere, "ben")).status_code == 200


async def test_a_class_that_signs_in_at_once_behind_one_address_is_not_limited(make_site):
    async with make_site(api_sign_in_per_address=2, api_sign_in_per_account=2) as site:
        await site.person("ivy", password=PASSWORD)
        for _ in range(5):
            async with browser(site) as client:
                assert (await login(client, "ivy")).status_code == 200
        assert await site.process.redis.keys("cm:{signin}:*") == []


async def test_failures_at_one_address_do_not_lock_the_account_at_another(campus):
    assert await fail(campus, "ivy", 12, "198.51.100.66") == [401] * 10 + [429] * 2
    async with browser(campus) as client:
        assert (await login(client, "ivy")).status_code == 200


async def test_guesses_from_many_addresses_on_one_account_are_limited_and_its_person_gets_in(make_site):
    async with make_site(api_sign_in_per_account_hour=6, api_sign_in_per_account=4) as site:
        await site.person("ivy", password=PASSWORD)
        known = await device_of(site, "ivy")
        for number in range(3):
            assert await fail(site, "IVY" if number == 1 else "ivy", 2, f"198.51.100.{number}") == [401] * 2
        assert await fail(site, "ivy", 1, "198.51.100.99") == [429]
        [key] = await site.process.redis.keys("cm:{signin}:account:*")
        assert 3_500_000 < await site.process.redis.pttl(key) <= 3_600_000
        async with browser(site, "198.51.100.98", **{DEVICE: known}) as ivys:
            assert (await login(ivys, "ivy")).status_code == 200


async def test_an_account_that_does_not_exist_is_limited_like_one_that_does(make_site):
    async with make_site(api_sign_in_per_account=3) as site:
        await site.person("ivy", password=PASSWORD)
        answers = {}
        for name in ("ivy", "nobody"):
            async with browser(site) as client:
                answers[name] = [await login(client, name, "wrong password") for _ in range(4)]
        for known, unknown in zip(*answers.values(), strict=True):
            assert known.status_code == unknown.status_code
            assert known.headers.keys() == unknown.headers.keys()
            assert known.json()["detail"][0]["type"] == unknown.json()["detail"][0]["type"]
        assert [answer.status_code for answer in answers["nobody"]] == [401, 401, 401, 429]


async def test_attempts_at_the_same_time_do_not_exceed_a_limit(make_site):
    async with make_site(api_sign_in_per_account=3) as site:
        await site.person("ivy", password=PASSWORD)
        async with browser(site) as client:
            answers = await asyncio.gather(*(login(client, "ivy", "wrong password") for _ in range(12)))
        assert sorted(answer.status_code for answer in answers) == [401] * 3 + [429] * 9


async def test_a_known_browser_has_a_limit_too_and_is_no_key_to_other_accounts(make_site):
    async with make_site(api_sign_in_per_account=3, api_sign_in_per_address=6) as site:
        for name in ("ivy", "ben"):
            await site.person(name, password=PASSWORD)
        known = await device_of(site, "ivy")
        assert await fail(site, "ivy", 4, **{DEVICE: known}) == [401] * 3 + [429]
        # These did not count on the address, and ivy's browser counts like any other on another account.
        assert await fail(site, "ben", 4, **{DEVICE: known}) == [401] * 3 + [429]
        async with browser(site) as client:
            assert (await login(client, "ivy")).status_code == 200


async def test_links_are_not_refused_for_failed_passwords(make_site):
    async with make_site(api_sign_in_per_address=2) as site:
        ivy = await site.person("ivy", password=PASSWORD)
        assert await fail(site, "ivy", 3) == [401, 401, 429]
        link = await sign_in_links.create(site.process.pool, ivy, timedelta(minutes=1))
        async with browser(site) as client:
            answer = await client.post("/api/v1/auth/link", json={"link": link})
            assert answer.status_code == 200
            # Who signed in with a link is known in this browser, too.
            assert (await login(client, "ivy")).status_code == 200


async def test_addresses_of_one_ipv6_network_count_as_one(make_site):
    async with make_site(api_sign_in_per_address=2) as site:
        for number in (1, 2):
            assert await fail(site, f"user{number}", 1, f"2001:db8:1:2::{number}") == [401]
        assert await fail(site, "user3", 1, "2001:db8:1:2:ffff::3") == [429]
        assert await fail(site, "user4", 1, "2001:db8:1:3::1") == [401]


async def test_what_is_stored_names_nobody_and_ends(campus):
    known = await device_of(campus, "ivy")
    await fail(campus, "ivy", 1)
    await fail(campus, "ivy", 1, **{DEVICE: known})
    names = await campus.process.redis.keys("cm:{signin}:*")
    assert sorted(name.split(b":")[2] for name in names) == [b"account", b"address", b"device", b"pair"]
    for name in names:
        assert not any(part in name for part in (b"ivy", CAMPUS.encode()))
        assert 0 < await campus.process.redis.pttl(name) <= 3_600_000


async def test_the_cookie_of_a_browser_signs_nobody_in_and_scripts_cannot_read_it(campus):
    async with browser(campus) as client:
        answer = await login(client, "ivy")
        [cookie] = [one for one in answer.headers.get_list("set-cookie") if one.startswith(f"{DEVICE}=")]
        for part in ("HttpOnly", "SameSite=strict", "Path=/api/v1/auth", "Max-Age=15552000"):
            assert part in cookie
        assert str(campus.ids["ivy"]) not in cookie
        assert (await client.post("/api/v1/auth/logout")).status_code == 204
        assert DEVICE in client.cookies
        assert (await client.post("/api/v1/auth/refresh")).status_code == 401


def test_a_cookie_is_good_for_its_person_and_its_time_only(site):
    now = 1_800_000_000.0
    devices = DeviceCookies(site.index, lifetime=timedelta(days=1), clock=lambda: now)
    ivy, ben = uuid4(), uuid4()
    cookie = devices.make(ivy)
    device, issued, proof = cookie.split(".")
    assert devices.device_of(cookie, ivy) == device
    assert devices.make(ivy) != cookie
    later = DeviceCookies(site.index, lifetime=timedelta(days=1), clock=lambda: now + 86_400)
    assert later.device_of(cookie, ivy) is None
    forged = [
        f"{device}.{int(issued) + 1}.{proof}",
        f"{'A' * 22}.{issued}.{proof}",
        f"{device}.{issued}.{'0' * 64}",
        f"{cookie} ",
        f"{device}.{issued}",
        "x" * 100_000,
        "",
        None,
    ]
    assert [devices.device_of(text, ivy) for text in forged] == [None] * len(forged)
    assert devices.device_of(cookie, ben) is None
    assert devices.device_of(cookie, None) is None
    nobody = DeviceCookies(site.index, lifetime=timedelta(days=1)).make(UUID(int=0))
    assert devices.device_of(nobody, None) is None
