"""Tokens for API keys, and the keys that sign them."""

from __future__ import annotations

import json
import re

import pytest

from cell_monitor_api.exceptions import InsufficientScope, NotAuthenticated
from cell_monitor_api.services.credentials import ApiKeyVerifier, Proof, TokenWish, Word
from cell_monitor_api.services.known_senders import KnownSenders
from cell_monitor_api.services.token_exchange import TokenExchange
from cell_monitor_core.auth.grants import Grant
from cell_monitor_core.auth.revocations import RevocationList
from cell_monitor_core.auth.scopes import Audience
from cell_monitor_core.auth.signing_keys import decode_public_jwks
from cell_monitor_core.auth.tokens import TokenVerifier
from cell_monitor_core.storage.postgres import api_keys
from cell_monitor_testing.keys import NEWEST_GENERATION


def fault(answer):
    return answer.status_code, answer.json()["detail"][0]["type"]


async def exchange(site, key, audience="ingest", **body):
    return await site.client.post(
        "/api/v1/auth/token",
        json={"audience": audience, **body},
        headers={"authorization": f"ApiKey {key}"},
    )


def claims_of(site, answer, audience):
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in"] <= 600
    return TokenVerifier(site.process.signing, audience).verify(answer.json()["access_token"])


async def test_a_jupyter_server_gets_a_token_of_its_student_and_sends(site, make_event):
    await site.course("c1", ann="student")
    _, key = await site.key("events:write", "people:act_as")
    answer = await exchange(site, key, act_as="ann")
    claims = claims_of(site, answer, "ingest")
    assert claims.sub == str(site.ids["ann"])
    assert claims.courses == {"c1": "student"}
    assert claims.scopes == ("events:write",)
    sent = await site.client.post(
        "/api/v1/events",
        json={"events": [make_event()]},
        headers={"authorization": f"Bearer {answer.json()['access_token']}"},
    )
    assert sent.json()["results"][0]["status"] == "accepted"
    [record] = await site.queued("c1")
    assert record.person_id == site.ids["ann"].bytes


async def test_acting_as_others_is_for_ingest_only_and_needs_its_scope(site):
    await site.course("c1", ivy="instructor")
    await site.person("ivy", admin=True)
    _, sender = await site.key("events:write")
    assert fault(await exchange(site, sender, act_as="ivy")) == (403, "insufficient_scope")
    _, lab = await site.key("events:write", "people:act_as", "courses:read", "admin")
    for audience in ("api", "gateway"):
        assert fault(await exchange(site, lab, audience, act_as="ivy")) == (403, "insufficient_scope")
    claims = claims_of(site, await exchange(site, lab, act_as="ivy"), "ingest")
    assert claims.admin is False
    assert fault(await exchange(site, lab, act_as="nobody")) == (404, "not_found")
    # Somebody may have chosen a name that folds to another person's.
    for lookalike in ("IVY", "Ivy", "\uff49\uff56\uff59"):
        assert fault(await exchange(site, lab, act_as=lookalike)) == (404, "not_found")


async def test_a_token_carries_only_what_its_audience_knows(site):
    await site.course("c1", ivy="instructor")
    _, key = await site.key("events:write", "test:write", "roster:write", "courses:read", username="ivy")
    assert claims_of(site, await exchange(site, key, "ingest"), "ingest").scopes == ("events:write", "test:write")
    assert claims_of(site, await exchange(site, key, "api"), "api").scopes == ("roster:write", "courses:read")
    assert claims_of(site, await exchange(site, key, "gateway"), "gateway").scopes == ("test:write", "courses:read")
    _, narrow = await site.key("events:write", username="ivy")
    assert fault(await exchange(site, narrow, "api")) == (403, "insufficient_scope")


async def test_a_key_of_an_admin_is_no_admin_without_the_scope(site):
    await site.person("boss", admin=True)
    _, reading = await site.key("courses:read", username="boss")
    assert claims_of(site, await exchange(site, reading, "api"), "api").admin is False
    _, full = await site.key("admin", username="boss")
    assert claims_of(site, await exchange(site, full, "api"), "api").admin is True


