"""Hazards: a sign-in with OpenID Connect that is configured unsafely; one that believes what is no provider's answer.

Attacks on a real provider are in tests/oidc; here a stand-in gives the answers that a real one cannot be made to give.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from cell_monitor_core.settings import SettingsError
from cell_monitor_core.storage.postgres import courses, identities, memberships
from cell_monitor_testing.http_answers import HttpAnswer, answering

PUBLIC = "http://127.0.0.1:8900"
CLIENT = "cell-monitor"
SECRET = "a secret+with/all:%that changes"
KEY = ec.generate_private_key(ec.SECP256R1())
JSON = {"content-type": "application/json"}


def public_key(kid: str) -> dict[str, Any]:
    return {**ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": kid, "alg": "ES256", "use": "sig"}


class FakeProvider:
    """A provider that says what a test lets it say; ``answers`` replace the answer at a path, None hangs up."""

    def __init__(self) -> None:
        self.url = ""
        self.kid = "k1"
        self.nonce = ""
        self.claims: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.answers: dict[str, HttpAnswer | None] = {}
        self.requests: list[tuple[str, str, bytes]] = []

    def answer(self, head: bytes, body: bytes) -> HttpAnswer | None:
        path = head.decode().split(" ")[1]
        self.requests.append((path, head.decode(), body))
        if path in self.answers:
            return self.answers[path]
        said = {
            "/.well-known/openid-configuration": self.said_of_itself,
            "/keys": lambda: {"keys": [public_key(self.kid)]},
            "/token": lambda: {"access_token": "a", "token_type": "Bearer", "id_token": self.id_token()},
        }[path]()
        return 200, JSON, json.dumps(said).encode()

    def said_of_itself(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize?tenant=1",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        } | self.metadata

    def id_token(self) -> str:
        now = int(time.time())
        said = {"iss": self.url, "sub": "mori", "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": self.nonce}
        return jwt.encode(said | self.claims, KEY, algorithm="ES256", headers={"kid": self.kid})

    def asked(self, path: str) -> int:
        return sum(one == path for one, _, _ in self.requests)


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    fake = FakeProvider()
    async with answering(fake.answer) as fake.url:
        yield fake


@pytest.fixture
def oidc_site(make_site, provider: FakeProvider) -> Callable[..., Any]:
    @asynccontextmanager
    async def oidc_site(**settings: Any) -> AsyncIterator[Any]:
        defaults = {
            "public_url": PUBLIC,
            "api_oidc_issuer": provider.url,
            "api_oidc_client_id": CLIENT,
            "api_oidc_client_secret": SECRET,
        }
        async with make_site(**defaults | settings) as site:
            await courses.create(site.process.pool, "physics", "Physics")
            yield site

    return oidc_site


async def begin(site, provider: FakeProvider) -> dict[str, str]:
    """Begin a sign-in and return what the provider is asked for."""
    answer = await site.client.get("/api/v1/auth/oidc/start")
    assert answer.status_code == 303, answer.text
    asked = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    provider.nonce = asked["nonce"]
    return asked


async def come_back(site, state: str, **more: str) -> str:
    """Return where the browser goes after it came back with a code."""
    answer = await site.client.get("/api/v1/auth/oidc/callback", params={"state": state, "code": "c0de", **more})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def sign_in(site, provider: FakeProvider) -> str:
    return await come_back(site, (await begin(site, provider))["state"])


async def token(site) -> str | None:
    answer = await site.client.post("/api/v1/auth/refresh")
    return answer.json()["access_token"] if answer.status_code == 200 else None


@pytest.mark.parametrize(("label", "shown"), [("Example University", {"label": "Example University"}), (None, {})])
async def test_the_page_learns_the_way_with_its_label(oidc_site, label, shown) -> None:
    async with oidc_site(api_oidc_label=label) as site:
        config = (await site.client.get("/api/v1/config")).json()
        assert config["sign_in"] == [{"kind": "oidc", **shown}, {"kind": "password"}]


async def test_where_no_provider_is_configured_nobody_signs_in_with_one(site) -> None:
    assert (await site.client.get("/api/v1/auth/oidc/start")).status_code == 404
    assert (await site.client.get("/api/v1/auth/oidc/callback")).status_code == 404


async def test_the_request_at_the_provider_keeps_what_its_address_has_already(oidc_site, provider) -> None:
    async with oidc_site() as site:
        asked = await begin(site, provider)
    assert asked["tenant"] == "1"
    assert "claims" not in asked
    assert (asked["client_id"], asked["code_challenge_method"]) == (CLIENT, "S256")


WAYS = {
    "not said: basic": (None, None, "basic"),
    "both: basic": (["client_secret_post", "client_secret_basic"], None, "basic"),
    "the form only": (["private_key_jwt", "client_secret_post"], None, "form"),
    "both, the form configured": (["client_secret_basic", "client_secret_post"], "client_secret_post", "form"),
}


@pytest.mark.parametrize(("supported", "configured", "way"), WAYS.values(), ids=WAYS.keys())
async def test_the_secret_is_sent_as_the_provider_says_and_nowhere_else(
    oidc_site, provider, supported, configured, way
) -> None:
    if supported is not None:
        provider.metadata = {"token_endpoint_auth_methods_supported": supported}
    async with oidc_site(api_oidc_client_auth=configured) as site:
        assert await sign_in(site, provider) == f"{PUBLIC}/"
    (head, body) = next((head, body) for path, head, body in provider.requests if path == "/token")
    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    assert len(form.pop("code_verifier")) == 43
    expected = {
        "grant_type": "authorization_code",
        "code": "c0de",
        "redirect_uri": f"{PUBLIC}/api/v1/auth/oidc/callback",
    }
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    sent = headers.get("Authorization", headers.get("authorization"))
    if way == "form":
        assert form == expected | {"client_id": CLIENT, "client_secret": SECRET}
        assert sent is None
    else:
        assert form == expected
        pair = base64.b64decode(sent.removeprefix("Basic ")).decode()
        assert [unquote_plus(part) for part in pair.split(":")] == [CLIENT, SECRET]


FAULTS = {
    "expired": ({"exp": 1}, "oidc_token_expired"),
    "issued in the future": ({"iat": 2**33}, "oidc_token_expired"),
    "another nonce": ({"nonce": "m" * 43}, "oidc_token_unverified"),
    "another audience": ({"aud": "other"}, "oidc_token_unverified"),
    "another issuer": ({"iss": "https://evil.example"}, "oidc_token_unverified"),
}


@pytest.mark.parametrize(("claims", "code"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_token_that_proves_nothing_signs_nobody_in_and_the_page_says_why(
    oidc_site, provider, claims, code
) -> None:
    provider.claims = claims
    async with oidc_site() as site:
        assert await sign_in(site, provider) == f"{PUBLIC}/#sign-in-failed={code}"
        assert await token(site) is None
        assert await site.process.pool.fetchval("SELECT count(*) FROM people") == 0


async def test_the_audit_log_has_the_sign_in_the_role_of_the_groups_and_a_refusal(oidc_site, provider) -> None:
    provider.claims = {"groups": ["course-physics-instructors"]}
    pattern = "course-(?P<course>.+)-(?P<role>[a-z]+)"
    async with oidc_site(api_oidc_groups_claim="groups", api_oidc_group_pattern=pattern) as site:
        assert await sign_in(site, provider) == f"{PUBLIC}/"
        provider.claims = {"nonce": "m" * 43}
        assert await sign_in(site, provider) == f"{PUBLIC}/#sign-in-failed=oidc_token_unverified"
        rows = await site.process.pool.fetch(
            "SELECT action, actor_kind, details->>'way' AS way, details->>'to' AS role FROM audit_entries "
            "WHERE action <> 'course_created' ORDER BY acted_at"
        )
    assert [tuple(row) for row in rows] == [
        ("member_added", "oidc", None, "instructor"),
        ("signed_in", "person", "oidc", None),
        ("sign_in_refused", "nobody", "oidc", None),
    ]


NO_ANSWERS = {
    "hangs up": None,
    "502 of a proxy": (502, {"content-type": "text/html"}, b"<html>Bad gateway</html>"),
    "a page": (200, {"content-type": "text/html"}, b"<html>Welcome</html>"),
    "a redirect": (302, {"location": "https://evil.example/"}, b""),
    "too large": (200, JSON, b"[" + b" " * 300_000 + b"]"),
    "nested too deeply": (200, JSON, b"[" * 100_000),
    "of another shape": (200, JSON, b'{"issuer": 7, "keys": {}, "id_token": []}'),
    "not UTF-8": (200, JSON, b'{"issuer": "\xff"}'),
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_what_is_no_provider_s_answer_signs_nobody_in(oidc_site, provider, answer) -> None:
    async with oidc_site() as site:
        provider.answers = {"/.well-known/openid-configuration": answer}
        page = await site.client.get("/api/v1/auth/oidc/start")
        assert (page.status_code, page.headers["retry-after"]) == (503, "5")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert f'href="{PUBLIC}/#sign-in-failed=oidc_unavailable"' in page.text
    for path in ("/keys", "/token"):
        async with oidc_site() as site:
            provider.answers = {path: answer}
            assert await sign_in(site, provider) == f"{PUBLIC}/#sign-in-failed=oidc_unavailable"
            assert await token(site) is None


OTHER_METADATA = {
    "another issuer": {"issuer": "https://evil.example"},
    "a token address without a host": {"token_endpoint": "https:///token"},
    "an address with a user": {"authorization_endpoint": "https://login.example.org@evil.example/"},
    "an address that is no web address": {"authorization_endpoint": "javascript://x/%0aalert(1)"},
    "an address with a line end": {"jwks_uri": "https://login.example.org/\r\nkeys"},
    "an address that no header can contain": {"authorization_endpoint": "https://login.example.org/認証"},
    "an address with a space": {"token_endpoint": "https://login.example.org/a token"},
    "no host at the end of an address": {"jwks_uri": "https://[::1/keys"},
    "no such port": {"jwks_uri": "https://login.example.org:99999/keys"},
    "no way for a secret": {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
}


@pytest.mark.parametrize("metadata", OTHER_METADATA.values(), ids=OTHER_METADATA.keys())
async def test_metadata_that_cannot_be_used_send_nobody_anywhere(oidc_site, provider, metadata) -> None:
    provider.metadata = metadata
    async with oidc_site() as site:
        answer = await site.client.get("/api/v1/auth/oidc/start")
        if answer.status_code == 303:
            # The secret is needed at the end only.
            assert await sign_in(site, provider) == f"{PUBLIC}/#sign-in-failed=oidc_unavailable"
        else:
            assert answer.status_code == 503
        assert await token(site) is None
    assert provider.asked("/token") == 0


@pytest.mark.parametrize("fault", ["invalid_grant", "invalid_client", "<script>", 7])
async def test_a_code_that_the_provider_refuses_signs_nobody_in(oidc_site, provider, fault) -> None:
    provider.answers = {"/token": (400, JSON, json.dumps({"error": fault}).encode())}
    async with oidc_site() as site:
        assert await sign_in(site, provider) == f"{PUBLIC}/#sign-in-failed=oidc_sign_in_refused"


async def test_new_keys_are_read_when_a_token_names_one_and_not_for_every_token(
    oidc_site, provider, monkeypatch
) -> None:
    async with oidc_site() as site:
        keys = site.process.oidc_sign_in._provider._keys
        times = iter(range(0, 10_000, 10))
        monkeypatch.setattr(keys, "_clock", lambda: next(times))
        assert await sign_in(site, provider) == f"{PUBLIC}/"
        assert await sign_in(site, provider) == f"{PUBLIC}/"
        assert provider.asked("/keys") == 1
        provider.kid = "k2"
        assert await sign_in(site, provider) == f"{PUBLIC}/"
        assert provider.asked("/keys") == 2
        # A token whose key nobody publishes: the keys are read again, but not at each attempt.
        provider.answers = {"/keys": (200, JSON, json.dumps({"keys": [public_key("k1")]}).encode())}
        monkeypatch.setattr(keys, "_clock", lambda: 9_990.0)
        for _ in range(3):
            assert await sign_in(site, provider) == f"{PUBLIC}/#sign-in-failed=oidc_token_unverified"
        assert provider.asked("/keys") == 3
        assert provider.asked("/.well-known/openid-configuration") == 1


async def test_an_attempt_that_is_too_old_or_of_another_way_signs_nobody_in(oidc_site, provider, monkeypatch) -> None:
    async with oidc_site() as site:
        asked = await begin(site, provider)
        kept = site.client.cookies["cell_monitor_oidc_sign_in"]
        monkeypatch.setattr(site.process.oidc_sign_in._round_trips, "_clock", lambda: time.time() + 601)
        assert await come_back(site, asked["state"]) == f"{PUBLIC}/#sign-in-failed=oidc_sign_in_invalid"
        monkeypatch.undo()
        # What the sign-in with JupyterHub keeps is of no use here.
        monkeypatch.setattr(site.process.oidc_sign_in._round_trips, "_context", "hub_sign_in.attempt")
        site.client.cookies.set("cell_monitor_oidc_sign_in", kept)
        assert await come_back(site, asked["state"]) == f"{PUBLIC}/#sign-in-failed=oidc_sign_in_invalid"
    assert provider.asked("/token") == 0


@pytest.mark.parametrize("cookie", ["", "x", "A" * 900, "A" * 5000, "%00", "é"])
async def test_an_attempt_that_this_installation_did_not_write_signs_nobody_in(oidc_site, provider, cookie) -> None:
    async with oidc_site() as site:
        answer = await site.client.get(
            "/api/v1/auth/oidc/callback?state=s&code=c",
            headers=[(b"cookie", f"cell_monitor_oidc_sign_in={cookie}".encode())],
        )
        assert answer.headers["location"] == f"{PUBLIC}/#sign-in-failed=oidc_sign_in_invalid"
    assert provider.requests == []


@pytest.mark.parametrize(("hours", "days", "seconds"), [(12, 14, 43_200), (48, 1, 86_400)])
async def test_a_sign_in_lasts_as_long_as_configured_since_nobody_is_asked_again(
    oidc_site, provider, hours, days, seconds
) -> None:
    async with oidc_site(api_oidc_session_hours=hours, api_sign_in_days=days) as site:
        assert await sign_in(site, provider) == f"{PUBLIC}/"
        left = await site.process.pool.fetchval("SELECT extract(epoch FROM expires_at - created_at) FROM sign_ins")
        assert round(left) == pytest.approx(seconds, abs=5)


async def test_groups_that_nobody_configured_change_no_course(oidc_site, provider) -> None:
    provider.claims = {"groups": ["course-physics-instructors"]}
    settings = {"api_oidc_group_pattern": "course-(?P<course>.+)-(?P<role>[a-z]+)"}
    async with oidc_site(**settings, api_oidc_groups_claim="groups") as site:
        await sign_in(site, provider)
        person = await identities.person_of(site.process.pool, site.index, provider.url, "mori")
        assert await memberships.roles_of(site.process.pool, person) == {"physics": "instructor"}
    async with oidc_site(**settings) as site:
        await memberships.upsert_many(site.process.pool, "physics", {person: "observer"}, source="oidc")
        provider.claims = {}
        await sign_in(site, provider)
        assert await memberships.roles_of(site.process.pool, person) == {"physics": "observer"}


REFUSED = {
    "http beyond this machine": ({"public_url": "http://monitor.example.org"}, "https"),
    "no address of the dashboard": ({"public_url": None}, "PUBLIC_URL"),
    "no client": ({"api_oidc_client_id": None}, "API_OIDC_CLIENT_ID"),
    "no secret": ({"api_oidc_client_secret": None}, "API_OIDC_CLIENT_SECRET"),
    "a provider by http beyond this machine": ({"api_oidc_issuer": "http://login.example.org"}, "https"),
    "a provider with a query": ({"api_oidc_issuer": "https://login.example.org/?x=1"}, "query"),
    "a provider with a user": ({"api_oidc_issuer": "https://a@login.example.org"}, "without user"),
    "a provider that is called as the Hub": ({"api_hub_issuer": "https://login.example.org"}, "must differ"),
    "no openid among the scopes": ({"api_oidc_scope": "profile"}, "API_OIDC_SCOPE"),
    "a pattern without a role": ({"api_oidc_group_pattern": "(?P<course>.+)"}, "role"),
    "a role that does not exist": ({"api_oidc_roles": '{"kings": "king"}'}, "API_OIDC_ROLES"),
}


@pytest.mark.parametrize(("change", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_an_unsafe_or_incomplete_configuration_is_refused_with_its_reason(load_settings, change, named) -> None:
    settings = {
        "public_url": PUBLIC, "api_oidc_issuer": "https://login.example.org", "api_oidc_client_id": CLIENT,
        "api_oidc_client_secret": SECRET,
    }  # fmt: skip
    with pytest.raises(SettingsError, match=named):
        load_settings(settings | change)
