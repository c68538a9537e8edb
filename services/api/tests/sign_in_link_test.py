"""Hazards: a link signs in twice, after its time, as another person, or its secret is readable where it should not be."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta

import httpx
import pytest

from cell_monitor_core.auth.audit import OPERATOR
from cell_monitor_core.auth.tokens import TokenVerifier
from cell_monitor_core.storage.postgres import sign_in_links
from cell_monitor_core.storage.postgres.sign_in_links import EndedBy
from cell_monitor_core.telemetry import metrics
from cell_monitor_testing.log_text import assert_not_written, event_names

COOKIE = "cell_monitor_sign_in"
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def ivy(site):
    await site.course("c1", ivy="instructor")
    return site


async def use(site, link, **options):
    return await site.client.post("/api/v1/auth/link", json={"link": link}, **options)


def fault(answer):
    return answer.status_code, answer.json()["detail"][0]["type"]


async def test_a_link_gives_the_same_session_as_a_password_and_no_second_one(ivy):
    link = await sign_in_links.create(ivy.process.pool, ivy.ids["ivy"], MINUTE)
    answer = await use(ivy, link)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    cookie = answer.headers["set-cookie"]
    for part in (f"{COOKIE}=", "HttpOnly", "SameSite=strict", "Path=/api/v1/auth"):
        assert part in cookie
    claims = TokenVerifier(ivy.process.signing, "gateway").verify(answer.json()["access_token"])
    assert (claims.sub, claims.courses, claims.scopes) == (str(ivy.ids["ivy"]), {"c1": "instructor"}, ())
    refreshed = await ivy.client.post("/api/v1/auth/refresh", headers={"cookie": cookie.partition(";")[0]})
    assert refreshed.status_code == 200

    again = await use(ivy, link)
    assert fault(again) == (401, "sign_in_link_used")
    assert "cell-monitor sign-in-link USERNAME" in again.json()["detail"][0]["msg"]
    assert "set-cookie" not in again.headers


async def test_a_link_that_somebody_sent_does_not_make_a_signed_in_browser_theirs(ivy):
    """Login CSRF: who follows it would go on in the sender's name, and write into the sender's course."""
    await ivy.course("c2", eve="instructor")
    pool = ivy.process.pool
    ivys = await sign_in_links.create(pool, ivy.ids["ivy"], MINUTE)
    cookie = {"cookie": (await use(ivy, ivys)).headers["set-cookie"].partition(";")[0]}
    ivy.client.cookies.clear()
    eves = await sign_in_links.create(pool, ivy.ids["eve"], MINUTE)
    answer = await use(ivy, eves, headers=cookie)
    assert fault(answer) == (409, "sign_in_link_of_another")
    assert "set-cookie" not in answer.headers
    assert (await ivy.client.post("/api/v1/auth/refresh", headers=cookie)).status_code == 200
    # A person's own link goes on as before, and the other one is not used up: once signed out it works.
    own = await sign_in_links.create(pool, ivy.ids["ivy"], MINUTE)
    assert (await use(ivy, own, headers=cookie)).status_code == 200
    ivy.client.cookies.clear()
    await ivy.client.post("/api/v1/auth/logout", headers=cookie)
    assert (await use(ivy, eves, headers=cookie)).status_code == 200
    ivy.client.cookies.clear()
    # Of a link that is over the reason is given, not whose it is.
    assert fault(await use(ivy, ivys, headers=cookie)) == (401, "sign_in_link_used")


async def test_of_many_uses_at_the_same_time_one_signs_in(ivy):
    link = await sign_in_links.create(ivy.process.pool, ivy.ids["ivy"], MINUTE)
    answers = await asyncio.gather(*(use(ivy, link) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 19
    assert {fault(answer)[1] for answer in answers if answer.status_code == 401} == {"sign_in_link_used"}


async def test_a_link_ends_with_its_time_and_with_a_change_of_the_password(ivy):
    pool = ivy.process.pool
    late = await sign_in_links.create(pool, ivy.ids["ivy"], MINUTE)
    await pool.execute("UPDATE sign_in_links SET expires_at = now() - interval '1 second'")
    assert fault(await use(ivy, late)) == (401, "sign_in_link_expired")
    changed = await sign_in_links.create(pool, ivy.ids["ivy"], MINUTE)
    await sign_in_links.revoke_person(pool, ivy.ids["ivy"], EndedBy.PASSWORD_CHANGED, by=OPERATOR)
    assert fault(await use(ivy, changed)) == (401, "sign_in_link_ended_password_changed")


ENDED = {
    EndedBy.PASSWORD_CHANGED: ("sign_in_link_ended_password_changed", "by a change of the password"),
    EndedBy.PASSWORD_RESET: ("sign_in_link_ended_password_reset", "by a reset of the password"),
    EndedBy.SIGNED_OUT_EVERYWHERE: ("sign_in_link_ended_signed_out", "by signing out everywhere"),
}


@pytest.mark.parametrize("act", EndedBy)
async def test_a_link_that_was_ended_unused_is_not_called_used_and_the_act_is_named(ivy, act):
    link = await sign_in_links.create(ivy.process.pool, ivy.ids["ivy"], MINUTE)
    used = await sign_in_links.create(ivy.process.pool, ivy.ids["ivy"], MINUTE)
    assert (await use(ivy, used)).status_code == 200
    await sign_in_links.revoke_person(ivy.process.pool, ivy.ids["ivy"], act, by=OPERATOR)
    # A later end does not replace the first one.
    for later in EndedBy:
        await sign_in_links.revoke_person(ivy.process.pool, ivy.ids["ivy"], later, by=OPERATOR)
    code, words = ENDED[act]
    for _ in range(2):
        answer = await use(ivy, link)
        assert fault(answer) == (401, code)
        said = answer.json()["detail"][0]["msg"]
        assert words in said
        assert "cell-monitor sign-in-link USERNAME" in said
    # One that did sign somebody in stays used.
    assert fault(await use(ivy, used)) == (401, "sign_in_link_used")
    refused = await ivy.process.pool.fetch(
        "SELECT subject_id, details ->> 'way', count FROM audit_entries WHERE action = 'sign_in_refused' ORDER BY 2"
    )
    assert [tuple(row) for row in refused] == [(ivy.ids["ivy"], "link_ended", 2), (ivy.ids["ivy"], "link_used", 1)]
    # The first end alone ended it; the link that was used was not ended.
    ended = await ivy.process.pool.fetch(
        "SELECT subject_id, actor_kind, details FROM audit_entries WHERE action = 'sign_in_link_ended'"
    )
    assert [tuple(row) for row in ended] == [(ivy.ids["ivy"], "operator", {"cause": act.value})]


async def test_a_link_that_nobody_used_in_time_is_not_called_ended_by_a_later_act(ivy):
    pool = ivy.process.pool
    link = await sign_in_links.create(pool, ivy.ids["ivy"], MINUTE)
    await pool.execute("UPDATE sign_in_links SET expires_at = now() - interval '1 second'")
    await sign_in_links.revoke_person(pool, ivy.ids["ivy"], EndedBy.PASSWORD_RESET, by=OPERATOR)
    assert fault(await use(ivy, link)) == (401, "sign_in_link_expired")
    assert fault(await use(ivy, "0" * 16 + "_" + "A" * 43)) == (401, "invalid_sign_in_link")
    entries = await pool.fetch(
        "SELECT action, subject_id, details FROM audit_entries WHERE action LIKE 'sign_in%' ORDER BY details ->> 'way'"
    )
    assert [tuple(row) for row in entries] == [
        ("sign_in_refused", None, {"way": "link"}),
        ("sign_in_refused", ivy.ids["ivy"], {"way": "link_expired"}),
    ]


async def test_links_that_were_never_made_are_refused_alike(ivy):
    link = await sign_in_links.create(ivy.process.pool, ivy.ids["ivy"], MINUTE)
    name, secret = link.split("_", 1)
    wrong = "B" if secret[0] == "A" else "A"
    presented = [
        "x",
        f"{name}_{wrong}{secret[1:]}",
        f"{'0' * 16}_{secret}",
        name,
        f"{link} ",
        f"{link}'; --",
        "ä" * 200,
    ]
    answers = [await use(ivy, text) for text in presented]
    assert {fault(answer) for answer in answers} == {(401, "invalid_sign_in_link")}
    assert len({answer.json()["detail"][0]["msg"] for answer in answers}) == 1
    assert (await use(ivy, "x" * 201)).status_code == 422
    # The attempts did not use the link.
    assert (await use(ivy, link)).status_code == 200


async def test_only_a_hash_is_stored_and_the_secret_is_not_logged(ivy, make_process):
    link = await sign_in_links.create(ivy.process.pool, ivy.ids["ivy"], MINUTE)
    secret = link.split("_", 1)[1]
    bodies = ({"link": link}, {"link": link}, {"link": link, "more": 1})
    # A process: what its servers and libraries write is in its output, too.
    async with (
        make_process(CELL_MONITOR_LOG_LEVEL="debug") as process,
        httpx.AsyncClient(base_url=process.url, trust_env=False) as client,
    ):
        answers = [await client.post("/api/v1/auth/link", json=body) for body in bodies]
        broken = json.dumps({"link": link})[:-1]
        answers.append(
            await client.post("/api/v1/auth/link", content=broken, headers={"content-type": "application/json"})
        )
        answers.append(await client.post("/api/v1/auth/link", params={"link": link}, json={}))
    assert [answer.status_code for answer in answers] == [200, 401, 422, 422, 422]
    assert not [answer.status_code for answer in answers if secret in answer.text]
    log = process.log_path.read_text()
    assert {"signed_in", "sign_in_refused", "api_stopping"} <= set(event_names(log))
    assert_not_written(log, secret)
    [row] = await ivy.process.pool.fetch("SELECT * FROM sign_in_links")
    assert row["secret_hash"] == hashlib.sha256(secret.encode()).digest()
    assert secret not in str(dict(row))


async def test_attempts_from_one_address_are_limited_and_counted(ivy):
    def counted(outcome):
        return metrics.SIGN_INS.labels("link", outcome).value

    before = counted("refused"), counted("rate_limited")
    answers = [await use(ivy, "x") for _ in range(101)]
    assert [answer.status_code for answer in answers[:100]] == [401] * 100
    assert fault(answers[100]) == (429, "rate_limited")
    assert int(answers[100].headers["retry-after"]) > 0
    assert (counted("refused") - before[0], counted("rate_limited") - before[1]) == (100, 1)


async def test_another_sites_page_cannot_use_a_link(ivy):
    link = await sign_in_links.create(ivy.process.pool, ivy.ids["ivy"], MINUTE)
    assert (await use(ivy, link, headers={"sec-fetch-site": "cross-site"})).status_code == 403
    assert (await use(ivy, link)).status_code == 200


@pytest.mark.parametrize("lifetime", [timedelta(), timedelta(seconds=-1), timedelta(days=1, seconds=1)])
async def test_no_link_lives_longer_than_a_day(ivy, lifetime):
    with pytest.raises(ValueError, match="a link lives at most"):
        await sign_in_links.create(ivy.process.pool, ivy.ids["ivy"], lifetime)


async def test_links_that_ended_days_ago_are_deleted(ivy):
    pool = ivy.process.pool
    await sign_in_links.create(pool, ivy.ids["ivy"], MINUTE)
    await pool.execute("UPDATE sign_in_links SET expires_at = now() - interval '25 hours'")
    await sign_in_links.create(pool, ivy.ids["ivy"], MINUTE)
    assert await pool.fetchval("SELECT count(*) FROM sign_in_links") == 1