async def test_a_service_is_nobody(site, make_event):
    await site.course("c1", ann="student")
    _, key = await site.key("courses:read", "events:write")
    api = await exchange(site, key, "api")
    claims = claims_of(site, api, "api")
    assert claims.person_id.version == 5
    assert claims.courses == {}
    headers = {"authorization": f"Bearer {api.json()['access_token']}"}
    assert (await site.client.get("/api/v1/courses/c1/students", headers=headers)).status_code == 200
    [course] = (await site.client.get("/api/v1/courses", headers=headers)).json()["courses"]
    assert course["course_id"] == "c1"
    ingest = await exchange(site, key, "ingest")
    sent = await site.client.post(
        "/api/v1/events",
        json={"events": [make_event()]},
        headers={"authorization": f"Bearer {ingest.json()['access_token']}"},
    )
    assert sent.json()["results"][0] == {
        "event_id": sent.json()["results"][0]["event_id"],
        "status": "rejected",
        "reason": "no_course",
    }


async def test_keys_that_are_wrong_revoked_or_over_get_nothing(site):
    stored, key = await site.key("events:write")
    _, expired = await site.key("events:write", days=-1)
    assert (await exchange(site, key)).status_code == 200
    wrong = [key[:-1] + ("a" if key[-1] != "a" else "b"), "", "x", key + "x", key.upper(), "x" * 300, expired]
    answers = [await exchange(site, text) for text in wrong]
    assert {fault(answer) for answer in answers} == {(401, "invalid_api_key")}
    assert len({answer.content for answer in answers}) == 1
    body = {"audience": "ingest"}
    for authorization in (f"Bearer {key}", key, "", "ApiKey", f"Basic {key}"):
        answer = await site.client.post("/api/v1/auth/token", json=body, headers={"authorization": authorization})
        assert answer.status_code == 401
        assert "ApiKey" in answer.json()["detail"][0]["msg"]
    await api_keys.revoke(site.process.pool, stored.key_id)
    assert fault(await exchange(site, key)) == (401, "invalid_api_key")


