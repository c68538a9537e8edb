"""Hazards: a sign-in with JupyterHub that is configured unsafely; one that outlives the Hub's word, or ends without it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cell_monitor_api.services.hub_sessions import HubSessions
from cell_monitor_core.settings import SettingsError
from cell_monitor_core.storage.postgres import courses, identities, memberships, people, sign_ins
from cell_monitor_testing.hub_answers import HUB_HEADERS, HubAnswer, hub_answering

PUBLIC = "http://127.0.0.1:8900"
HUB_PUBLIC = "http://127.0.0.1:8000/hub/api"
TOKEN = "s" * 32
SCOPE = "access:services!service=cell-monitor"


@dataclass
class FakeHub:
    """A Hub that says what a test lets it say; ``None`` as status: it hangs up."""

    status: int | None = 200
    groups: list[str] = field(default_factory=lambda: ["course-physics-instructors"])
    owner: dict[str, Any] = field(default_factory=dict)
    version: bool = True
    url: str = ""
    requests: list[tuple[str, bytes]] = field(default_factory=list)

    def answer(self, head: bytes, body: bytes) -> HubAnswer | None:
        self.requests.append((head.decode().split("\r\n")[0], body))
        if head.startswith(b"POST"):
            status, answer = 200, {"access_token": "hub-token", "expires_in": 1_209_600}
        else:
            status = self.status or 200
            answer = {
                "kind": "user", "name": "mori", "groups": self.groups, "scopes": [SCOPE], "session_id": "s1",
                "admin": False,
            } | self.owner  # fmt: skip
        if self.status is None:
            return None
        return status, HUB_HEADERS if self.version else {}, json.dumps(answer).encode()


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    fake = FakeHub()
    async with hub_answering(fake.answer) as fake.url:
        yield fake


@pytest.fixture
def hub_site(make_site, hub: FakeHub) -> Callable[..., Any]:
    @asynccontextmanager
    async def hub_site(**settings: Any) -> AsyncIterator[Any]:
        defaults = {
            "public_url": PUBLIC,
            "api_hub_url": hub.url,
            "api_hub_public_url": HUB_PUBLIC,
            "api_hub_token": TOKEN,
            "api_hub_group_pattern": "course-(?P<course>.+)-(?P<role>[a-z]+)",
            "api_hub_session_check_s": 5,
            # Else the roster asks the Hub as well, whose requests are counted here.
            "api_hub_roster_s": 0,
        }
        async with make_site(**defaults | settings) as site:
            await courses.create(site.process.pool, "physics", "Physics")
            yield site

    return hub_site


async def sign_in(site) -> Any:
    """Sign in and return the answer that sends the browser to the dashboard."""
    answer = await site.client.get("/api/v1/auth/hub/start")
    state = parse_qs(urlsplit(answer.headers["location"]).query)["state"][0]
    return await site.client.get("/api/v1/auth/hub/callback", params={"state": state, "code": "c0de"})


async def token(site) -> str | None:
    answer = await site.client.post("/api/v1/auth/refresh")
    return answer.json()["access_token"] if answer.status_code == 200 else None


async def due_now(site, *, silent: timedelta = timedelta()) -> None:
    """Let the Hub be asked now, as after the interval; it answered last so long ago."""
    await site.process.pool.execute(
        "UPDATE hub_sessions SET due_at = now(), answered_at = answered_at - $1::interval", silent
    )


async def asked(hub: FakeHub, before: int) -> None:
    """Wait until the Hub was asked whose a token is."""
    deadline = time.monotonic() + 30
    while len(hub.requests) <= before:
        assert time.monotonic() < deadline, "the Hub was not asked"
        await asyncio.sleep(0.05)


async def ended(site, access_token: str) -> None:
    """Wait until a token is refused."""
    deadline = time.monotonic() + 30
    headers = {"authorization": f"Bearer {access_token}"}
    while (await site.client.get("/api/v1/me", headers=headers)).status_code == 200:
        assert time.monotonic() < deadline, "the token is still accepted"
        await asyncio.sleep(0.05)


async def test_the_secret_is_in_the_form_and_nowhere_else(hub_site, hub: FakeHub) -> None:
    async with hub_site() as site:
        assert (await sign_in(site)).headers["location"] == f"{PUBLIC}/"
    line, body = hub.requests[0]
    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    assert line == "POST /hub/api/oauth2/token HTTP/1.1"
    assert len(form.pop("code_verifier")) >= 43
    assert form == {
        "grant_type": "authorization_code",
        "client_id": "service-cell-monitor",
        "client_secret": TOKEN,
        "code": "c0de",
        "redirect_uri": f"{PUBLIC}/api/v1/auth/hub/callback",
    }


OWNERS = {
    "a service": {"kind": "service"},
    "no browser's session": {"session_id": None},
    "another service's scope": {"scopes": ["access:services!service=other"]},
    "a name that is too long": {"name": "n" * 256},
}


async def test_the_audit_log_has_the_sign_in_the_hub_s_roles_and_a_refusal(hub_site, hub: FakeHub) -> None:
    hub.owner = {"groups": ["course-physics-instructor"]}
    async with hub_site() as site:
        assert (await sign_in(site)).headers["location"] == f"{PUBLIC}/"
        hub.owner = {"kind": "service"}
        await sign_in(site)
        rows = await site.process.pool.fetch(
            "SELECT action, actor_kind, details->>'way' AS way, details->>'to' AS role FROM audit_entries "
            "WHERE action <> 'course_created' ORDER BY acted_at"
        )
    assert [tuple(row) for row in rows] == [
        ("member_added", "hub", None, "instructor"),
        ("signed_in", "person", "hub", None),
        ("sign_in_refused", "nobody", "hub", None),
    ]


@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS.keys())
async def test_a_token_that_is_no_user_s_sign_in_to_this_service_signs_nobody_in(hub_site, hub, owner) -> None:
    hub.owner = owner
    async with hub_site() as site:
        answer = await sign_in(site)
        assert answer.headers["location"] == f"{PUBLIC}/#sign-in-failed=hub_sign_in_refused"
        assert await token(site) is None


@pytest.mark.parametrize(
    "change", [{"version": False}, {"status": 502}, {"status": None}], ids=["proxy", "502", "gone"]
)
async def test_without_an_answer_of_the_hub_nobody_is_signed_in(hub_site, hub, change) -> None:
    for name, value in change.items():
        setattr(hub, name, value)
    async with hub_site() as site:
        answer = await sign_in(site)
        assert answer.headers["location"] == f"{PUBLIC}/#sign-in-failed=hub_unavailable"
        assert await token(site) is None


async def test_an_attempt_that_is_too_old_signs_nobody_in(hub_site, hub, monkeypatch) -> None:
    async with hub_site() as site:
        answer = await site.client.get("/api/v1/auth/hub/start")
        state = parse_qs(urlsplit(answer.headers["location"]).query)["state"][0]
        # The browser keeps the cookie beyond its Max-Age.
        round_trips = site.process.hub_sign_in._round_trips
        monkeypatch.setattr(round_trips, "_clock", lambda: time.time() + 601)
        answer = await site.client.get("/api/v1/auth/hub/callback", params={"state": state, "code": "c0de"})
        assert answer.headers["location"] == f"{PUBLIC}/#sign-in-failed=hub_sign_in_invalid"
    assert hub.requests == []


@pytest.mark.parametrize("cookie", ["", "x", "A" * 900, "A" * 5000, "%00", "é"])
async def test_an_attempt_that_this_installation_did_not_write_signs_nobody_in(hub_site, hub, cookie) -> None:
    async with hub_site() as site:
        answer = await site.client.get(
            "/api/v1/auth/hub/callback?state=s&code=c",
            headers=[(b"cookie", f"cell_monitor_hub_sign_in={cookie}".encode())],
        )
        assert answer.headers["location"] == f"{PUBLIC}/#sign-in-failed=hub_sign_in_invalid"
    assert hub.requests == []


async def test_a_sign_in_lasts_no_longer_than_its_token_at_the_hub(hub_site, hub) -> None:
    async with hub_site(api_sign_in_days=30) as site:
        answer = await sign_in(site)
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith("cell_monitor_sign_in="))
    assert "Max-Age=1209600" in cookie.split("; ")


async def test_a_silent_hub_ends_a_sign_in_after_the_grace_and_not_before(hub_site, hub) -> None:
    async with hub_site(api_hub_session_grace_s=900) as site:
        await sign_in(site)
        access_token = await token(site)
        assert access_token is not None
        hub.status = None
        before = len(hub.requests)
        await due_now(site)
        await asked(hub, before)
        assert await token(site) is not None
        await due_now(site, silent=timedelta(seconds=901))
        await ended(site, access_token)
        assert await token(site) is None


async def test_an_answer_of_a_proxy_in_the_hub_s_place_ends_no_sign_in(hub_site, hub) -> None:
    async with hub_site() as site:
        await sign_in(site)
        hub.status, hub.version = 403, False
        before = len(hub.requests)
        await due_now(site)
        await asked(hub, before)
        await due_now(site)
        assert await token(site) is not None


LOSSES = {
    "signed out": {"status": 403},
    "may not use the service": {"owner": {"scopes": []}},
    "has another name": {"owner": {"name": "hayashi"}},
}


@pytest.mark.parametrize("change", LOSSES.values(), ids=LOSSES.keys())
async def test_a_sign_in_that_the_hub_does_not_confirm_ends_with_its_tokens(hub_site, hub, change) -> None:
    async with hub_site() as site:
        await sign_in(site)
        access_token = await token(site)
        assert access_token is not None
        for name, value in change.items():
            setattr(hub, name, value)
        await due_now(site)
        await ended(site, access_token)
        assert await token(site) is None


async def test_a_page_that_is_opened_again_later_is_not_shown_before_the_hub_was_asked(hub_site, hub) -> None:
    async with hub_site() as site:
        await sign_in(site)
        # Nobody used it for a day: no process asks about it in the background.
        await site.process.pool.execute(
            "UPDATE hub_sessions SET used_at = now() - interval '1 day', due_at = now() - interval '1 day'"
        )
        hub.status = 403
        assert await token(site) is None


async def test_a_sign_in_with_the_hub_ends_where_the_hub_is_configured_no_more(hub_site, make_site, hub) -> None:
    async with hub_site() as site:
        await sign_in(site)
        cookies = dict(site.client.cookies)
    async with make_site() as without:
        without.client.cookies.update(cookies)
        assert await token(without) is None
        config = (await without.client.get("/api/v1/config")).json()
        assert [way["kind"] for way in config["sign_in"]] == ["password"]
        assert (await without.client.get("/api/v1/auth/hub/start")).status_code == 404


async def test_many_tabs_ask_the_hub_once_in_an_interval(hub_site, hub) -> None:
    async with hub_site(api_hub_session_check_s=57) as site:
        await sign_in(site)
        before = len(hub.requests)
        await due_now(site)
        assert None not in await asyncio.gather(*(token(site) for _ in range(20)))
        # The background may have been first; either way it is one question.
        assert len(hub.requests) == before + 1


async def test_the_hub_s_groups_leave_other_sources_alone(hub_site, hub) -> None:
    async with hub_site() as site:
        await courses.create(site.process.pool, "chemistry", "Chemistry")
        await sign_in(site)
        person = await identities.person_of(site.process.pool, site.index, "jupyterhub", "mori")
        await memberships.upsert_many(site.process.pool, "chemistry", {person: "assistant"})
        hub.groups = []
        before = len(hub.requests)
        await due_now(site)
        await asked(hub, before)
        deadline = time.monotonic() + 30
        while await memberships.roles_of(site.process.pool, person) != {"chemistry": "assistant"}:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


REFUSED = {
    "http beyond this machine": ({"public_url": "http://monitor.example.org"}, "https"),
    "http at an address of the network": ({"public_url": "http://192.0.2.7:8900"}, "https"),
    "no address of the dashboard": ({"public_url": None}, "PUBLIC_URL"),
    "no secret": ({"api_hub_token": None}, "API_HUB_TOKEN"),
    "no address inside": ({"api_hub_url": None}, "API_HUB_URL"),
    "a user in the address": ({"public_url": "https://a@monitor.example.org"}, "without user"),
    "a query in the address": ({"public_url": "https://monitor.example.org/?x=1"}, "query"),
}


@pytest.mark.parametrize(("change", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_an_unsafe_or_incomplete_configuration_is_refused_with_its_reason(load_settings, change, named) -> None:
    settings = {
        "public_url": PUBLIC, "api_hub_url": "http://hub:8081/hub/api", "api_hub_public_url": HUB_PUBLIC,
        "api_hub_token": TOKEN,
    }  # fmt: skip
    with pytest.raises(SettingsError, match=named):
        load_settings(settings | change)


async def is_admin(site, access_token: str) -> bool:
    answer = await site.client.get("/api/v1/me", headers={"authorization": f"Bearer {access_token}"})
    return bool(answer.json()["is_admin"])


async def test_an_admin_of_the_hub_is_one_here_only_where_that_is_configured(hub_site, hub: FakeHub) -> None:
    hub.owner = {"admin": True}
    async with hub_site() as site:
        await sign_in(site)
        assert not await is_admin(site, await token(site))
    async with hub_site(api_hub_admins=True) as site:
        await sign_in(site)
        assert await is_admin(site, await token(site))
    # The setting is off again: with the next question to the Hub the right ends.
    async with hub_site() as site:
        await sign_in(site)
        assert not await is_admin(site, await token(site))


async def test_who_is_no_admin_of_the_hub_any_more_is_none_here(hub_site, hub: FakeHub) -> None:
    hub.owner = {"admin": True}
    async with hub_site(api_hub_admins=True) as site:
        await sign_in(site)
        access_token = await token(site)
        assert await is_admin(site, access_token)
        hub.owner = {"admin": False}
        await due_now(site)
        await ended(site, access_token)
        assert not await is_admin(site, await token(site))


async def test_whom_an_operator_made_an_admin_stays_one_whatever_the_hub_says(hub_site, hub: FakeHub) -> None:
    async with hub_site(api_hub_admins=True) as site:
        await sign_in(site)
        person_id = await identities.person_of(site.process.pool, site.index, "jupyterhub", "mori")
        await people.set_admin(site.process.pool, person_id, is_admin=True)
        for said in (True, False):
            hub.owner = {"admin": said}
            await sign_in(site)
            assert await is_admin(site, await token(site))


async def test_a_sign_in_under_way_does_not_outlive_the_end_of_all_sign_ins(
    hub_site, hub: FakeHub, monkeypatch
) -> None:
    real = sign_ins.generation_of

    async def ended_meanwhile(executor: Any, person_id: Any) -> int | None:
        generation = await real(executor, person_id)
        await sign_ins.revoke_person(site.process.pool, person_id)
        return generation

    async with hub_site() as site:
        monkeypatch.setattr(sign_ins, "generation_of", ended_meanwhile)
        answer = await sign_in(site)
        assert answer.headers["location"] == f"{PUBLIC}/#sign-in-failed=hub_sign_in_refused"
        assert await token(site) is None
        monkeypatch.setattr(sign_ins, "generation_of", real)
        # The next one is as any other.
        assert (await sign_in(site)).headers["location"] == f"{PUBLIC}/"
        assert await token(site) is not None


async def test_a_session_that_ends_while_the_hub_is_asked_about_it_gets_no_token(
    hub_site, hub: FakeHub, monkeypatch
) -> None:
    real = HubSessions.confirms

    async def ended_meanwhile(self: HubSessions, cookie_hash: bytes) -> bool:
        confirmed = await real(self, cookie_hash)
        assert await sign_ins.revoke(site.process.pool, cookie_hash)
        return confirmed

    async with hub_site() as site:
        await sign_in(site)
        await due_now(site)
        monkeypatch.setattr(HubSessions, "confirms", ended_meanwhile)
        assert await token(site) is None
