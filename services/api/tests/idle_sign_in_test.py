"""Hazards: a sign-in that nobody uses any more goes on for weeks; or a lesson that is watched is signed out in the middle."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

PASSWORD = "correct horse battery"
RENEWAL = timedelta(seconds=450)
"""After which an open page gets its next access token: three quarters of a token's life."""


def fault(answer):
    return answer.status_code, answer.json()["detail"][0]["type"]


@pytest.fixture
async def strict(make_site):
    """An installation with the shortest idle time."""
    async with make_site(api_sign_in_idle_hours=0.5) as site:
        await site.course("c1", ivy="instructor")
        await site.person("ivy", password=PASSWORD)
        assert (await sign_in(site)).status_code == 200
        yield site


async def sign_in(site):
    return await site.client.post("/api/v1/auth/login", json={"username": "ivy", "password": PASSWORD})


async def refresh(site):
    return await site.client.post("/api/v1/auth/refresh")


async def let_pass(site, time):
    """Let time pass for the sign-ins."""
    await site.process.pool.execute(
        "UPDATE sign_ins SET created_at = created_at - $1::interval, used_at = used_at - $1::interval, "
        "expires_at = expires_at - $1::interval",
        time,
    )


async def used_at(site):
    return await site.process.pool.fetchval("SELECT used_at FROM sign_ins")


async def test_a_sign_in_that_no_page_used_has_ended_and_the_answer_says_why(strict):
    await let_pass(strict, timedelta(minutes=29))
    assert (await refresh(strict)).status_code == 200
    await let_pass(strict, timedelta(minutes=30))
    assert fault(await refresh(strict)) == (401, "sign_in_idle")
    # For everything else that the cookie allows, too; and asking was no use.
    assert fault(await strict.client.get("/api/v1/auth/password")) == (401, "sign_in_idle")
    assert fault(await strict.client.post("/api/v1/auth/logout-everywhere")) == (401, "sign_in_idle")
    assert fault(await refresh(strict)) == (401, "sign_in_idle")
    assert (await sign_in(strict)).status_code == 200
    assert (await refresh(strict)).status_code == 200


async def test_a_page_that_is_open_for_three_hours_stays_signed_in_without_a_touch(strict):
    for _ in range(int(timedelta(hours=3) / RENEWAL)):
        await let_pass(strict, RENEWAL)
        assert (await refresh(strict)).status_code == 200


async def test_use_does_not_move_the_end_that_a_sign_in_has_at_the_latest(strict):
    left = await strict.process.pool.fetchval("SELECT expires_at - now() FROM sign_ins")
    await let_pass(strict, left - timedelta(minutes=20))
    await strict.process.pool.execute("UPDATE sign_ins SET used_at = now() - interval '20 minutes'")
    assert (await refresh(strict)).status_code == 200
    await let_pass(strict, timedelta(minutes=20))
    assert fault(await refresh(strict)) == (401, "not_authenticated")


async def test_use_is_written_once_in_some_minutes_and_not_with_every_token(strict):
    first = await used_at(strict)
    for _ in range(3):
        assert (await refresh(strict)).status_code == 200
    assert await used_at(strict) == first
    await let_pass(strict, timedelta(minutes=6))
    assert (await refresh(strict)).status_code == 200
    assert await used_at(strict) > first


async def test_a_night_passes_and_a_day_does_not(site):
    await site.person("ivy", password=PASSWORD)
    await sign_in(site)
    await let_pass(site, timedelta(hours=11))
    assert (await refresh(site)).status_code == 200
    await let_pass(site, timedelta(hours=12))
    assert fault(await refresh(site)) == (401, "sign_in_idle")


@pytest.mark.parametrize("hours", [0, 0.49, -1, 2161])
def test_an_idle_time_that_signs_open_pages_out_is_refused(make_settings, hours):
    # A page whose browser sleeps, or throttles it, renews later than after its seven minutes and a half.
    with pytest.raises(ValidationError, match="api_sign_in_idle_hours"):
        make_settings(api_sign_in_idle_hours=hours)