async def test_an_admin_makes_lists_and_revokes_keys(site):
    await site.person("boss", admin=True)
    await site.course("c1", ivy="instructor")
    headers = site.bearer("boss", admin=True)
    made = await site.client.post(
        "/api/v1/api-keys",
        headers=headers,
        json={"name": "lab", "scopes": ["events:write", "people:act_as"], "expires_in_days": 30, "username": "ivy"},
    )
    assert made.status_code == 201
    key = made.json()["key"]
    assert re.fullmatch(r"cm_[0-9a-f]{16}_[\w-]{43}", key)
    assert (await exchange(site, key)).status_code == 200
    listed = await site.client.get("/api/v1/api-keys", headers=headers)
    assert key not in listed.text
    [shown] = listed.json()["api_keys"]
    assert shown["key_id"] in key
    assert (shown["person_id"], shown["username"]) == (str(site.ids["ivy"]), "ivy")
    assert shown["scopes"] == ["events:write", "people:act_as"]
    assert shown["last_used_at"] is not None
    url = f"/api/v1/api-keys/{shown['key_id']}"
    assert (await site.client.delete(url, headers=headers)).status_code == 204
    assert fault(await site.client.delete(url, headers=headers)) == (404, "not_found")
    assert fault(await exchange(site, key)) == (401, "invalid_api_key")
    for body in (
        {"name": "x", "scopes": ["everything"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["admin"], "expires_in_days": api_keys.MAX_DAYS + 1},
        {"name": "", "scopes": ["admin"]},
        {"name": "x", "scopes": ["admin"], "key": "mine"},
    ):
        assert (await site.client.post("/api/v1/api-keys", headers=headers, json=body)).status_code == 422
    body = {"name": "x", "scopes": ["admin"], "username": "nobody"}
    assert fault(await site.client.post("/api/v1/api-keys", headers=headers, json=body)) == (404, "not_found")


async def test_the_public_keys_are_public_and_nothing_else_is(site):
    answer = await site.client.get("/api/v1/auth/jwks.json")
    assert answer.status_code == 200
    assert "max-age" in answer.headers["cache-control"]
    assert all("d" not in key for key in answer.json()["keys"])
    assert site.process.signing.issuer.signing_keys.active in decode_public_jwks(answer.content)


async def test_keys_rotate_without_a_restart(make_site, tmp_path, monkeypatch, secrets):
    path = tmp_path / "signing-keys.json"
    path.write_text(secrets.signing_keys)
    monkeypatch.setenv("CELL_MONITOR_SIGNING_KEYS_FILE", str(path))
    async with make_site() as site:
        await site.course("c1", ann="student")
        old = site.bearer("ann")
        signing = site.process.signing
        before = signing.issuer.signing_keys
        after = before.with_new_key()
        path.write_text(after.to_json())
        # Another process has read the file already: its token names a key that this one does not know yet.
        token, _ = signing.issuer.issue(
            grant=Grant.SESSION, person_id=site.ids["ann"], audience=["api"], generation=NEWEST_GENERATION
        )
        signing.issuer.signing_keys = after
        newer, _ = signing.issuer.issue(
            grant=Grant.SESSION, person_id=site.ids["ann"], audience=["api"], generation=NEWEST_GENERATION
        )
        signing.issuer.signing_keys = before
        signing._looked_at -= 10
        me = "/api/v1/me"
        assert (await site.client.get(me, headers={"authorization": f"Bearer {newer}"})).status_code == 200
        assert signing.issuer.signing_keys.active == after.active
        assert (await site.client.get(me, headers=old)).status_code == 200
        assert {key["kid"] for key in (await site.client.get("/api/v1/auth/jwks.json")).json()["keys"]} == {
            before.active,
            after.active,
        }
        # The old key is withdrawn: what it signed is worth nothing, although it was verified a moment ago.
        path.write_text(after.with_new_key(keep=0).to_json())
        signing._looked_at -= 10
        assert signing.reload()
        for stale in (old, {"authorization": f"Bearer {token}"}, {"authorization": f"Bearer {newer}"}):
            assert fault(await site.client.get(me, headers=stale)) == (401, "not_authenticated")


async def test_a_broken_file_of_keys_leaves_the_old_ones_in_force(make_site, tmp_path, monkeypatch, secrets):
    path = tmp_path / "signing-keys.json"
    path.write_text(secrets.signing_keys)
    monkeypatch.setenv("CELL_MONITOR_SIGNING_KEYS_FILE", str(path))
    async with make_site() as site:
        await site.course("c1", ann="student")
        for content in ("", "{", json.dumps({"active": "x", "keys": []})):
            path.write_text(content)
            assert not site.process.signing.reload()
        path.unlink()
        assert not site.process.signing.reload()
        assert (await site.client.get("/api/v1/me", headers=site.bearer("ann"))).status_code == 200


async def test_somebody_with_very_many_courses_still_signs_in(site):
    await site.person("ivy", password="correct horse battery")
    for number in range(200):
        role = "instructor" if number >= 190 else "student"
        await site.course(f"course-with-a-long-identifier-{number:03d}", ivy=role)
    answer = await site.client.post("/api/v1/auth/login", json={"username": "ivy", "password": "correct horse battery"})
    claims = claims_of(site, answer, "gateway")
    assert sum(role == "instructor" for role in claims.courses.values()) == 10
    headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
    assert len((await site.client.get("/api/v1/courses", headers=headers)).json()["courses"]) == 200


class HubStub:
    """A further scheme, as a JupyterHub's would be: one class, and one entry in the list of verifiers."""

    scheme = "Hub"
    grant = Grant.API_KEY

    def __init__(self, subject):
        self._subject = subject

    async def ask(self, credential, wish):
        return Word()

    async def verify(self, credential, wish):
        if credential != "good":
            raise NotAuthenticated("the Hub does not know this token")
        if wish.act_as is not None:
            raise InsufficientScope("a Hub's token is its user's own")
        return Proof(self._subject, is_person=True, scopes=("events:write",))


async def test_a_further_scheme_is_one_verifier(site):
    await site.course("c1", ann="student")
    verifiers = [ApiKeyVerifier(site.process.pool, site.keyring, site.index), HubStub(site.ids["ann"])]
    exchange_of_both = TokenExchange(
        site.process.pool, site.process.signing.issuer, verifiers, KnownSenders(RevocationList(), lambda: 0.0)
    )
    answer = await exchange_of_both.exchange("hub good", TokenWish(Audience.INGEST))
    claims = TokenVerifier(site.process.signing, "ingest").verify(answer.access_token)
    assert (claims.sub, claims.courses, claims.admin) == (str(site.ids["ann"]), {"c1": "student"}, False)
    with pytest.raises(NotAuthenticated, match="the Hub does not know"):
        await exchange_of_both.exchange("Hub bad", TokenWish(Audience.INGEST))
    with pytest.raises(InsufficientScope):
        await exchange_of_both.exchange("Hub good", TokenWish(Audience.INGEST, act_as="ann"))
    with pytest.raises(InsufficientScope, match="audience api"):
        await exchange_of_both.exchange("Hub good", TokenWish(Audience.API))
    with pytest.raises(NotAuthenticated, match=r"ApiKey .* or .* Hub"):
        await exchange_of_both.exchange("Lti good", TokenWish(Audience.INGEST))
